# SPDX-License-Identifier: GPL-3.0-or-later
"""Attachments in Outlook's winmail.dat (MS-OXTNEF), with every name they have, messages within included.

A list of attributes, two of which hold lists of MAPI properties (MS-OXCDATA): the long name may stand there only. What
is cut off is read as far as it goes. The text of the message itself is a file without a name here.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from defang_worker.mime.charsets import decode_text
from defang_worker.mime.embedded import EmbeddedFile

MAGIC: Final = b"\x78\x9f\x3e\x22"
# The magic number, and a key that means nothing.
_START_BYTES: Final = 6
# Level, identifier, type, length; data and a checksum follow.
_ATTRIBUTE: Final = struct.Struct("<BHHI")
_CHECKSUM_BYTES: Final = 2
_IN_ATTACHMENT: Final = 2
_MAX_DEPTH: Final = 10

# Attributes
_RENDERING: Final = 0x9002
"""The first attribute of each attachment."""
_TITLE: Final = 0x8010
_TRANSPORT_NAME: Final = 0x9001
_DATA: Final = 0x800F
_ATTACHMENT_PROPERTIES: Final = 0x9005
_MESSAGE_PROPERTIES: Final = 0x9003
_CODE_PAGE: Final = 0x9007
_BODY: Final = 0x800C

# Properties
_NAMES: Final = frozenset({0x3001, 0x3704, 0x3707, 0x3708, 0x370C, 0x370D})
"""Display name, name, long name, path, transport name, long path."""
_CONTENT: Final = 0x3701
_TEXTS: Final = frozenset({0x1000, 0x1013})
"""The message's text, and its HTML. (Its compressed RTF says the same.)"""

# Types of properties, and how many bytes a value has; those of variable length are counted.
_FIXED_BYTES: Final = {
    0x0001: 0, 0x0002: 4, 0x0003: 4, 0x0004: 4, 0x0005: 8, 0x0006: 8, 0x0007: 8, 0x000A: 4, 0x000B: 4,
    0x0014: 8, 0x0040: 8, 0x0048: 16,
}  # fmt: skip
_OBJECT: Final = 0x000D
_STRING: Final = 0x001E
_UNICODE: Final = 0x001F
_BINARY: Final = 0x0102
# The last three: a server's identifier, a restriction, a rule's action; of stores, but who writes them is read.
_VARIABLE: Final = frozenset({_OBJECT, _STRING, _UNICODE, _BINARY, 0x00FB, 0x00FD, 0x00FE})
_MULTIPLE: Final = 0x1000
_FIRST_NAMED_PROPERTY: Final = 0x8000
# What begins the values that are wanted, to find them behind one that cannot be read; more than these no file has.
_WANTED: Final = re.compile(
    b"|".join(
        re.escape(struct.pack("<HH", kind, number))
        for numbers, kinds in ((_NAMES, (_STRING, _UNICODE)), ((_CONTENT,), (_OBJECT, _BINARY)))
        for number in sorted(numbers)
        for kind in kinds
    )
)
_MAX_WANTED: Final = 20
_GUID_BYTES: Final = 16
_NAMED_BY_STRING: Final = 1
_INTEGER: Final = struct.Struct("<I")
_TAG: Final = struct.Struct("<HH")


def embedded_files(content: bytes) -> Iterator[EmbeddedFile]:
    """Yield the attachments if `content` is a winmail.dat, else nothing; never raises."""
    if content.startswith(MAGIC):
        yield from _Stream(memoryview(content), 0, 0).files()


@dataclass(slots=True)
class _Attachment:
    """What is known of one attachment so far."""

    start: int
    names: list[str] = field(default_factory=list)
    content: memoryview | None = None
    embedded: memoryview | None = None
    """A message within, as another stream."""


class _Stream:
    """One TNEF stream: a winmail.dat, or a message attached in one."""

    def __init__(self, data: memoryview, start: int, depth: int) -> None:
        self._data = data
        self._start = start
        """Where it begins in the outermost one."""
        self._depth = depth
        self._charset = "cp1252"
        self._attachment: _Attachment | None = None

    def files(self) -> Iterator[EmbeddedFile]:
        """Yield the attachments, those of attached messages included."""
        at = _START_BYTES
        while at + _ATTRIBUTE.size <= len(self._data):
            level, name, _type, length = _ATTRIBUTE.unpack_from(self._data, at)
            value = self._data[at + _ATTRIBUTE.size : at + _ATTRIBUTE.size + length]
            if level == _IN_ATTACHMENT:
                if self._begins_attachment(name):
                    yield from self._finished(at)
                    self._attachment = _Attachment(at)
                self._attachment_attribute(name, value)
            else:
                yield from self._message_attribute(name, value, at)
            at += _ATTRIBUTE.size + length + _CHECKSUM_BYTES
        yield from self._finished(min(at, len(self._data)))

    def _begins_attachment(self, name: int) -> bool:
        if self._attachment is None or name == _RENDERING:
            return True
        # The first attribute may be missing.
        return name == _DATA and self._attachment.content is not None

    def _attachment_attribute(self, name: int, value: memoryview) -> None:
        attachment = self._attachment
        assert attachment is not None
        if name in {_TITLE, _TRANSPORT_NAME}:
            attachment.names.append(self._text(value, _STRING))
        elif name == _DATA:
            attachment.content = value
        elif name == _ATTACHMENT_PROPERTIES:
            self._attachment_properties(attachment, value)

    def _attachment_properties(self, attachment: _Attachment, value: memoryview) -> None:
        for number, kind, data in _properties(value):
            if number in _NAMES and kind in {_STRING, _UNICODE}:
                attachment.names.append(self._text(data, kind))
            elif number == _CONTENT and kind in {_OBJECT, _BINARY}:
                stream = data[_GUID_BYTES:] if kind == _OBJECT else data
                if _is_stream(stream):
                    attachment.embedded = stream
                elif attachment.content is None:
                    attachment.content = stream

    def _message_attribute(self, name: int, value: memoryview, at: int) -> Iterator[EmbeddedFile]:
        if name == _CODE_PAGE and len(value) >= _INTEGER.size:
            self._charset = f"cp{_INTEGER.unpack_from(value)[0]}"
        elif name == _BODY and value:
            yield self._file((), value, at, at + len(value))
        elif name == _MESSAGE_PROPERTIES:
            for number, _, data in _properties(value):
                if number in _TEXTS and data:
                    yield self._file((), data, at, at + len(value))

    def _finished(self, end: int) -> Iterator[EmbeddedFile]:
        """Yield the attachment that is complete now, if there is one, and what is in it."""
        attachment, self._attachment = self._attachment, None
        if attachment is None:
            return
        names = tuple(dict.fromkeys(name for name in attachment.names if name))
        content = attachment.content if attachment.content is not None else attachment.embedded
        if not names and content is None:
            return
        yield self._file(names, content or memoryview(b""), attachment.start, end)
        for stream in (attachment.embedded, attachment.content):
            if stream is not None and _is_stream(stream) and self._depth < _MAX_DEPTH:
                inner = _Stream(stream, self._start + attachment.start, self._depth + 1)
                yield from inner.files()

    def _file(self, names: tuple[str, ...], content: memoryview, start: int, end: int) -> EmbeddedFile:
        return EmbeddedFile("tnef", names, bytes(content), self._start + start, self._start + end)

    def _text(self, value: memoryview, kind: int) -> str:
        if kind == _UNICODE:
            return bytes(value[: len(value) & ~1]).decode("utf-16-le", "replace").rstrip("\0")
        return decode_text(bytes(value), self._charset).rstrip("\0")


def _is_stream(data: memoryview) -> bool:
    return bytes(data[: len(MAGIC)]) == MAGIC


def _properties(value: memoryview) -> Iterator[tuple[int, int, memoryview]]:
    """Yield number, type and data of each value in a list of MAPI properties, as far as it can be read."""
    at = _INTEGER.size
    try:
        for _ in range(_INTEGER.unpack_from(value)[0]):
            kind, number = _TAG.unpack_from(value, at)
            at += _TAG.size
            if number >= _FIRST_NAMED_PROPERTY:
                at = _after_property_name(value, at)
            single = kind & ~_MULTIPLE
            count = 1
            if single in _VARIABLE or kind & _MULTIPLE:
                (count,) = _INTEGER.unpack_from(value, at)
                at += _INTEGER.size
            following = at
            for _ in range(count):
                data, following = _property_value(value, at, single)
                yield number, single, data
                if following == at or following >= len(value):  # a count is whatever the sender says
                    break
                at = following
            at = following
    except struct.error:  # cut off
        return
    except KeyError:  # of a type whose values readers take for different lengths
        yield from _wanted_behind(value, at)


def _wanted_behind(value: memoryview, start: int) -> Iterator[tuple[int, int, memoryview]]:
    """Yield what looks like a name or a content behind `start`."""
    for match in islice(_WANTED.finditer(value, start), _MAX_WANTED):
        kind, number = _TAG.unpack_from(value, match.start())
        if match.end() + 2 * _INTEGER.size <= len(value):
            data, _ = _property_value(value, match.end() + _INTEGER.size, kind)
            yield number, kind, data


def _after_property_name(value: memoryview, at: int) -> int:
    kind, length = struct.unpack_from("<II", value, at + _GUID_BYTES)
    at += _GUID_BYTES + 2 * _INTEGER.size
    return at + (length + 3 & ~3) if kind == _NAMED_BY_STRING else at


def _property_value(value: memoryview, at: int, kind: int) -> tuple[memoryview, int]:
    if kind in _VARIABLE:
        (length,) = _INTEGER.unpack_from(value, at)
        at += _INTEGER.size
        return value[at : at + length], at + (length + 3 & ~3)
    length = _FIXED_BYTES[kind]
    return value[at : at + length], at + length
