# SPDX-License-Identifier: GPL-3.0-or-later
"""The standard library's logging, led to syslog or to standard error.

Each line of a message becomes a line of the log. Messages begin with the queue ID
("Q123: text"), and later lines of the same message, as those of a traceback, repeat it.
Loggers: "defang.milter", "defang.mux", "defang.worker". Called once, before the first message.
"""

import errno
import logging
import re
import socket
import sys
import syslog
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

# Where the C library's syslog() sends to (_PATH_LOG).
DEV_LOG: Final = Path("/dev/log")

_FACILITIES: Final = {
    name: int(getattr(syslog, f"LOG_{name.upper()}"))
    for name in (
        *("kern", "user", "mail", "daemon", "auth", "authpriv", "syslog", "lpr", "news", "uucp", "cron"),
        *(f"local{number}" for number in range(8)),
    )
}

_QUEUE_ID: Final = re.compile(r"[^\s:]+: ")
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


class _SyslogHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        try:
            priority = _PRIORITIES.get(record.levelno, syslog.LOG_INFO)
            for line in _lines(self.format(record)):
                syslog.syslog(priority, line)
        except Exception:  # noqa: BLE001  # a handler's errors go where logging wants them
            self.handleError(record)


class _StderrHandler(logging.StreamHandler):  # type: ignore[type-arg]  # generic for the type checker alone
    def __init__(self, label: str) -> None:
        super().__init__(sys.stderr)
        self._label = label

    def emit(self, record: logging.LogRecord) -> None:
        try:
            head = f"{self._label}[{record.process}]: "
            # One write, so that several processes on one terminal or file do not mix within a line.
            self.stream.write("".join(f"{head}{line}\n" for line in _lines(self.format(record))))
            self.flush()
        except Exception:  # noqa: BLE001  # a handler's errors go where logging wants them
            self.handleError(record)


def configure(*, label: str, facility: str, target: Literal["syslog", "stderr"]) -> None:
    """Sends all messages from INFO up, those of our own loggers from DEBUG up, to `target`.

    On standard error a line is "LABEL[PID]: text"; syslog gets the same label, the process
    ID and `facility` (ValueError if there is none of that name). A second call replaces the first.
    """
    number = facility_number(facility)
    handler: logging.Handler
    if target == "syslog":
        syslog.openlog(label, syslog.LOG_PID | syslog.LOG_NDELAY, number)
        handler = _SyslogHandler()
    else:
        handler = _StderrHandler(label)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logging.logThreads = False
    logging.logMultiprocessing = False
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    logging.getLogger("defang").setLevel(logging.DEBUG)
