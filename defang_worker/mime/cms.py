# SPDX-License-Identifier: GPL-3.0-or-later
"""Cryptographic Message Syntax (RFC 5652, RFC 3274, PKCS #7): the content of a layer, as far as no key is needed.

Reads BER, of which DER is a part: programs that stream write indefinite lengths, and strings in pieces. No signature
is verified and no certificate is looked at. `smime.py` takes off one layer after the other.
"""

from collections.abc import Iterator
from enum import StrEnum
from typing import Final, NamedTuple

# Honest messages have some dozens, and those that were streamed one for each 1,000 bytes or more of their content.
_MAX_ELEMENTS: Final = 200_000
# Of a string in pieces of pieces; nobody writes more than two.
_MAX_DEPTH: Final = 16
_END_OF_CONTENTS: Final = b"\0\0"

_OBJECT_IDENTIFIER: Final = 0x06
_STRING: Final = 0x04
_STRING_IN_PIECES: Final = 0x24
_STRINGS: Final = frozenset({_STRING, _STRING_IN_PIECES})
_SEQUENCE: Final = 0x30
_EXPLICIT_0: Final = 0xA0
_CONSTRUCTED: Final = 0x20
_LONG_TAG: Final = 0x1F
_LONG_LENGTH: Final = 0x80


class Kind(StrEnum):
    """What a layer is, by its content type."""

    DATA = "data"
    SIGNED = "signed"
    DIGESTED = "digested"
    AUTHENTICATED = "authenticated"
    COMPRESSED = "compressed"
    ENVELOPED = "enveloped"
    SIGNED_AND_ENVELOPED = "signed and enveloped"
    ENCRYPTED = "encrypted"
    AUTH_ENVELOPED = "auth-enveloped"


SECRET: Final = frozenset({Kind.ENVELOPED, Kind.SIGNED_AND_ENVELOPED, Kind.ENCRYPTED, Kind.AUTH_ENVELOPED})
"""Kinds that show nothing without a key."""

_PKCS: Final = b"\x2a\x86\x48\x86\xf7\x0d\x01"
_KINDS: Final = {
    _PKCS + b"\x07\x01": Kind.DATA,
    _PKCS + b"\x07\x02": Kind.SIGNED,
    _PKCS + b"\x07\x03": Kind.ENVELOPED,
    _PKCS + b"\x07\x04": Kind.SIGNED_AND_ENVELOPED,
    _PKCS + b"\x07\x05": Kind.DIGESTED,
    _PKCS + b"\x07\x06": Kind.ENCRYPTED,
    _PKCS + b"\x09\x10\x01\x02": Kind.AUTHENTICATED,
    _PKCS + b"\x09\x10\x01\x09": Kind.COMPRESSED,
    _PKCS + b"\x09\x10\x01\x17": Kind.AUTH_ENVELOPED,
}
# Between the version and the content stand sequences that say how it was signed or packed.
_SEQUENCES_BEFORE: Final = {Kind.SIGNED: 0, Kind.DIGESTED: 1, Kind.AUTHENTICATED: 1, Kind.COMPRESSED: 1}


class Layer(NamedTuple):
    """One layer, and what it carries."""

    kind: Kind
    content: bytes | None = None
    """None if it carries nothing, as a signature beside its text and a collection of certificates do, or is secret."""
    inner: Kind | None = None
    """What the content calls itself; None for a type that is not known here."""
    is_whole: bool = True
    """False for one that is damaged or cut off; `content` then has what can be read."""


class _Malformed(Exception):
    """These bytes are no BER, or no CMS."""


class _Element(NamedTuple):
    tag: int
    start: int
    limit: int
    """Where the contents end; if that has no length, where they must have ended."""
    is_open: bool
    """Whether a mark ends the contents, rather than a length."""
    is_cut: bool
    """Whether the length goes beyond what is there."""


def read_layer(data: bytes, kind: Kind | None = None) -> Layer | None:
    """Return the layer that `data` is, or None if it is no CMS at all; never raises on any bytes.

    With `kind` the content of that type stands there by itself, as it does within another layer.
    """
    reader = _Reader(data)
    try:
        element = reader.element(0, len(data))
        outer = element
        if kind is None:
            children = reader.children(outer)
            kind = _KINDS.get(reader.identifier(children)) if outer.tag == _SEQUENCE else None
            if kind is None:
                return None
            element = reader.only_child(_next(children, _EXPLICIT_0))
    except _Malformed:
        return None if kind is None else Layer(kind, is_whole=False)
    if kind in SECRET:
        return Layer(kind)
    try:
        layer = reader.layer(kind, element)
    except _Malformed:
        return Layer(kind, is_whole=False)
    return layer if layer.is_whole and reader.is_whole(outer) else layer._replace(is_whole=False)


class _Reader:
    """Goes through elements (X.690), without recursion; raises _Malformed."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._view = memoryview(data)
        self._room = _MAX_ELEMENTS

    def layer(self, kind: Kind, element: _Element) -> Layer:
        """Return what an element of this type carries."""
        if kind is Kind.DATA:
            if element.tag not in _STRINGS:
                raise _Malformed
            content, is_whole = self._octets(element)
            return Layer(kind, content, is_whole=is_whole)
        encapsulated = self._encapsulated(kind, element)
        children = self.children(encapsulated)
        inner = _KINDS.get(self.identifier(children))
        wrapper = next(children, None)
        if wrapper is None:
            return Layer(kind, inner=inner)
        if wrapper.tag != _EXPLICIT_0:
            raise _Malformed
        value = self.only_child(wrapper)
        if value.tag in _STRINGS:
            content, is_whole = self._octets(value)
        else:  # in PKCS #7 a content of another type than data is no string
            content = self._data[wrapper.start : wrapper.limit]
            is_whole = not value.is_cut
        return Layer(kind, content, inner, is_whole)

    def element(self, at: int, limit: int) -> _Element:
        """Return the element that begins at `at`."""
        self._room -= 1
        data = self._data
        if self._room < 0 or at + 2 > limit:
            raise _Malformed
        tag, length = data[at], data[at + 1]
        start = at + 2
        if tag & _LONG_TAG == _LONG_TAG:  # of which CMS has none
            raise _Malformed
        if length == _LONG_LENGTH:
            if not tag & _CONSTRUCTED:
                raise _Malformed
            return _Element(tag, start, limit, is_open=True, is_cut=False)
        if length > _LONG_LENGTH:
            digits = length - _LONG_LENGTH
            length = int.from_bytes(data[start : start + digits], "big")
            start += digits
        end = start + length
        return _Element(tag, min(start, limit), min(end, limit), is_open=False, is_cut=end > limit)

    def children(self, container: _Element) -> Iterator[_Element]:
        """Yield the elements in `container`, each passed over when the next one is asked for."""
        at = container.start
        while at < container.limit and not self._ends(container, at):
            child = self.element(at, container.limit)
            yield child
            at = self.after(child)
        if at >= container.limit and container.is_open:
            raise _Malformed

    def is_whole(self, element: _Element) -> bool:
        """Tell whether the element is there to its end."""
        try:
            return not element.is_cut and self.after(element) > 0
        except _Malformed:
            return False

    def identifier(self, children: Iterator[_Element]) -> bytes:
        """Return the next of `children`, which is an object identifier."""
        element = _next(children, _OBJECT_IDENTIFIER)
        return self._data[element.start : element.limit]

    def only_child(self, container: _Element) -> _Element:
        """Return the first element in `container`."""
        child = next(self.children(container), None)
        if child is None:
            raise _Malformed
        return child

    def _encapsulated(self, kind: Kind, element: _Element) -> _Element:
        left = _SEQUENCES_BEFORE[kind]
        if element.tag != _SEQUENCE:
            raise _Malformed
        for child in self.children(element):
            if child.tag == _SEQUENCE:
                if not left:
                    return child
                left -= 1
        raise _Malformed

    def _ends(self, container: _Element, at: int) -> bool:
        return container.is_open and self._data.startswith(_END_OF_CONTENTS, at)

    def after(self, element: _Element) -> int:
        """Return where the element ends, and its end mark if it has to have one."""
        if not element.is_open:
            return element.limit
        at, depth = element.start, 1
        while depth:
            if self._data.startswith(_END_OF_CONTENTS, at):
                at, depth = at + 2, depth - 1
            else:
                inner = self.element(at, element.limit)
                at, depth = (inner.start, depth + 1) if inner.is_open else (inner.limit, depth)
        return at

    def _octets(self, string: _Element) -> tuple[bytes, bool]:
        """Return a string, all its pieces together, and whether it is whole."""
        if string.tag == _STRING:
            return self._data[string.start : string.limit], not string.is_cut
        pieces: list[memoryview] = []
        try:
            is_whole = self._collect(string, pieces)
        except _Malformed:
            is_whole = False
        return b"".join(pieces), is_whole

    def _collect(self, string: _Element, pieces: list[memoryview]) -> bool:
        """Append the pieces of a string to `pieces`; tell whether they are all."""
        waiting = [string]
        at, is_whole = string.start, not string.is_cut
        while waiting:
            outer = waiting[-1]
            if self._ends(outer, at):
                at += len(_END_OF_CONTENTS)
                waiting.pop()
                continue
            if at >= outer.limit:
                is_whole = is_whole and not outer.is_open
                waiting.pop()
                continue
            piece = self.element(at, outer.limit)
            is_whole = is_whole and not piece.is_cut
            if piece.tag == _STRING:
                pieces.append(self._view[piece.start : piece.limit])
                at = piece.limit
            elif piece.tag == _STRING_IN_PIECES and len(waiting) < _MAX_DEPTH:
                waiting.append(piece)
                at = piece.start
            else:
                raise _Malformed
        return is_whole


def _next(children: Iterator[_Element], tag: int) -> _Element:
    child = next(children, None)
    if child is None or child.tag != tag:
        raise _Malformed
    return child
