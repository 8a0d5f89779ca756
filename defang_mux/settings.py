# SPDX-License-Identifier: GPL-3.0-or-later
"""The multiplexor's options: one table, from which command line, configuration file and usage text follow.

Letters and ranges are MIMEDefang's. How they are read is in `command_line`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, get_args

DEFAULT_SPOOL: Final = Path("/var/spool/MIMEDefang")
SOCKET_NAME: Final = "mimedefang-multiplexor.sock"
LogTarget = Literal["auto", "syslog", "journal", "stderr"]
LogFormat = Literal["text", "json"]
PoisonOutcome = Literal["tempfail", "quarantine", "reject", "none"]
POISON_DIR_NAME: Final = "poison"
Start = Literal["auto", "fork", "exec"]

MIN_WORKERS: Final = 1
MAX_WORKERS: Final = 2

# Inside the kernel's own limit on most systems; MIMEDefang's range.
MIN_BACKLOG: Final = 5
MAX_BACKLOG: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All that command line and configuration file can say. Times are in seconds."""

    user: str | None = None
    spool: Path = DEFAULT_SPOOL
    socket: Path = DEFAULT_SPOOL / SOCKET_NAME
    unprivileged_socket: str | None = None
    map_socket: str | None = None
    notify_socket: str | None = None
    worker: Path = Path()
    rules: Path | None = None
    start: Start = "auto"
    min_workers: int = MIN_WORKERS
    max_workers: int = MAX_WORKERS
    max_requests: int = 500
    max_age_s: int = 0
    idle_timeout_s: int = 300
    busy_timeout_s: int = 120
    command_timeout_s: int = 10
    start_interval_s: int = 3
    activation_interval_s: int = 0
    queue_size: int = 0
    queue_timeout_s: int = 30
    domain_recipients: int = 0
    autoscale: bool = False
    memory_limit_kb: int = 0
    resident_limit_kb: int = 0
    open_files_limit: int = 0
    file_size_limit_kb: int = 0
    cpu_limit_s: int = 0
    no_new_privileges: bool = False
    landlock: bool = False
    writable_dirs: str | None = None
    deny_system_calls: bool = False
    tick_interval_s: int = 0
    tick_kinds: int = 1
    backlog: int = MIN_BACKLOG
    verbose: bool = False
    log_choices: bool = False
    log_events: bool = False
    status_interval_s: int = 0
    statistics_file: Path | None = None
    log_statistics: bool = False
    flush_statistics: bool = False
    status_tags: bool = False
    foreground: bool = False
    group_access: bool = False
    pid_file: Path | None = None
    lock_file: Path | None = None
    facility: str = "mail"
    label: str = "defang-mux"
    log_to: LogTarget = "auto"
    log_format: LogFormat = "text"
    metrics: str | None = None
    poison: PoisonOutcome = "tempfail"
    poison_dir: Path = DEFAULT_SPOOL / POISON_DIR_NAME

    # No options: how long a stop waits for requests in work, and each step of ending a worker. MIMEDefang's 10 s,
    # which a site's timeouts for stopping the service are used to.
    answer_grace_s: float = 10
    stop_grace_s: float = 10
    kill_grace_s: float = 10


@dataclass(frozen=True, slots=True)
class Option:
    """One option. `least` and `most` make its value a whole number; no `placeholder`, no value."""

    letter: str
    name: str
    field: str
    help: str
    placeholder: str = ""
    least: int | None = None
    most: int | None = None


OPTIONS: Final = (
    Option("U", "user", "user", "run as this user; needed when started by root", "USER"),
    Option("z", "spool", "spool", f"spool directory (default: {DEFAULT_SPOOL})", "DIR"),
    Option("s", "socket", "socket", f"request socket (default: SPOOL/{SOCKET_NAME})", "PATH"),
    Option("a", "unprivileged-socket", "unprivileged_socket", "socket for questions about the status only", "SOCK"),
    Option("N", "map-socket", "map_socket", "socket for lookups of mail servers (socketmap)", "SOCK"),
    Option("O", "notify-socket", "notify_socket", "socket for programs that are told of changes", "SOCK"),
    Option("f", "worker", "worker", "worker program (default: defang-worker)", "PATH"),
    Option("F", "rules", "rules", "the site's filter, handed to the worker as -f", "FILTER"),
    Option("", "start", "start",
           "how workers start: fork (from a template that has loaded the filter), exec, or auto: fork where the "
           "program and the system can (default: auto)", "HOW"),
    Option("E", "embed", "", "as --start auto, for old start scripts: no Perl is embedded"),
    Option("m", "min-workers", "min_workers", "workers to keep running (default: 1)", "N", 1),
    Option("x", "max-workers", "max_workers", "most workers to run (default: 2)", "N", 1),
    Option("r", "max-requests", "max_requests", "requests after which a worker is replaced (default: 500)", "N", 1),
    Option("V", "max-age", "max_age_s",
           "seconds from its first request after which a worker is replaced, 0 for never (default: 0)", "S", 0),
    Option("k", "autoscale", "autoscale", "start and end workers by the load of the last minutes"),
    Option("M", "memory-limit", "memory_limit_kb",
           "kilobytes of memory that a worker may take, 0 for no limit (default: 0)", "KB", 0),
    Option("R", "resident-limit", "resident_limit_kb",
           "the same for resident memory, where the system limits it (default: 0)", "KB", 0),
    Option("", "open-files-limit", "open_files_limit",
           "files that a worker may have open at a time, 0 for the system's limit (default: 0)", "N", 0),
    Option("", "file-size-limit", "file_size_limit_kb",
           "kilobytes that a worker may write to one file, 0 for no limit (default: 0)", "KB", 0),
    Option("", "cpu-limit", "cpu_limit_s",
           "seconds of CPU time that a request may take in a worker, 0 for no limit (default: 0)", "S", 0),
    Option("", "no-new-privileges", "no_new_privileges",
           "workers start no program that has privileges of its own, as sendmail commands have"),
    Option("", "landlock", "landlock",
           "workers write only to the spool, to what the filter's settings name and to --writable-dirs, and read only "
           "system directories beside; implies --no-new-privileges"),
    Option("", "writable-dirs", "writable_dirs", "with --landlock: directories for workers to write to", "DIR:DIR"),
    Option("", "deny-system-calls", "deny_system_calls",
           "workers cannot make system calls that no filter needs (seccomp); implies --no-new-privileges"),
    Option("i", "idle-timeout", "idle_timeout_s",
           "seconds after which an idle worker above -m ends (default: 300)", "S", 10),
    Option("b", "busy-timeout", "busy_timeout_s",
           "seconds that a request may take in a worker (default: 120)", "S", 10),
    Option("c", "command-timeout", "command_timeout_s",
           "seconds to read a request and to write a reply (default: 10)", "S", 10),
    Option("w", "start-interval", "start_interval_s", "seconds between starts up to -m (default: 3)", "S", 1),
    Option("W", "activation-interval", "activation_interval_s", "seconds between any two starts (default: 0)", "S", 0),
    Option("q", "queue-size", "queue_size",
           "requests that may wait for a worker, up to 1024 (default: 0)", "N", 0, 1024),
    Option("Q", "queue-timeout", "queue_timeout_s",
           "seconds that a request may wait, up to 600 (default: 30)", "S", 1, 600),
    Option("y", "domain-recipients", "domain_recipients",
           "recipients of one domain that may be checked at a time, below -x; 0 for no limit (default: 0)", "N", 0),
    Option("X", "tick-interval", "tick_interval_s",
           "seconds between two ticks of a kind, 0 for no ticks (default: 0)", "S", 0),
    Option("P", "tick-kinds", "tick_kinds", "kinds of ticks, up to 30 (default: 1)", "N", 1, 30),
    Option("I", "backlog", "backlog",
           "connections that wait to be accepted (default: a quarter of -x)", "N",
           MIN_BACKLOG, MAX_BACKLOG),
    Option("Z", "status-tags", "status_tags", "let workers report what they are doing"),
    Option("l", "verbose", "verbose", "log starts and ends of workers"),
    Option("A", "log-choices", "log_choices", "log which worker gets which request"),
    Option("d", "log-events", "log_events", "log each step of each worker"),
    Option("L", "status-interval", "status_interval_s",
           "seconds between lines in the log about all workers, at least 5; 0 for none (default: 0)", "S", 0),
    Option("t", "statistics-file", "statistics_file", "append starts, ends and scans of workers to this file", "PATH"),
    Option("T", "log-statistics", "log_statistics", "log the same"),
    Option("u", "flush-statistics", "flush_statistics", "write each line of the file at once"),
    Option("G", "group-access", "group_access", "let the group use the sockets and read the files"),
    Option("D", "foreground", "foreground", "stay in the foreground"),
    Option("p", "pid-file", "pid_file", "write the process ID to this file", "PATH"),
    Option("o", "lock-file", "lock_file", "lock this file (default: PID_FILE.lock)", "PATH"),
    Option("S", "facility", "facility", "syslog facility (default: mail)", "NAME"),
    Option("Y", "label", "label", "name in the log (default: defang-mux)", "NAME"),
    Option("", "log-to", "log_to",
           "auto, syslog, journal or stderr (default: auto: stderr with -D)", "WHERE"),
    Option("", "log-format", "log_format", "text, or json for one object a line (default: text)", "FORM"),
    Option("", "metrics", "metrics",
           "serve metrics for Prometheus at /PATH, inet:PORT or inet6:PORT (loopback)", "SOCK"),
    Option("", "poison", "poison",
           "of a message that has cost two workers: tempfail, quarantine, reject or, to go on trying, none "
           "(default: tempfail)", "WHAT"),
    Option("", "poison-dir", "poison_dir", f"copies of such messages (default: SPOOL/{POISON_DIR_NAME})", "DIR"),
    Option("", "config", "", "read this file first; what is said here too, wins", "FILE"),
    Option("", "print-config", "", "print all settings as such a file"),
    Option("v", "version", "", "print the version"),
    Option("h", "help", "", "print this text"),
)  # fmt: skip
PATHS: Final = frozenset(
    {"spool", "socket", "worker", "rules", "pid_file", "lock_file", "statistics_file", "poison_dir"}
)
CHOICES: Final = {
    "log_to": get_args(LogTarget),
    "log_format": get_args(LogFormat),
    "poison": get_args(PoisonOutcome),
    "start": get_args(Start),
}
USAGE: Final = "usage: defang-mux [-U USER] [-F FILTER] [options]\n"


def usage() -> str:
    """The text of `--help`."""
    return f"{USAGE}\noptions:\n{described(OPTIONS)}"


def described(options: Iterable[Option]) -> str:
    """A line for each option."""
    lines = []
    for option in options:
        short = f"-{option.letter}, " if option.letter else "    "
        head = f"  {short}--{option.name} {option.placeholder}".rstrip()
        lines.append(f"{head:<34} {option.help}\n")
    return "".join(lines)


def getopt_words(options: Iterable[Option]) -> tuple[str, list[str]]:
    """Letters and long names as getopt takes them."""
    options = list(options)
    letters = "".join(option.letter + ":" * bool(option.placeholder) for option in options if option.letter)
    return letters, [option.name + "=" * bool(option.placeholder) for option in options]
