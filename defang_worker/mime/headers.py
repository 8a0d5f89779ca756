# SPDX-License-Identifier: GPL-3.0-or-later
"""The header of one entity as a list of field positions.

Nothing is copied until a value is asked for. A line that is no field is skipped (it does not end
the header, RFC 5322 section 3.6 has no word on it and most readers go on), blanks before the colon
and a byte order mark before the name are overlooked, repeated fields are all kept.
"""

import mmap
import re
from collections.abc import Iterator
from itertools import islice
from typing import Final, NamedTuple, TypeAlias

Buffer: TypeAlias = bytes | mmap.mmap
"""What a message is read from: offsets, slices and regular expressions work alike on both."""

# Possessive, so that a hostile header costs one pass; but single characters only: Python 3.11.2 matches possessive
# groups wrongly (gh-106052).
_FIELD: Final = re.compile(
    rb"^(?:\xef\xbb\xbf)?([^\x00-\x20:\x7f]++)[ \t]*+:([^\n]*+(?:\n[ \t][^\n]*+)*)",
    re.MULTILINE,
)
_VALUE: Final = re.compile(rb"[ \t]*+:([^\n]*+(?:\n[ \t][^\n]*+)*)")
_OUTSIDE_COMMENT: Final = re.compile(rb'"(?:[^"\\]++|\\.)*"?|\\.|\(', re.DOTALL)
_INSIDE_COMMENT: Final = re.compile(rb"\\.|[()]", re.DOTALL)
_FOLD: Final = re.compile(rb"\r*\n")
_LINE_STARTS: Final = (b"\n", b"\xbf")


class Field(NamedTuple):
    """One field: its name as spelled, and where it lies in the entity's buffer."""

    name: bytes
    start: int
    value_start: int
    end: int
    """After the last byte of the value, before its line end."""


def unfold(value: bytes) -> bytes:
    """Return `value` on one line (RFC 5322 section 2.2.3), without blanks at its ends."""
    if b"\n" in value:
        value = _FOLD.sub(b"", value)
    return value.strip(b" \t\r")


def strip_comments(value: bytes) -> bytes:
    """Return `value` with each comment replaced by a blank; an open comment counts as text."""
    kept: list[bytes] = []
    start = at = depth = 0
    while match := (_INSIDE_COMMENT if depth else _OUTSIDE_COMMENT).search(value, at):
        at = match.end()
        token = match[0]
        if token == b"(":
            if not depth:
                kept += (value[start : match.start()], b" ")
            depth += 1
        elif token == b")" and depth:
            depth -= 1
            start = at
    return value if depth else b"".join([*kept, value[start:]]).strip()


def count_fields(header: bytes) -> int:
    """Return how many fields `header` has."""
    return sum(1 for _ in _FIELD.finditer(header))


def first_value(header: bytes, lowered: bytes, name: bytes) -> bytes | None:
    """Return the unfolded value of the first field called `name` (in small letters), or None.

    `lowered` is `header.lower()`: the parser needs one or two fields of each part, and finds them
    five times faster this way than by listing them all.
    """
    at = lowered.find(name)
    while at >= 0:
        if (at == 0 or lowered[at - 1 : at] in _LINE_STARTS) and (match := _VALUE.match(header, at + len(name))):
            return unfold(match[1])
        at = lowered.find(name, at + len(name))
    return None


class Headers:
    """The fields of one entity, in their order; values are bytes, unfolded when asked for."""

    __slots__ = ("_buffer", "fields")

    def __init__(self, buffer: Buffer, start: int, end: int, *, max_fields: int) -> None:
        self._buffer = buffer
        self.fields: list[Field] = [
            Field(match[1], match.start(), match.start(2), match.end())
            for match in islice(_FIELD.finditer(buffer, start, end), max_fields)
        ]

    def get(self, name: str) -> bytes | None:
        """Return the value of the first field called `name`, or None."""
        wanted = name.lower().encode("latin-1", "replace")
        for field in self.fields:
            if field.name.lower() == wanted:
                return self.value(field)
        return None

    def all(self, name: str) -> list[bytes]:
        """Return the values of all fields called `name`, first one first."""
        wanted = name.lower().encode("latin-1", "replace")
        return [self.value(field) for field in self.fields if field.name.lower() == wanted]

    def raw_values(self, name: bytes) -> list[bytes]:
        """Return the values of all fields called `name` (in small letters), folds and all."""
        return [self._buffer[field.value_start : field.end] for field in self.fields if field.name.lower() == name]

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield name as spelled and value of each field."""
        for field in self.fields:
            yield field.name, self.value(field)

    def value(self, field: Field) -> bytes:
        """Return the unfolded value of one of `fields`."""
        return unfold(self._buffer[field.value_start : field.end])

    def raw(self, field: Field) -> bytes:
        """Return the field as it stands in the message, folds and all, without its last line end."""
        return self._buffer[field.start : field.end].rstrip(b"\r")
