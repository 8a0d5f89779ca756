# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line: one table of options, from which parser, help text and `Settings` follow.

Letters and meaning are those of mimedefang(8); each has a long name too. A few long options
are our own. Nothing here touches the system but the check of the syslog facility's name.
"""

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Any, Final, Literal, NoReturn

from defang_common import __version__
from defang_common.host import logs
from defang_milter import address

PROGRAM: Final = "defang-milter"
DEFAULT_SPOOL: Final = Path("/var/spool/MIMEDefang")
MUX_SOCKET_NAME: Final = "mimedefang-multiplexor.sock"
DEFAULT_SCANNED_BY: Final = f"Defang {__version__}"


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
    log_to: Literal["auto", "syslog", "stderr"]
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
    VERSION = auto()
    HELP = auto()


@dataclass(frozen=True, slots=True)
class Option:
    """One option: letter (may be empty), long name, kind, the argument's name, help, default."""

    letter: str
    name: str
    kind: Kind
    argument: str
    help: str
    default: Any = None


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
    Option("", "log-to", Kind.LOG_TARGET, "WHERE", "auto, syslog or stderr (default: auto: stderr with -D)", "auto"),
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
    Option("v", "version", Kind.VERSION, "", "print the version"),
    Option("h", "help", Kind.HELP, "", "print this text"),
)


def _seconds(text: str) -> float:
    value = float(text)
    # Not `value <= 0`, which a NaN passes.
    if not 0 < value < 1_000_000:
        raise ValueError(text)
    return value


def _text(text: str) -> str:
    # pymilter passes on no other, and its error would come with the first message.
    if not text.isprintable():
        raise argparse.ArgumentTypeError(f"control characters, or not UTF-8: {text!r}")
    return text


def _address(text: str) -> str:
    try:
        address.parse(_text(text))
    except address.NoAddress as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _macro(text: str) -> str:
    name = _text(text).removeprefix("{").removesuffix("}")
    if not name:
        raise argparse.ArgumentTypeError("an empty name")
    return name


def _facility(text: str) -> str:
    try:
        logs.facility_number(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


_READERS: Final[dict[Kind, Any]] = {
    Kind.TEXT: _text,
    Kind.ADDRESS: _address,
    Kind.MACRO: _macro,
    # Made absolute here, for the daemon changes its directory.
    Kind.PATH: lambda text: Path(os.path.abspath(text)),  # noqa: PTH100  # Path.resolve() would follow links
    Kind.NUMBER: int,
    Kind.SECONDS: _seconds,
    Kind.FACILITY: _facility,
}
# argparse puts this name into "invalid ... value: 'x'".
_READERS[Kind.PATH].__name__ = "path"
_seconds.__name__ = "number of seconds"


class _Parser(argparse.ArgumentParser):
    """Says the error last and in one line, which is where a person looks."""

    def error(self, message: str) -> NoReturn:
        self.exit(1, f"{self.format_usage()}{PROGRAM}: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=PROGRAM,
        usage=f"{PROGRAM} -p CONNECTION [-m PATH] [-U USER] [options]\n       {PROGRAM} prcap",
        description="Front end of Defang: takes mail from an MTA by the milter protocol and has it filtered.",
        epilog="prcap as the only word prints what libmilter can do.",
        allow_abbrev=False,
        add_help=False,
    )
    for option in OPTIONS:
        flags = [f"-{option.letter}"] if option.letter else []
        flags.append(f"--{option.name}")
        field = option.name.replace("-", "_") + ("_s" if option.kind is Kind.SECONDS else "")
        match option.kind:
            case Kind.FLAG:
                parser.add_argument(*flags, dest=field, action="store_true", help=option.help)
            case Kind.VERSION:
                version = f"{PROGRAM} version {__version__}"
                parser.add_argument(*flags, action="version", version=version, help=option.help)
            case Kind.HELP:
                parser.add_argument(*flags, action="help", help=option.help)
            case Kind.LOG_TARGET:
                choices = ("auto", "syslog", "stderr")
                parser.add_argument(*flags, dest=field, choices=choices, default=option.default, help=option.help)
            case _:
                parser.add_argument(
                    *flags,
                    dest=field,
                    action="append" if option.kind is Kind.MACRO else "store",
                    type=_READERS[option.kind],
                    metavar=option.argument,
                    default=option.default,
                    help=option.help,
                )
    return parser


def _scanned_by(given: argparse.Namespace) -> str | None:
    if given.no_scanned_by:
        return None
    text: str = DEFAULT_SCANNED_BY if given.scanned_by is None else given.scanned_by
    return text or None


def _is_at(connection: str, path: Path, spool: Path) -> bool:
    where = address.parse(connection)
    # The daemon lives in the spool, so a relative path is meant from there.
    return isinstance(where, address.UnixAddress) and os.path.normpath(spool / where.path) == str(path)


def parse(argv: Sequence[str]) -> Settings:
    """The settings in `argv` (without the program's name); prints the reason and exits if they make no sense.

    Empty words are passed over, for start scripts leave them behind; other stray words are not.
    """
    parser = _parser()
    given, strays = parser.parse_known_args(list(argv))
    strays = [word for word in strays if word]
    if strays:
        parser.error(f"unexpected: {' '.join(strays)}")
    if given.socket is None:
        parser.error("-p is missing: where is the MTA to connect?")
    if given.no_scanned_by and given.scanned_by is not None:
        parser.error("-x and -X exclude each other")
    if given.backlog is not None and given.backlog < 5:
        parser.error("-b: at least 5")
    values = vars(given)
    values["mux_socket"] = given.mux_socket or given.spool / MUX_SOCKET_NAME
    if _is_at(given.socket, given.mux_socket, given.spool):
        parser.error(f"-p and -m name the same socket: {given.mux_socket}")
    values["scanned_by"] = _scanned_by(given)
    values["macros"] = tuple(values.pop("macro") or ())
    for meaningless in ("no_scanned_by", "obsolete"):
        del values[meaningless]
    return Settings(**values)
