# SPDX-License-Identifier: GPL-3.0-or-later
"""What multiplexor and template say to each other: a packet each way (protocol.md, Template).

PURE. Descriptors travel beside an order's packet and are the callers' affair.
"""

from dataclasses import dataclass
from typing import Final

from defang_common.wire.errors import Malformed

CONTROL_DESCRIPTOR: Final = 3
"""Where a template finds its socket."""

MAX_PACKET_BYTES: Final = 16 * 1024

# To be raised when an old peer would misread what follows.
_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Hello:
    """The program is a template, and begins to load the filter."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The filter is loaded; orders are taken."""


@dataclass(frozen=True, slots=True)
class Unforkable:
    """The filter is loaded, but a forked copy of the process would not work."""

    reason: str


@dataclass(frozen=True, slots=True)
class Fault:
    """The filter cannot be loaded. The first line names file, line and cause, the others are the traceback."""

    text: str


@dataclass(frozen=True, slots=True)
class Serving:
    """Said by the new worker itself: it leads its process group, and order `number` is done."""

    number: int


@dataclass(frozen=True, slots=True)
class Failed:
    """No worker could be forked for order `number`."""

    number: int
    reason: str


Said = Hello | Ready | Unforkable | Fault | Serving | Failed

HELLO: Final = b"template %d" % _VERSION
READY: Final = b"ready"


def encode_fault(text: str) -> bytes:
    """The packet of a `Fault`. Of a text that is too long the end goes."""
    return _packet(b"fault ", text)


def encode_unforkable(reason: str) -> bytes:
    """The packet of an `Unforkable`."""
    return _packet(b"unforkable ", reason)


def encode_serving(number: int) -> bytes:
    """The packet of a `Serving`."""
    return b"serving %d" % number


def encode_failed(number: int, reason: str) -> bytes:
    """The packet of a `Failed`."""
    return _packet(b"failed %d " % number, reason)


def encode_order(number: int) -> bytes:
    """The multiplexor's packet: fork a worker on the descriptors that come with it."""
    return b"fork %d" % number


def decode_order(packet: bytes) -> int:
    """The number of an order; raises Malformed."""
    word, _, rest = packet.partition(b" ")
    if word != b"fork":
        raise Malformed(f"no order: {packet[:100]!r}")
    return _number(rest)


def decode(packet: bytes) -> Said:
    """What a template or a new worker said; raises Malformed."""
    if packet == HELLO:
        return Hello()
    if packet == READY:
        return Ready()
    word, blank, rest = packet.partition(b" ")
    if word == b"serving":
        return Serving(_number(rest))
    if word == b"fault" and blank:
        return Fault(_text(rest))
    if word == b"unforkable" and blank:
        return Unforkable(_text(rest))
    if word == b"failed":
        number, _, reason = rest.partition(b" ")
        return Failed(_number(number), _text(reason))
    raise Malformed(f"a template does not say {packet[:100]!r}")


def _packet(head: bytes, text: str) -> bytes:
    return (head + text.encode("utf-8", "backslashreplace"))[:MAX_PACKET_BYTES]


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")


def _number(raw: bytes) -> int:
    # Ten digits: enough for a start every second in three hundred years.
    if not (raw.isdigit() and len(raw) <= 10):
        raise Malformed(f"no number: {raw[:100]!r}")
    return int(raw)
