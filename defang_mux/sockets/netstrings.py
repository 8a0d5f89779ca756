# SPDX-License-Identifier: GPL-3.0-or-later
"""Netstrings: `LENGTH:BYTES,`, in which mail servers put lookups and their results (protocol.md, Map socket). Pure."""

from typing import Final

from defang_common.wire.errors import Malformed

MAX_BYTES: Final = 65_536
"""MIMEDefang's limit on what is in one."""

_MAX_DIGITS: Final = 15


class NoComma(Malformed):
    """A netstring does not end where it should."""


class Netstrings:
    """Collects bytes and hands out what stands in whole netstrings."""

    __slots__ = ("_data",)

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> None:
        """Adds bytes as they arrived."""
        self._data += data

    def next(self) -> bytes | None:
        """The next one, None if it has not arrived whole; raises `Malformed`, after which nothing more is known."""
        colon = self._data.find(b":", 0, _MAX_DIGITS + 1)
        digits = bytes(self._data[: colon if colon >= 0 else _MAX_DIGITS + 1])
        if digits and not digits.isdigit():
            raise Malformed("no length of a netstring")
        if colon < 0:
            if len(digits) > _MAX_DIGITS:
                raise Malformed("the length of a netstring has no end")
            return None
        if not digits or int(digits) > MAX_BYTES:
            raise Malformed(f"a netstring has no length, or one over {MAX_BYTES}")
        end = colon + 1 + int(digits)
        if len(self._data) <= end:
            return None
        if self._data[end] != ord(","):
            raise NoComma("a netstring does not end with a comma")
        content = bytes(self._data[colon + 1 : end])
        del self._data[: end + 1]
        return content


def encode(content: bytes) -> bytes:
    """The netstring with this in it."""
    return b"%d:%b," % (len(content), content)
