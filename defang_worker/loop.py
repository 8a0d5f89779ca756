# SPDX-License-Identifier: GPL-3.0-or-later
"""The worker's loop: a line in, one request served, one line out (protocol.md, Worker).

Exactly one answer line goes out for each line that comes in, whatever the line is and whatever happens in serving it;
a second one would be taken for the answer to the next request. The loop is the only writer of its output descriptor.
"""

from __future__ import annotations

import logging
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, assert_never

from defang_common.wire import abilities, answers, requests, state
from defang_common.wire.errors import Malformed
from defang_worker import answer, scan, services
from defang_worker.api.hooks import text_of
from defang_worker.api.state import States
from defang_worker.confinement import cpu
from defang_worker.workdir import end_if_forked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from defang_common.wire.requests import Request
    from defang_worker.api.hooks import SiteFilter
    from defang_worker.log_lines import QueueIdFormatter
    from defang_worker.status import StatusTags

_log: Final = logging.getLogger("defang.worker")

# Our multiplexor and the original pass no line over 4 KiB; a longer one is answered with an error.
_MAX_LINE_BYTES: Final = 64 * 1024 + state.MAX_WORD_BYTES
_READ_BYTES: Final = 64 * 1024


class Worker:
    """Serves requests with one loaded filter."""

    __slots__ = ("_formatter", "_site", "_tags", "cpu_limit_s")

    def __init__(self, site: SiteFilter, tags: StatusTags, formatter: QueueIdFormatter) -> None:
        self._site = site
        self._tags = tags
        self._formatter = formatter
        self.cpu_limit_s = 0
        """Of each request; 0 for none."""

    def answer(self, line: bytes) -> bytes:
        """The answer line, with its newline, to a request line without one. Never raises."""
        try:
            self._formatter.queue_id = (requests.queue_id_of(line) or b"").decode("ascii", "backslashreplace")
            if line == abilities.QUESTION_TO_WORKER:
                return abilities.encode(abilities.ALL)
            line, word = state.split(line)
            return self._serve(requests.decode(line), States.of_word(word), state.wants_results(word))
        except Malformed as fault:
            _log.warning("request refused: %s", fault)
            return answers.encode_error(str(fault))
        # The border: whatever is wrong, and be it in our own code, the client tries later and the log has the cause.
        except BaseException as fault:  # noqa: BLE001
            _log.exception("request failed")
            return answers.encode_error(f"{type(fault).__name__}: {text_of(fault)}")
        finally:
            self._formatter.queue_id = ""

    def _serve(self, request: Request, states: States, wants_results: bool) -> bytes:  # noqa: FBT001
        if self.cpu_limit_s:
            cpu.allow(self.cpu_limit_s)
        match request:
            case requests.Scan():
                return scan.scan(self._site, request, self._tags, states, wants_results=wants_results)
            case requests.RelayOk() | requests.HeloOk() | requests.SenderOk() | requests.RecipOk():
                return answer.check_line(self._site, request, states)
            case requests.Ping():
                return answers.PONG
            case requests.Map():
                return services.look_up(self._site, request)
            case requests.Tick():
                return services.tick(self._site, request)
            case requests.Own():
                return services.own(self._site, request)
            case requests.Free():
                return services.UNKNOWN_COMMAND
            case _:
                assert_never(request)


def serve(worker: Worker, fd_in: int, fd_out: int) -> None:
    """Answers line by line until the input ends; raises OSError if an answer cannot be written."""
    umask = os.umask(0o077)
    os.umask(umask)
    with _current_directory() as home:
        for line in _lines(fd_in):
            reply = answers.encode_error("Request too long") if line is None else worker.answer(line)
            end_if_forked()
            # A filter that changed it would make files of later messages that the front end cannot read.
            os.umask(umask)
            if home is not None:
                # As MIMEDefang's filters do theirs in the message's directory, which is gone at the next one.
                os.fchdir(home)
            written = os.write(fd_out, reply)
            while written < len(reply):
                written += os.write(fd_out, reply[written:])


@contextmanager
def _current_directory() -> Iterator[int | None]:
    """A descriptor of it; None if this user may not have one, as in the home of the user who started the service."""
    try:
        descriptor = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _lines(descriptor: int) -> Iterator[bytes | None]:
    """The lines that come in, None for one over the limit. What ends without a newline is no request."""
    pending = b""
    while data := os.read(descriptor, _READ_BYTES):
        *whole, pending = (pending + data).split(b"\n")
        # One byte over the limit is all that has to be kept to know, at the line's end, that it was too long.
        pending = pending[: _MAX_LINE_BYTES + 1]
        for line in whole:
            yield line.removesuffix(b"\r") if len(line) <= _MAX_LINE_BYTES else None
