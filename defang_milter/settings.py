# SPDX-License-Identifier: GPL-3.0-or-later
"""The front end's options: one table, from which command line, configuration file and help text follow.

Letters and meaning are those of mimedefang(8); each has a long name too. A few long options
are our own. How they are read is in `command_line`.
"""

from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Any, Final, Literal, get_args

from defang_common import __version__

PROGRAM: Final = "defang-milter"
DEFAULT_SPOOL: Final = Path("/var/spool/MIMEDefang")
MUX_SOCKET_NAME: Final = "mimedefang-multiplexor.sock"
DEFAULT_SCANNED_BY: Final = f"Defang {__version__}"
LogTarget = Literal["auto", "syslog", "journal", "stderr"]
LogFormat = Literal["text", "json"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All that the command line says; a field is named as its long option. Paths are absolute."""

    socket: str
    mux_socket: Path
    user: str | None
    spool: Path
    relay_check: bool
    helo_check: bool
    sender_check: bool
    recipient_check: bool
    queue_connections: bool
    reserve: int
    loopback_alias: str | None
    keep_failed: bool
    keep_all: bool
    reopen_files: bool
    always_header_files: bool
    log_filter_time: bool
    scanned_by: str | None
    macros: tuple[str, ...]
    send_macro_lists: bool
    no_rejected_recipients: bool
    strip_bare_cr: bool
    backlog: int | None
    group_access: bool
    pid_file: Path | None
    lock_file: Path | None
    facility: str
    log_to: LogTarget
    log_format: LogFormat
    foreground: bool
    ip_key_file: Path
    mux_timeout_s: float
    mux_start_timeout_s: float
    progress_interval_s: float
    stop_grace_s: float


class Kind(Enum):
    """How an option's argument is read."""

    FLAG = auto()
    TEXT = auto()
    ADDRESS = auto()
    MACRO = auto()
    PATH = auto()
    NUMBER = auto()
    SECONDS = auto()
    FACILITY = auto()
    LOG_TARGET = auto()
    LOG_FORMAT = auto()
    CONFIG = auto()
    PRINT_CONFIG = auto()
    VERSION = auto()
    HELP = auto()


CHOICES: Final = {Kind.LOG_TARGET: get_args(LogTarget), Kind.LOG_FORMAT: get_args(LogFormat)}


@dataclass(frozen=True, slots=True)
class Option:
    """One option: letter (may be empty), long name, kind, the argument's name, help, default."""

    letter: str
    name: str
    kind: Kind
    argument: str
    help: str
    default: Any = None

    @property
    def field(self) -> str:
        """The name of its value; for most the field of `Settings`."""
        return self.name.replace("-", "_") + ("_s" if self.kind is Kind.SECONDS else "")


OPTIONS: Final = (
    Option("p", "socket", Kind.ADDRESS, "CONNECTION", "where the MTA connects: unix:PATH, inet:PORT@HOST"),
    Option("m", "mux-socket", Kind.PATH, "PATH", f"the multiplexor's socket (default: SPOOL/{MUX_SOCKET_NAME})"),
    Option("U", "user", Kind.TEXT, "USER", "run as this user; required for root"),
    Option("z", "spool", Kind.PATH, "DIR", f"spool directory (default: {DEFAULT_SPOOL})", DEFAULT_SPOOL),
    Option("r", "relay-check", Kind.FLAG, "", "ask the filter at connect"),
    Option("H", "helo-check", Kind.FLAG, "", "ask the filter at HELO"),
    Option("s", "sender-check", Kind.FLAG, "", "ask the filter at MAIL"),
    Option("t", "recipient-check", Kind.FLAG, "", "ask the filter at each RCPT"),
    Option("q", "queue-connections", Kind.FLAG, "", "let connections in while no worker is free"),
    Option(
        "R",
        "reserve",
        Kind.NUMBER,
        "N",
        "let only the loopback in while N or fewer workers are free",
        -1,
    ),
    Option("L", "loopback-alias", Kind.TEXT, "IP", "an address of this host that the filter is to see as 127.0.0.1"),
    Option("k", "keep-failed", Kind.FLAG, "", "keep the working directory when filtering fails"),
    Option("d", "keep-all", Kind.FLAG, "", "keep every working directory"),
    Option("C", "reopen-files", Kind.FLAG, "", "hold no file open between callbacks"),
    Option(
        "",
        "always-header-files",
        Kind.FLAG,
        "",
        "write HEADERS and PRISTINE_HEADERS for filters and scanners that read them, though no worker needs them",
    ),
    Option("T", "log-filter-time", Kind.FLAG, "", "log how long each message took"),
    Option("x", "scanned-by", Kind.TEXT, "TEXT", f"X-Scanned-By (default: {DEFAULT_SCANNED_BY}); empty for none"),
    Option("X", "no-scanned-by", Kind.FLAG, "", "add no X-Scanned-By"),
    Option("a", "macro", Kind.MACRO, "NAME", "tell the filter this macro of the MTA too; may be repeated"),
    Option("y", "send-macro-lists", Kind.FLAG, "", "tell the MTA which macros are wanted"),
    Option("N", "no-rejected-recipients", Kind.FLAG, "", "do not ask to see recipients that the MTA refuses"),
    Option("c", "strip-bare-cr", Kind.FLAG, "", "drop carriage returns that stand alone in a body"),
    Option("b", "backlog", Kind.NUMBER, "N", "length of the queue of waiting connections, at least 5"),
    Option("G", "group-access", Kind.FLAG, "", "let the group use socket and files"),
    Option("P", "pid-file", Kind.PATH, "FILE", "write the process ID here"),
    Option("o", "lock-file", Kind.PATH, "FILE", "lock this file, so that only one runs (default: PID_FILE.lock)"),
    Option("S", "facility", Kind.FACILITY, "NAME", "syslog facility (default: mail)", "mail"),
    Option("D", "foreground", Kind.FLAG, "", "stay in the foreground"),
    Option("M", "obsolete", Kind.FLAG, "", "does nothing; accepted for old start scripts"),
    Option(
        "",
        "log-to",
        Kind.LOG_TARGET,
        "WHERE",
        "auto, syslog, journal or stderr (default: auto: stderr with -D)",
        "auto",
    ),
    Option("", "log-format", Kind.LOG_FORMAT, "FORM", "text, or json for one object a line (default: text)", "text"),
    Option(
        "",
        "ip-key-file",
        Kind.PATH,
        "FILE",
        "names the header by which a trusted relay tells the client's address (default: /etc/mail/mimedefang-ip-key)",
        Path("/etc/mail/mimedefang-ip-key"),
    ),
    Option("", "mux-timeout", Kind.SECONDS, "SECONDS", "longest wait for an answer (default: 600)", 600.0),
    Option("", "mux-start-timeout", Kind.SECONDS, "SECONDS", "longest wait for it at the start (default: 20)", 20.0),
    # Well below the 10 s of silence after which Sendmail, unless told otherwise, gives a milter up.
    Option(
        "",
        "progress-interval",
        Kind.SECONDS,
        "SECONDS",
        "sign of life to the MTA in a scan (default: 5)",
        5.0,
    ),
    Option("", "stop-grace", Kind.SECONDS, "SECONDS", "time to finish messages at the stop (default: 30)", 30.0),
    Option("", "config", Kind.CONFIG, "FILE", "read this file first; what is said here too, wins"),
    Option("", "print-config", Kind.PRINT_CONFIG, "", "print all settings as such a file"),
    Option("v", "version", Kind.VERSION, "", "print the version"),
    Option("h", "help", Kind.HELP, "", "print this text"),
)
