# SPDX-License-Identifier: GPL-3.0-or-later
"""From the variables of the defaults file to the command lines of both daemons; pure.

The names are those of MIMEDefang's start scripts (Debian's /etc/default/mimedefang), with a few
of our own. Start scripts read the file and export it, systemd hands it over as it stands.
"""

import difflib
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, assert_never

DEFAULT_FILTER: Final = "/etc/mail/defang-filter.py"
MUX: Final = "defang-mux"
MILTER: Final = "defang-milter"
WORKER: Final = "defang-worker"

# Names that begin so are taken for ours; a misspelt one is an error rather than without effect.
_OUR_PREFIXES: Final = ("MX_", "MD_")
# Names that look so are told of, no more: they may be meant for the filter, or come from whoever calls us.
_LIKE_OURS: Final = ("MILTER_", "MUX_", "MULTIPLEXOR_", "WORKER_", "MIMEDEFANG_", "DEFANG_", "DAEMON_", "SPOOL_")
# As near as SUBFILTR is to SUBFILTER; SOCKET and a caller's SSH_SOCKET are not.
_NEAR: Final = 0.85


class Nonsense(Exception):
    """A variable's name or value makes no sense; the message says which."""


class Kind(StrEnum):
    """How a variable's value becomes words of a command line."""

    VALUE = "a value"
    FLAG = "`yes` or `no`"
    EXTRA = "options"
    SCANNED_BY = "a text, `-` for none"
    STATS = "`yes`, `no`, or a path"


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """One variable: the option's letter with each daemon (empty: none), and its value where nothing is said."""

    name: str
    meaning: str
    mux: str = ""
    milter: str = ""
    kind: Kind = Kind.VALUE
    default: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Daemon:
    """One daemon as it is to be run: its options but not the program's path, its files, where it listens."""

    program: str
    options: tuple[str, ...]
    pid_file: Path
    socket: str

    @property
    def lock_file(self) -> Path:
        """What the daemon locks while it lives; the daemons' own default."""
        return self.pid_file.with_name(self.pid_file.name + ".lock")


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """All that the variables say."""

    mux: Daemon
    milter: Daemon
    user: str
    spool: Path
    worker: str | None
    rules: str | None
    remarks: tuple[str, ...]


_STATS_FILE: Final = "/var/log/defang/stats"

VARIABLES: Final = (
    Variable(name="SPOOLDIR", meaning="spool directory", mux="z", milter="z", default="/var/spool/MIMEDefang"),
    Variable(name="MX_USER", meaning="the user whom the daemons run as", mux="U", milter="U", default="defang"),
    Variable(name="SUBFILTER", meaning="the site's filter", mux="F"),
    Variable(name="FILTER", meaning="worker program, if it is not `defang-worker`", mux="f"),
    Variable(
        name="SOCKET", meaning="where the mail server connects", milter="p", default="$SPOOLDIR/mimedefang.sock"
    ),
    Variable(
        name="MX_SOCKET", meaning="the multiplexor's request socket", mux="s", milter="m",
        default="$SPOOLDIR/mimedefang-multiplexor.sock",
    ),
    Variable(name="MX_MINIMUM", meaning="workers to keep running", mux="m"),
    Variable(name="MX_MAXIMUM", meaning="most workers to run", mux="x"),
    Variable(name="MX_REQUESTS", meaning="requests after which a worker is replaced", mux="r"),
    Variable(name="MX_MAX_LIFETIME", meaning="age in seconds at which a worker is replaced", mux="V"),
    Variable(name="MX_IDLE", meaning="seconds after which an idle worker above MX_MINIMUM ends", mux="i"),
    Variable(name="MX_BUSY", meaning="seconds that a request may take in a worker", mux="b"),
    Variable(name="MX_QUEUE_SIZE", meaning="requests that may wait for a worker", mux="q"),
    Variable(name="MX_QUEUE_TIMEOUT", meaning="seconds that a request may wait", mux="Q"),
    Variable(name="MX_WORKER_DELAY", meaning="seconds between starts up to MX_MINIMUM", mux="w"),
    Variable(name="MX_SLAVE_DELAY", meaning="the same, by its older name", mux="w"),
    Variable(name="MX_MIN_WORKER_DELAY", meaning="seconds between any two starts", mux="W"),
    Variable(name="MX_MIN_SLAVE_DELAY", meaning="the same, by its older name", mux="W"),
    Variable(name="MX_MAX_RSS", meaning="a worker's resident memory in kilobytes", mux="R"),
    Variable(name="MX_MAX_AS", meaning="a worker's address space in kilobytes", mux="M"),
    Variable(name="MX_RECIPOK_PERDOMAIN_LIMIT", meaning="recipient checks at one time for a domain", mux="y"),
    Variable(name="MX_MAP_SOCKET", meaning="socket for lookups of mail servers", mux="N"),
    Variable(name="MX_NOTIFIER", meaning="socket that tells listeners of changes", mux="O"),
    Variable(name="MX_STATUS_UPDATES", meaning="workers report what they are doing", mux="Z", kind=Kind.FLAG),
    Variable(name="MX_LOG", meaning="starts and ends of workers are logged", mux="l", kind=Kind.FLAG),
    Variable(name="MX_LOG_WORKER_STATUS_INTERVAL", meaning="seconds between lines of status in the log", mux="L"),
    Variable(name="MX_LOG_SLAVE_STATUS_INTERVAL", meaning="the same, by its older name", mux="L"),
    Variable(name="MX_STATS", meaning=f"statistics, in {_STATS_FILE} or the path", mux="t", kind=Kind.STATS),
    Variable(name="MX_FLUSH_STATS", meaning="the file is flushed after each entry", mux="u", kind=Kind.FLAG),
    Variable(name="MX_STATS_SYSLOG", meaning="statistics in the log", mux="T", kind=Kind.FLAG),
    Variable(name="MX_RELAY_CHECK", meaning="the filter is asked at connect", milter="r", kind=Kind.FLAG),
    Variable(name="MX_HELO_CHECK", meaning="the filter is asked at HELO", milter="H", kind=Kind.FLAG),
    Variable(name="MX_SENDER_CHECK", meaning="the filter is asked at MAIL", milter="s", kind=Kind.FLAG),
    Variable(name="MX_RECIPIENT_CHECK", meaning="the filter is asked at each RCPT", milter="t", kind=Kind.FLAG),
    Variable(name="MD_SKIP_BAD_RCPTS", meaning="recipients that the mail server refuses are not shown to the filter",
             milter="N", kind=Kind.FLAG),
    Variable(name="ALLOW_NEW_CONNECTIONS_TO_QUEUE", meaning="connections are let in while no worker is free",
             milter="q", kind=Kind.FLAG),
    Variable(name="LOOPBACK_RESERVED_CONNECTIONS", meaning="workers kept for connections from the host itself",
             milter="R"),
    Variable(name="KEEP_FAILED_DIRECTORIES", meaning="the working directory of a failed message is kept",
             milter="k", kind=Kind.FLAG),
    Variable(name="USE_SETSYMLIST", meaning="the mail server is told which macros are wanted",
             milter="y", kind=Kind.FLAG),
    Variable(name="X_SCANNED_BY", meaning="contents of X-Scanned-By", milter="x", kind=Kind.SCANNED_BY),
    Variable(name="MD_ALLOW_GROUP_ACCESS", meaning="the group may use sockets and read files",
             mux="G", milter="G", kind=Kind.FLAG),
    Variable(name="SYSLOG_FACILITY", meaning="syslog facility", mux="S", milter="S"),
    Variable(name="MX_EMBED_PERL", meaning="workers are forked where they can be", mux="E", kind=Kind.FLAG),
    Variable(name="MD_EXTRA", meaning="further options of `defang-milter`", milter="-", kind=Kind.EXTRA),
    Variable(name="MX_EXTRA", meaning="further options of `defang-mux`", mux="-", kind=Kind.EXTRA),
)  # fmt: skip
_NAMES: Final = frozenset(variable.name for variable in VARIABLES)
_DEFAULTS: Final = {variable.name: variable.default for variable in VARIABLES}


def service_of(environment: Mapping[str, str]) -> Service:
    """The service that these variables describe; an empty one counts as not said. Raises `Nonsense`."""
    _refuse_unknown(environment)
    values = {name: environment.get(name) or default for name, default in _DEFAULTS.items()}
    spool = values["SPOOLDIR"]
    # systemd reads the file without a shell, so what a shell would put in is put in here.
    values = {name: value.replace("${SPOOLDIR}", spool).replace("$SPOOLDIR", spool) for name, value in values.items()}
    if not values["FILTER"]:
        values["SUBFILTER"] = values["SUBFILTER"] or DEFAULT_FILTER
    mux_pid, milter_pid = (Path(spool, f"{program}.pid") for program in (MUX, MILTER))
    return Service(
        mux=Daemon(
            program=MUX,
            options=("-p", str(mux_pid), *_words(values, "mux")),
            pid_file=mux_pid,
            socket=values["MX_SOCKET"],
        ),
        milter=Daemon(
            program=MILTER,
            options=("-P", str(milter_pid), *_words(values, "milter")),
            pid_file=milter_pid,
            socket=values["SOCKET"],
        ),
        user=values["MX_USER"],
        spool=Path(spool),
        worker=values["FILTER"] or None,
        rules=values["SUBFILTER"] or None,
        remarks=tuple(_without_effect(environment)),
    )


def _refuse_unknown(environment: Mapping[str, str]) -> None:
    for name in environment:
        if name.startswith(_OUR_PREFIXES) and name not in _NAMES:
            close = difflib.get_close_matches(name, _NAMES, n=1)
            raise Nonsense(f"{name}: no such variable" + (f" (is {close[0]} meant?)" if close else ""))


def _without_effect(environment: Mapping[str, str]) -> Iterable[str]:
    for name in sorted(set(environment) - _NAMES):
        if close := difflib.get_close_matches(name, _NAMES, n=1, cutoff=_NEAR):
            yield f"{name}: no such variable, it has no effect (is {close[0]} meant?)"
        elif name.startswith(_LIKE_OURS):
            yield f"{name}: no such variable, it has no effect (options: MX_EXTRA of {MUX}, MD_EXTRA of {MILTER})"


def _words(values: Mapping[str, str], daemon: str) -> Iterable[str]:
    for variable in VARIABLES:
        letter = variable.mux if daemon == "mux" else variable.milter
        value = values[variable.name]
        if not letter or not value:
            continue
        match variable.kind:
            case Kind.VALUE:
                # One word, so that a value that begins with "-" (LOOPBACK_RESERVED_CONNECTIONS=-1) is no option.
                yield f"-{letter}{value}"
            case Kind.FLAG:
                if _is_yes(variable.name, value):
                    yield f"-{letter}"
            case Kind.SCANNED_BY:
                yield "-X" if value == "-" else f"-{letter}{value}"
            case Kind.STATS:
                if value.startswith("/") or _is_yes(variable.name, value):
                    yield f"-{letter}{value if value.startswith('/') else _STATS_FILE}"
            case Kind.EXTRA:
                yield from _split(variable.name, value)
            case _ as never:
                assert_never(never)


def _is_yes(name: str, value: str) -> bool:
    if value not in ("yes", "no"):
        raise Nonsense(f"{name}={value}: yes or no")
    return value == "yes"


def _split(name: str, value: str) -> list[str]:
    try:
        return shlex.split(value)
    except ValueError as error:
        raise Nonsense(f"{name}={value}: {error}") from None
