# SPDX-License-Identifier: GPL-3.0-or-later
"""`Clamd`: asks ClamAV's daemon, over a unix socket or TCP; the message and its parts in one session.

Over a unix socket clamd gets open files (FILDES), so it need not be able to read the spool, and nothing is copied
through the socket; over TCP, or where it cannot take files, the bytes (INSTREAM). It has several items at a time, and
scans them side by side. How the words go to and fro is `clamd_wire`'s.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any, Final

from defang_worker.checks.faults import ServiceFault
from defang_worker.checks.stream import require_address
from defang_worker.checks.viruses.clamd_wire import Client
from defang_worker.checks.viruses.scanner import DEFAULT_MAX_BYTES, ItemScanner

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from defang_worker.checks.budget import Deadline
    from defang_worker.checks.viruses.clamd_wire import Reply
    from defang_worker.checks.viruses.items import Item
    from defang_worker.checks.viruses.scanner import Findings

__all__ = ["Clamd"]

# clamd wants its replies read before more commands come: this many fit any socket's buffer.
_COMMANDS_AT_ONCE: Final = 32


class _NoDescriptors(Exception):
    """clamd does not get the files that it is sent."""


class Clamd(ItemScanner):
    """Is there a virus, as ClamAV's daemon sees it?

    `addresses` is a unix socket (an absolute path), host:port, or several, of which the first that works is asked. With
    `parts`, what this worker finds in the message is scanned beside the message. Nothing larger than `max_bytes` is
    scanned: then, and where clamd stops at a limit of its own, it cannot be told.
    """

    def __init__(
        self,
        addresses: str | Sequence[str] = "/run/clamav/clamd.ctl",
        *,
        name: str = "clamd",
        parts: bool = True,
        max_bytes: int = DEFAULT_MAX_BYTES,
        **limits: Any,
    ) -> None:
        super().__init__(name, addresses, parts=parts, max_bytes=max_bytes, **limits)
        for address in self.endpoints.addresses:
            require_address(address)
        self.takes_no_files: set[str] = set()
        """The unix sockets whose clamd could not be given open files; it gets bytes."""

    def ask(self, address: str, items: Sequence[Item], findings: Findings, deadline: Deadline) -> list[str]:
        """Adds what is found, and gives the reasons why it cannot be told of some items."""
        replies: dict[int, Reply] = {}
        try:
            self._gather_all(address, items, replies, deadline)
        finally:
            for number, reply in replies.items():
                if reply.virus:
                    findings.add(reply.virus, items[number])
        return [replies[number].error for number in range(len(items)) if replies[number].error]

    def _gather_all(self, address: str, items: Sequence[Item], replies: dict[int, Reply], deadline: Deadline) -> None:
        if address.startswith("/") and address not in self.takes_no_files:
            try:
                _ask_all(address, items, _show_file, replies, deadline)
            except _NoDescriptors:
                self.takes_no_files.add(address)
        _ask_all(address, items, _show_bytes, replies, deadline)

    def version(self, address: str, deadline: Deadline) -> str:
        """Versions of program and database, and the database's date."""
        return Client(address, deadline).version()


def _ask_all(
    address: str,
    items: Sequence[Item],
    show: Callable[[Client, Item], None],
    replies: dict[int, Reply],
    deadline: Deadline,
) -> None:
    """Adds the replies that are missing, one for each item; raises _NoDescriptors, ServiceFault, OSError."""
    while missing := [number for number in range(len(items)) if number not in replies]:
        with Client(address, deadline) as client:
            for first in range(0, len(missing), _COMMANDS_AT_ONCE):
                shown = missing[: first + _COMMANDS_AT_ONCE]
                # Where it closes in the midst of them, the replies tell why.
                with suppress(BrokenPipeError, ConnectionResetError):
                    for number in shown[first:]:
                        show(client, items[number])
                if _gather(client, shown, len(shown) - first, replies):
                    break


def _gather(client: Client, shown: Sequence[int], count: int, replies: dict[int, Reply]) -> bool:
    """Takes so many replies to what was shown on this connection; True if clamd ends it before."""
    for _ in range(count):
        reply = client.reply()
        if reply.lacks_descriptor:
            raise _NoDescriptors
        if not 0 < reply.number <= len(shown) or shown[reply.number - 1] in replies:
            raise ServiceFault(f"answered a question that was not asked: {reply}")
        replies[shown[reply.number - 1]] = reply
        if reply.ends_session:
            return True
    return False


def _show_file(client: Client, item: Item) -> None:
    with _file_of(item) as file:
        client.show_file(file.fileno())


def _show_bytes(client: Client, item: Item) -> None:
    client.show_bytes(item.data)


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
