# SPDX-License-Identifier: GPL-3.0-or-later
"""`Icap`: asks an engine that speaks ICAP, as most commercial ones do, and c-icap with ClamAV.

One connection for a message; another if the engine has answered before it had all, for then nobody knows where on the
connection the next request would begin.
"""

from __future__ import annotations

import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from defang_worker.checks.faults import ServiceFault
from defang_worker.checks.stream import Stream
from defang_worker.checks.viruses import icap_wire
from defang_worker.checks.viruses.icap_wire import Head, Method, Options, Service
from defang_worker.checks.viruses.scanner import DEFAULT_MAX_BYTES, ItemScanner

if TYPE_CHECKING:
    from collections.abc import Sequence

    from defang_worker.checks.budget import Deadline
    from defang_worker.checks.viruses.items import Item
    from defang_worker.checks.viruses.scanner import Findings
    from defang_worker.mime.headers import Buffer

__all__ = ["Icap"]

# Between two of them it is seen whether the engine has heard enough.
_CHUNK_BYTES: Final = 256 * 1024
_CHUNK_LINE_BYTES: Final = 1024
_UNNAMED: Final = "unknown"


class Icap(ItemScanner):
    """Is there a virus, as an engine that speaks ICAP sees it?

    `services` is icap://host:port/service, or several, of which the first that works is asked. With `parts`, what this
    worker finds in the message is scanned beside the message; nothing larger than `max_bytes` is. `method` is "RESPMOD"
    or "REQMOD", as the engine's manual has it.
    """

    def __init__(
        self,
        services: str | Sequence[str],
        *,
        name: str = "icap",
        method: str = "RESPMOD",
        parts: bool = True,
        max_bytes: int = DEFAULT_MAX_BYTES,
        **limits: Any,
    ) -> None:
        super().__init__(name, services, parts=parts, max_bytes=max_bytes, **limits)
        self._services = {address: Service.of(address) for address in self.endpoints.addresses}
        self.method = Method(method)
        # With the moment until which they hold.
        self._options: dict[str, tuple[float, Options]] = {}

    def ask(self, address: str, items: Sequence[Item], findings: Findings, deadline: Deadline) -> list[str]:
        """Adds what is found, and gives the reasons why it cannot be told of some items."""
        service = self._services[address]
        faults: list[str] = []
        left = deque(items)
        while left:
            with Stream.connect(service.address, deadline) as stream:
                talk = _Talk(stream, service, self.method, self._options_at(address, stream))
                while left and not talk.is_over:
                    item = left.popleft()
                    try:
                        name = talk.scan(item)
                    except _Refused as refused:
                        faults.append(str(refused))
                        continue
                    if name:
                        findings.add(name, item)
        return faults

    def _options_at(self, address: str, stream: Stream) -> Options:
        known = self._options.get(address)
        if known is None or known[0] < time.monotonic():
            options = _ask_options(self._services[address], self.method, stream)
            known = self._options[address] = (time.monotonic() + options.ttl_s, options)
        return known[1]

    def version(self, address: str, deadline: Deadline) -> str:
        """The service as it names itself."""
        service = self._services[address]
        with Stream.connect(service.address, deadline) as stream:
            return _ask_options(service, self.method, stream).service


def _ask_options(service: Service, method: Method, stream: Stream) -> Options:
    stream.send(icap_wire.options(service))
    head = _read_head(stream)
    if head.status != 200:
        raise ServiceFault(f"answered OPTIONS with {head.status}")
    _read_rest(stream, head)
    return Options.of(head, method)


class _Refused(Exception):
    """The engine does not take this item; it may take others."""


class _Talk:
    """Requests on one connection, until `is_over`."""

    def __init__(self, stream: Stream, service: Service, method: Method, options: Options) -> None:
        self._stream = stream
        self._service = service
        self._method = method
        self._preview = options.preview_bytes
        self.is_over = False

    def scan(self, item: Item) -> str:
        """The name of what is in the item, empty for nothing; raises _Refused, ServiceFault, OSError."""
        head = self._answer(item)
        self.is_over = self.is_over or head.closes
        match head.status:
            case 204:
                return head.threat  # some let pass what they have named
            case 200 | 201:
                return self._found(item, head)
            case status if status >= 500 or status in (404, 405, 408):
                raise ServiceFault(f"answered with {status}")
            case status:
                self.is_over = True  # whether it has read the item, nobody knows
                raise _Refused(f"the engine refuses: {status}")

    def _answer(self, item: Item) -> Head:
        """Sends the item, or as much of it as is wanted."""
        size, stream = len(item.data), self._stream
        name = f"part-{item.part}.bin" if item.part else "message.eml"
        stream.send(icap_wire.request(self._service, self._method, name, size, self._preview))
        begun = 0
        if self._preview is not None:
            begun = min(self._preview, size)
            self._send_chunk(item.data, 0, begun)
            # RFC 3507, 4.5: this tells that the preview was all.
            stream.send(b"0; ieof\r\n\r\n" if begun == size else b"0\r\n\r\n")
            head = _read_head(stream)
            if head.status != 100:
                return head
        # Whoever has heard enough may close; what was said before that is still there to be read.
        with suppress(BrokenPipeError, ConnectionResetError):
            self._send_rest(item.data, begun)
        head = _read_head(stream)
        return _read_head(stream) if head.status == 100 else head

    def _send_rest(self, data: Buffer, begun: int) -> None:
        self.is_over = True
        for start in range(begun, len(data), _CHUNK_BYTES):
            if self._stream.has_answer:
                return
            self._send_chunk(data, start, min(start + _CHUNK_BYTES, len(data)))
        self._stream.send(b"0\r\n\r\n")
        self.is_over = False

    def _send_chunk(self, data: Buffer, start: int, end: int) -> None:
        if end > start:
            self._stream.send(icap_wire.chunk_head(end - start) + data[start:end] + b"\r\n")

    def _found(self, item: Item, head: Head) -> str:
        """What an answer with a content says: another content than ours stands for a virus, with or without a name."""
        threat = head.threat
        try:
            content = _read_rest(self._stream, head, len(item.data) + icap_wire.MAX_HEAD_BYTES)
        except (ServiceFault, OSError):
            if not threat:
                raise
            self.is_over = True
            return threat
        return threat or ("" if content == item.data[:] else _UNNAMED)


def _read_head(stream: Stream) -> Head:
    return icap_wire.decode_head(stream.read_until(b"\r\n\r\n", at_most=icap_wire.MAX_HEAD_BYTES))


def _read_rest(stream: Stream, head: Head, at_most: int = icap_wire.MAX_HEAD_BYTES) -> bytes:
    """The encapsulated body; raises ServiceFault for one that is too long or no chunks."""
    header_bytes, has_body = head.encapsulated
    stream.read_exactly(header_bytes)
    pieces: list[bytes] = []
    total = 0
    while has_body:
        line = stream.read_until(b"\r\n", at_most=_CHUNK_LINE_BYTES).partition(b";")[0].strip()
        try:
            size = int(line, 16)
        except ValueError:
            raise ServiceFault(f"answered with what is no chunk: {line[:40]!r}") from None
        total += size
        if size < 0 or total > at_most:
            raise ServiceFault(f"answered with more than {at_most} bytes")
        if size == 0:
            while stream.read_until(b"\r\n", at_most=_CHUNK_LINE_BYTES):
                pass  # trailers
            break
        pieces.append(stream.read_exactly(size))
        stream.read_until(b"\r\n", at_most=_CHUNK_LINE_BYTES)
    return b"".join(pieces)
