# SPDX-License-Identifier: GPL-3.0-or-later
"""The standard library's logging, led to syslog, to systemd's journal or to standard error, as text or as JSON.

Each line of a message becomes a line of the log. Messages begin with the queue ID
("Q123: text"), and later lines of the same message, as those of a traceback, repeat it.
Loggers: "defang.milter", "defang.mux", "defang.worker". Called once, before the first message.
"""

import errno
import logging
import os
import re
import socket
import syslog
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from defang_common.host.log_outlet import Outlet

Target = Literal["syslog", "journal", "stderr"]
Form = Literal["text", "json"]

# Where the C library's syslog() sends to (_PATH_LOG).
DEV_LOG: Final = Path("/dev/log")
# Where the journal takes its native protocol, which has fields of their own for what syslog puts into one line.
JOURNAL: Final = Path("/run/systemd/journal/socket")

_FACILITIES: Final = {
    name: int(getattr(syslog, f"LOG_{name.upper()}"))
    for name in (
        *("kern", "user", "mail", "daemon", "auth", "authpriv", "syslog", "lpr", "news", "uucp", "cron"),
        *(f"local{number}" for number in range(8)),
    )
}

_QUEUE_ID: Final = re.compile(r"[^\s:]+: ")
# As mail servers make them: letters and digits, at least one of these.
_QUEUE_ID_FOR_SURE: Final = re.compile(r"([A-Za-z]*[0-9][A-Za-z0-9]*|NOQUEUE): ")
# Bytes of a message may come from whoever sends mail: no control character reaches a terminal or splits a line, no
# lone surrogate stops the encoder. (Line feeds have been split at by then.)
_UNPRINTABLE: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def facility_number(name: str) -> int:
    """The number of a facility such as "mail" or "LOG_MAIL", in any case; ValueError for another name."""
    number = _FACILITIES.get(name.lower().removeprefix("log_"))
    if number is None:
        raise ValueError(f"unknown syslog facility: {name}")
    return number


def missing_logger(path: Path = DEV_LOG) -> str | None:
    """Why nobody reads what is sent to syslog now; None if somebody does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(str(path))
        except OSError as error:
            # A logger that takes streams is one too; the C library tries both.
            return None if error.errno == errno.EPROTOTYPE else f"{path}: {error.strerror or error}"
    return None


def _escape(match: re.Match[str]) -> str:
    number = ord(match[0])
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"


def _lines(text: str) -> Iterator[str]:
    first, *others = text.split("\n")
    yield _UNPRINTABLE.sub(_escape, first)
    if others:
        match = _QUEUE_ID.match(first)
        prefix = _UNPRINTABLE.sub(_escape, match[0]) if match else ""
        for other in others:
            if other:
                yield prefix + _UNPRINTABLE.sub(_escape, other)


_PRIORITIES: Final = {
    logging.DEBUG: syslog.LOG_DEBUG,
    logging.INFO: syslog.LOG_INFO,
    logging.WARNING: syslog.LOG_WARNING,
    logging.ERROR: syslog.LOG_ERR,
    logging.CRITICAL: syslog.LOG_CRIT,
}


_FACILITY_BITS: Final = 3
_STANDARD_ERROR: Final = 2


@dataclass(frozen=True, slots=True)
class _Entry:
    """What is kept of a record until it is written; `text` is formatted."""

    level: int
    created: float
    pid: int | None
    text: str


Render = Callable[[_Entry, str], str]
"""What becomes of one line of an entry's text."""


def queue_id_of(line: str) -> str | None:
    """The queue ID at the beginning of a line, if there is one."""
    match = _QUEUE_ID_FOR_SURE.match(line)
    return match[1] if match else None


def _plain(_entry: _Entry, line: str) -> str:
    return line


def _as_json(label: str) -> Render:
    """One object a line, so that what reads it needs no rule for where messages end."""
    # Few sites want it.
    import json  # noqa: PLC0415
    from datetime import UTC, datetime  # noqa: PLC0415

    def render(entry: _Entry, line: str) -> str:
        queue_id = queue_id_of(line)
        facts = {
            "time": datetime.fromtimestamp(entry.created, UTC).isoformat(timespec="milliseconds"),
            "level": logging.getLevelName(entry.level).lower(),
            "program": label,
            "pid": entry.pid,
            "queue_id": queue_id,
            "message": line.removeprefix(f"{queue_id}: "),
        }
        return json.dumps(facts)

    return render


class _Sink(ABC):
    """Writes entries, and may have to wait for whoever takes them; used by the outlet's thread alone."""

    def __init__(self, render: Render) -> None:
        self._render = render

    @abstractmethod
    def write(self, entry: _Entry) -> None:
        """Writes each line of the entry."""

    def close(self) -> None:  # noqa: B027  # most have nothing to let go of
        """Lets go of what it has."""


class _Syslog(_Sink):
    def write(self, entry: _Entry) -> None:
        priority = _PRIORITIES.get(entry.level, syslog.LOG_INFO)
        for line in _lines(entry.text):
            syslog.syslog(priority, self._render(entry, line))


class _Journal(_Sink):
    """Fields as `journalctl DEFANG_QUEUE_ID=...` finds them (systemd's "Native Journal Protocol")."""

    def __init__(self, render: Render, label: str, facility: int, path: Path) -> None:
        super().__init__(render)
        self._head = f"SYSLOG_IDENTIFIER={label}\nSYSLOG_FACILITY={facility >> _FACILITY_BITS}\n"
        self._path = os.fspath(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

    def write(self, entry: _Entry) -> None:
        head = f"{self._head}PRIORITY={_PRIORITIES.get(entry.level, syslog.LOG_INFO)}\n"
        for line in _lines(entry.text):
            queue_id = queue_id_of(line)
            fields = f"{head}MESSAGE={self._render(entry, line)}\n"
            if queue_id is not None:
                fields += f"DEFANG_QUEUE_ID={queue_id}\n"
            # To the path each time, for a journal that was restarted has a new socket there.
            self._socket.sendto(fields.encode(), self._path)

    def close(self) -> None:
        self._socket.close()


class _Stderr(_Sink):
    """To the descriptor itself: the interpreter's own file would be locked when the program ends, if this hangs."""

    def __init__(self, render: Render, label: str | None) -> None:
        super().__init__(render)
        self._label = label

    def write(self, entry: _Entry) -> None:
        head = "" if self._label is None else f"{self._label}[{entry.pid}]: "
        # One write, so that several processes on one terminal or file do not mix within a line.
        rest = "".join(f"{head}{self._render(entry, line)}\n" for line in _lines(entry.text)).encode()
        while rest:
            rest = rest[os.write(_STANDARD_ERROR, rest) :]


class _Handler(logging.Handler):
    """Takes records, and never waits for the log."""

    def __init__(self, sink: _Sink) -> None:
        super().__init__()
        self._outlet = Outlet(sink.write, _notice, sink.close)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record)
        except Exception:  # noqa: BLE001  # a handler's errors go where logging wants them
            self.handleError(record)
            return
        self._outlet.put(_Entry(record.levelno, record.created, record.process, text), len(text))

    def flush(self) -> None:
        self._outlet.flush()

    def close(self) -> None:
        self._outlet.close()
        super().close()


def _notice(count: int) -> _Entry:
    lines = "1 message" if count == 1 else f"{count} messages"
    return _Entry(logging.WARNING, time.time(), os.getpid(), f"{lines} for this log lost: it did not take them")


def configure(*, label: str, facility: str, target: Target, form: Form = "text", journal: Path = JOURNAL) -> None:
    """Sends all messages from INFO up, those of our own loggers from DEBUG up, to `target`.

    On standard error a line is "LABEL[PID]: text"; syslog and journal get the same label, the process
    ID and `facility` (ValueError if there is none of that name). As JSON each line is one object, wherever it goes.
    A second call replaces the first. A thread does the writing; `logging.shutdown` waits for it, not for ever.
    """
    number = facility_number(facility)
    render = _plain if form == "text" else _as_json(label)
    sink: _Sink
    match target:
        case "syslog":
            syslog.openlog(label, syslog.LOG_PID | syslog.LOG_NDELAY, number)
            sink = _Syslog(render)
        case "journal":
            sink = _Journal(render, label, number, journal)
        case "stderr":
            sink = _Stderr(render, label if form == "text" else None)
    handler = _Handler(sink)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logging.logThreads = False
    logging.logMultiprocessing = False
    root = logging.getLogger()
    for before in root.handlers:
        if isinstance(before, _Handler):
            before.flush()
            before.close()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    logging.getLogger("defang").setLevel(logging.DEBUG)


def flush() -> None:
    """Returns when all messages were written, but waits no longer than a moment for a log that does not take them."""
    for handler in logging.getLogger().handlers:
        handler.flush()
