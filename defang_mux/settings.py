# SPDX-License-Identifier: GPL-3.0-or-later
"""The multiplexor's options: one table, from which parser, usage text and `Settings` follow.

Letters and ranges are MIMEDefang's. A number below its range is raised, with a line that says so.
"""

import getopt
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args

DEFAULT_SPOOL: Final = Path("/var/spool/MIMEDefang")
SOCKET_NAME: Final = "mimedefang-multiplexor.sock"
LogTarget = Literal["auto", "syslog", "stderr"]
PoisonOutcome = Literal["tempfail", "quarantine", "reject", "none"]
POISON_DIR_NAME: Final = "poison"

_MIN_WORKERS: Final = 1
_MAX_WORKERS: Final = 2

# Inside the kernel's own limit on most systems; MIMEDefang's range.
_MIN_BACKLOG: Final = 5
_MAX_BACKLOG: Final = 200


class UsageError(Exception):
    """The command line is wrong; the message says where."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All that the command line can say. Times are in seconds."""

    user: str | None = None
    spool: Path = DEFAULT_SPOOL
    socket: Path = DEFAULT_SPOOL / SOCKET_NAME
    unprivileged_socket: str | None = None
    map_socket: str | None = None
    notify_socket: str | None = None
    worker: Path = Path()
    rules: Path | None = None
    min_workers: int = _MIN_WORKERS
    max_workers: int = _MAX_WORKERS
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
    tick_interval_s: int = 0
    tick_kinds: int = 1
    backlog: int = _MIN_BACKLOG
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
    Option("m", "min-workers", "min_workers", "workers to keep running (default: 1)", "N", 1),
    Option("x", "max-workers", "max_workers", "most workers to run (default: 2)", "N", 1),
    Option("r", "max-requests", "max_requests", "requests after which a worker is replaced (default: 500)", "N", 1),
    Option("V", "max-age", "max_age_s",
           "seconds from its first request after which a worker is replaced, 0 for never (default: 0)", "S", 0),
    Option("k", "autoscale", "autoscale", "start and end workers by the load of the last minutes"),
    Option("M", "memory-limit", "memory_limit_kb", "memory of a worker, 0 for no limit (default: 0)", "KB", 0),
    Option("R", "resident-limit", "resident_limit_kb",
           "resident memory of a worker, where the system limits it; 0 for no limit (default: 0)", "KB", 0),
    Option("i", "idle-timeout", "idle_timeout_s",
           "seconds after which an idle worker above -m ends (default: 300)", "S", 10),
    Option("b", "busy-timeout", "busy_timeout_s",
           "seconds that a request may take in a worker (default: 120)", "S", 10),
    Option("c", "command-timeout", "command_timeout_s",
           "seconds to read a request and to write a reply (default: 10)", "S", 10),
    Option("w", "start-interval", "start_interval_s", "seconds between starts up to -m (default: 3)", "S", 1),
    Option("W", "activation-interval", "activation_interval_s", "seconds between any two starts (default: 0)", "S", 0),
    Option("q", "queue-size", "queue_size", "requests that may wait for a worker, up to 128 (default: 0)", "N", 0, 128),
    Option("Q", "queue-timeout", "queue_timeout_s",
           "seconds that a request may wait, up to 600 (default: 30)", "S", 1, 600),
    Option("y", "domain-recipients", "domain_recipients",
           "recipients of one domain that may be checked at a time, below -x; 0 for no limit (default: 0)", "N", 0),
    Option("X", "tick-interval", "tick_interval_s",
           "seconds between two ticks of a kind, 0 for no ticks (default: 0)", "S", 0),
    Option("P", "tick-kinds", "tick_kinds", "kinds of ticks, up to 30 (default: 1)", "N", 1, 30),
    Option("I", "backlog", "backlog",
           "connections that wait to be accepted (default: a quarter of -x)", "N",
           _MIN_BACKLOG, _MAX_BACKLOG),
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
    Option("", "log-to", "log_to", "auto, syslog or stderr (default: auto: stderr with -D)", "WHERE"),
    Option("", "poison", "poison",
           "of a message that has cost two workers: tempfail, quarantine, reject or, to go on trying, none "
           "(default: tempfail)", "WHAT"),
    Option("", "poison-dir", "poison_dir", f"copies of such messages (default: SPOOL/{POISON_DIR_NAME})", "DIR"),
    Option("v", "version", "", "print the version"),
    Option("h", "help", "", "print this text"),
)  # fmt: skip
_PATHS: Final = frozenset(
    {"spool", "socket", "worker", "rules", "pid_file", "lock_file", "statistics_file", "poison_dir"}
)
# A shorter interval would fill the log. MIMEDefang's number.
_MIN_STATUS_INTERVAL_S: Final = 5
_CHOICES: Final = {"log_to": get_args(LogTarget), "poison": get_args(PoisonOutcome)}

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


def parse(argv: list[str]) -> tuple[Settings, list[str]] | Literal["help", "version"]:
    """Settings and lines about adjusted numbers, or which text is asked for. Raises `UsageError`.

    Of an option given twice the last counts. Paths are made absolute, for the daemon changes its directory.
    """
    values: dict[str, Any] = {}
    notes: list[str] = []
    for option, text in _split(argv):
        if option.name in ("help", "version"):
            return "help" if option.name == "help" else "version"
        values[option.field] = _value(option, text, notes)
    _fill_in(values, notes)
    return Settings(**values), notes


def _split(argv: list[str]) -> list[tuple[Option, str]]:
    by_word = {f"-{option.letter}": option for option in OPTIONS if option.letter}
    by_word |= {f"--{option.name}": option for option in OPTIONS}
    try:
        found, rest = getopt.getopt(argv, *getopt_words(OPTIONS))
    except getopt.GetoptError as error:
        if error.opt == "E":
            # Refused and not passed over: whoever gives it counts on what it does.
            raise UsageError("option -E embeds a Perl interpreter, which Defang does not have: leave it out") from None
        raise UsageError(error.msg) from None
    if rest:
        raise UsageError(f"no arguments are taken beside options: {rest[0]!r}")
    return [(by_word[word], text) for word, text in found]


def _value(option: Option, text: str, notes: list[str]) -> str | int | bool | Path:
    if not option.placeholder:
        return True
    if option.least is not None:
        return _number(option, text, notes)
    if not text:
        raise UsageError(f"--{option.name}: an empty value")
    if option.field in _PATHS:
        return _path(option, text)
    choices = _CHOICES.get(option.field)
    if choices is not None and text not in choices:
        raise UsageError(f"--{option.name}: one of {', '.join(choices)}, not {text!r}")
    return text


def _path(option: Option, text: str) -> Path:
    for kind in ("unix:", "local:"):
        if option.field == "socket":
            text = text.removeprefix(kind)
    path = Path(text)
    if option.field == "worker" and not path.is_absolute():
        raise UsageError(f"--{option.name}: the path must be absolute: {text!r}")
    return Path.cwd() / path


def _number(option: Option, text: str, notes: list[str]) -> int:
    assert option.least is not None
    try:
        number = int(text)
    except ValueError:
        raise UsageError(f"--{option.name}: not a whole number: {text!r}") from None
    if number < option.least:
        notes.append(f"--{option.name}: {number} raised to {option.least}, the least there is")
        return option.least
    if option.most is not None and number > option.most:
        if option.field == "queue_size":
            raise UsageError(f"--{option.name}: {option.most} at most")
        notes.append(f"--{option.name}: {number} lowered to {option.most}, the most there is")
        return option.most
    return number


def _fill_in(values: dict[str, Any], notes: list[str]) -> None:
    """What follows from other options where nothing was said."""
    most: int = values.get("max_workers", _MAX_WORKERS)
    least: int = values.get("min_workers", _MIN_WORKERS)
    if least > most:
        notes.append(f"--min-workers: {least} lowered to {most}, the value of --max-workers")
        values["min_workers"] = most
    if values.get("domain_recipients", 0) >= most:
        notes.append(f"--domain-recipients: {values['domain_recipients']} limits nothing, as 0 does: not below -x")
        values["domain_recipients"] = 0
    if 0 < values.get("status_interval_s", 0) < _MIN_STATUS_INTERVAL_S:
        given = values["status_interval_s"]
        notes.append(f"--status-interval: {given} raised to {_MIN_STATUS_INTERVAL_S}, the least there is")
        values["status_interval_s"] = _MIN_STATUS_INTERVAL_S
    values.setdefault("backlog", max(_MIN_BACKLOG, min(most // 4, _MAX_BACKLOG)))
    values.setdefault("poison_dir", values.get("spool", DEFAULT_SPOOL) / POISON_DIR_NAME)
    values.setdefault("socket", values.get("spool", DEFAULT_SPOOL) / SOCKET_NAME)
    # Beside our own interpreter, so that a virtual environment's multiplexor starts that environment's worker.
    values.setdefault("worker", Path(sys.executable).parent / "defang-worker")
