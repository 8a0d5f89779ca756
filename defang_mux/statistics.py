# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines about starts, ends and scans of workers, for a file and for the log (protocol.md, Statistics).

`line_of` is pure; `Statistics` is one of the crew's watches, made by `supervisor` if an option asks for it.
"""

import time
from logging import Logger
from pathlib import Path
from typing import BinaryIO, Final

from defang_common.host.daemon import StartFailed
from defang_mux.pool.events import Event
from defang_mux.pool.state import Kind, Moved, State

_BUFFER_BYTES: Final = 65_536


def line_of(event: Moved) -> str | None:
    """The event and its keys, None for a step that is not told of."""
    match event.old, event.new:
        case State.STOPPED, _:
            return _line("StartWorker", event, f' reason="{event.reason}"')
        case _, State.STOPPED:
            return _line("ReapWorker", event)
        case State.IDLE, State.KILLED:
            return _killed(event)
        case State.IDLE, State.BUSY if event.kind is Kind.SCAN:
            return _line("StartFilter", event)
        case State.BUSY, State.IDLE if event.kind is Kind.SCAN:
            return _ended(event)
        case State.BUSY, State.KILLED:
            # A scan has ended here too, so that as many end as have started. What died was not killed.
            ended = [_ended(event)] if event.kind is Kind.SCAN else []
            killed = [] if event.unexpected else [_killed(event)]
            return "\n".join(ended + killed) or None
    return None


def _killed(event: Moved) -> str:
    return _line("KillWorker", event, f' req={event.requests} age={int(event.age_s)} reason="{event.reason}"')


def _ended(event: Moved) -> str:
    return _line("EndFilter", event, f" numRequests={event.requests}")


def _line(name: str, event: Moved, more: str = "") -> str:
    return f"{name} worker={event.number} nworkers={event.running} nbusy={event.busy}{more}"


class Statistics:
    """Writes to `path`, to the log, or to both. Raises `StartFailed` if the file cannot be opened."""

    def __init__(self, path: Path | None, *, to_log: bool, flush: bool, log: Logger) -> None:
        self._path = path
        self._to_log = to_log
        self._flush = flush
        self._log = log
        self._complained = False
        self._file: BinaryIO | None = None
        try:
            self._open()
        except OSError as error:
            raise StartFailed(f"statistics file {path}: {error.strerror}") from None

    def note(self, event: Event) -> None:
        """Takes what happens, and writes what is told of it."""
        text = line_of(event) if isinstance(event, Moved) else None
        if text is None:
            return
        now = time.time()
        # MIMEDefang's order of day and month, which is not that of its manual page.
        head = time.strftime("%d/%m/%Y:%H:%M:%S", time.localtime(now))
        lines = [f"{now:.3f} {line}" for line in text.split("\n")]
        if self._to_log:
            for line in lines:
                self._log.info("stats %s", line)
        if self._file is not None:
            self._write("".join(f"{head} {line}\n" for line in lines).encode(errors="backslashreplace"))

    def reopen(self) -> None:
        """Closes the file and opens it by its name again, for whoever has moved it away."""
        self.close()
        try:
            self._open()
        except OSError as error:
            self._complain(error)

    def close(self) -> None:
        """Writes what has collected."""
        if self._file is not None:
            file, self._file = self._file, None
            try:
                file.close()
            except OSError as error:
                self._complain(error)

    def _open(self) -> None:
        if self._path is not None:
            self._file = self._path.open("ab", buffering=_BUFFER_BYTES)
            self._complained = False

    def _write(self, data: bytes) -> None:
        assert self._file is not None
        try:
            self._file.write(data)
            if self._flush:
                self._file.flush()
        except OSError as error:
            # Mail goes on without statistics.
            self._complain(error)

    def _complain(self, error: OSError) -> None:
        if not self._complained:
            self._complained = True
            self._log.error("statistics file %s: %s", self._path, error.strerror)
