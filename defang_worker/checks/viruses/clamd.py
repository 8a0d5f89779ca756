# SPDX-License-Identifier: GPL-3.0-or-later
"""`Clamd`: asks ClamAV's daemon, over a unix socket or TCP; the message and its parts in one session.

Over a unix socket clamd gets open files (FILDES), so it need not be able to read the spool, and nothing is copied
through the socket; over TCP, or where it cannot take files, the bytes (INSTREAM), each item in one piece.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any, Final

from defang_worker.checks.faults import ServiceFault
from defang_worker.checks.service import ServiceCheck
from defang_worker.checks.stream import Stream, require_address
from defang_worker.checks.viruses import clamd_wire
from defang_worker.checks.viruses.result import Infection, VirusResult
from defang_worker.checks.viruses.scanner import DEFAULT_MAX_BYTES, Selection, result_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from defang_worker.api.message import Message
    from defang_worker.checks.budget import Deadline
    from defang_worker.checks.check import Job
    from defang_worker.checks.viruses.clamd_wire import Reply
    from defang_worker.checks.viruses.items import Item

__all__ = ["Clamd"]

# clamd wants its replies read before more commands come: this many fit any socket's buffer.
_COMMANDS_AT_ONCE: Final = 32


class _NoDescriptors(Exception):
    """clamd does not get the files that it is sent."""


class Clamd(ServiceCheck["Message", VirusResult]):
    """Is there a virus, as ClamAV's daemon sees it?

    `addresses` is a unix socket (an absolute path), host:port, or several, of which the first that works is asked. With
    `parts`, what this worker finds in the message is scanned beside the message. Nothing larger than `max_bytes` is
    scanned: then, and where clamd stops at a limit of its own, it cannot be told.
    """

    result_type = VirusResult

    def __init__(
        self,
        addresses: str | Sequence[str] = "/run/clamav/clamd.ctl",
        *,
        name: str = "clamd",
        parts: bool = True,
        max_bytes: int = DEFAULT_MAX_BYTES,
        **limits: Any,
    ) -> None:
        super().__init__(name, addresses, max_bytes=max_bytes, **limits)
        for address in self.endpoints.addresses:
            require_address(address)
        self.parts = parts
        self._takes_no_files: set[str] = set()

    def prepare(self, subject: Message) -> Job[VirusResult]:
        """Decodes what is to be scanned."""
        selection = Selection(subject, parts=self.parts, max_bytes=self.max_bytes)
        return lambda deadline: self._scan(selection, deadline)

    def _scan(self, selection: Selection, deadline: Deadline) -> VirusResult:
        items = selection.items
        replies = self.endpoints.call(lambda address, until: self._ask(address, items, until), deadline)
        both = zip(items, replies, strict=True)
        infections = [Infection(reply.virus, item.part) for item, reply in both if reply.virus]
        return result_of(self.name, selection, infections, [reply.error for reply in replies if reply.error])

    def _ask(self, address: str, items: Sequence[Item], deadline: Deadline) -> list[Reply]:
        if address.startswith("/") and address not in self._takes_no_files:
            try:
                return _by_files(address, items, deadline)
            except _NoDescriptors:
                self._takes_no_files.add(address)
        return _by_stream(address, items, deadline)

    def version(self, address: str, deadline: Deadline) -> str:
        """Versions of program and database, and the database's date."""
        with Stream.connect(address, deadline) as stream:
            stream.send(clamd_wire.VERSION)
            told = stream.read_until(b"\0", at_most=clamd_wire.MAX_REPLY_BYTES)
        if not told.startswith(b"ClamAV "):
            raise ServiceFault(f"answered with what is no version: {told[:100]!r}")
        return told.decode("utf-8", "backslashreplace")


def _by_files(address: str, items: Sequence[Item], deadline: Deadline) -> list[Reply]:
    """A reply for each item, all of which clamd has at the same time; raises _NoDescriptors, ServiceFault, OSError."""
    replies: dict[int, Reply] = {}
    with Stream.connect(address, deadline) as stream:
        stream.send(clamd_wire.SESSION)
        for first in range(0, len(items), _COMMANDS_AT_ONCE):
            sent = min(first + _COMMANDS_AT_ONCE, len(items))
            # If it closes in the midst of them, the replies tell why.
            with suppress(BrokenPipeError, ConnectionResetError):
                for item in items[first:sent]:
                    with _file_of(item) as file:
                        stream.send_descriptor(clamd_wire.FILDES, file.fileno())
            while len(replies) < sent:
                reply = _reply(stream)
                if reply.lacks_descriptor:
                    raise _NoDescriptors
                if reply.number in replies or not 0 < reply.number <= sent:
                    raise ServiceFault(f"answered a question that was not asked: {reply}")
                replies[reply.number] = reply
        with suppress(BrokenPipeError, ConnectionResetError):
            stream.send(clamd_wire.END)
    return [replies[number] for number in range(1, len(items) + 1)]


def _by_stream(address: str, items: Sequence[Item], deadline: Deadline) -> list[Reply]:
    """A reply for each item, one after the other; raises ServiceFault, OSError."""
    replies: list[Reply] = []
    while len(replies) < len(items):
        with Stream.connect(address, deadline) as stream:
            stream.send(clamd_wire.SESSION)
            for number, item in enumerate(items[len(replies) :], 1):
                # It stops reading where its limit is, and tells so.
                with suppress(BrokenPipeError, ConnectionResetError):
                    stream.send_pieces([clamd_wire.stream_head(len(item.data)), item.data, clamd_wire.STREAM_END])
                reply = _reply(stream)
                if reply.number != number:
                    raise ServiceFault(f"answered a question that was not asked: {reply}")
                replies.append(reply)
                if reply.ends_session:
                    break
    return replies


def _reply(stream: Stream) -> Reply:
    return clamd_wire.decode(stream.read_until(b"\0", at_most=clamd_wire.MAX_REPLY_BYTES))


def _file_of(item: Item) -> IO[bytes]:
    """A file without a name that has the bytes, at its start."""
    in_memory = hasattr(os, "memfd_create")
    file = os.fdopen(os.memfd_create("mail"), "w+b", 0) if in_memory else tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
    with memoryview(item.data) as data:
        written = 0
        while written < len(data):
            written += file.write(data[written:]) or 0
    file.seek(0)
    return file
