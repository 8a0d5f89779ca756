# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a large content is worth decoding whole, found out while its base64 is checked anyway.

Keeps the first bytes and the last ones, and looks for the few words that `contents` and `archives` go by. Called by
`body_checks`.
"""

from collections import deque
from collections.abc import Iterable
from typing import Final

from defang_worker.mime.contents import TNEF_MAGIC, begins_cms, is_message_content, is_opened_by_name

LARGE_BYTES: Final = 128 * 1024
"""Of a body; a smaller one is as quickly decoded whole."""

# An ISO image's mark stands 32 KiB from the start; a zip's directory ends within 64 KiB and some of the end.
_HEAD_BYTES: Final = 40 * 1024
_TAIL_BYTES: Final = 72 * 1024
# As much of the encoded body, its line ends and one more piece of it included, has the tail in it for certain.
_ENCODED_TAIL_BYTES: Final = 256 * 1024
_ZIP_MEMBER: Final = b"PK\x03\x04"
# A zip behind other bytes is found by its directory at the end. Only one without that has to be searched for, and the
# tools that unpack such look for it near the start.
_ZIP_SEARCHED_BYTES: Final = 512 * 1024
_FILE_IN_TEXT: Final = (b"begin", b"=ybegin", b"BinHex")
_LONGEST_WORD_BYTES: Final = 7


class Whole:
    """Takes all of a content."""

    __slots__ = ("pieces",)

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def wants(self, left_bytes: int) -> bool:
        """Want everything."""
        del left_bytes
        return True

    def take(self, piece: bytes) -> None:
        """Keep the next piece."""
        self.pieces.append(piece)


class Sample:
    """Takes a content in pieces, one after the other."""

    __slots__ = ("_bytes", "_has_word", "_head", "_last", "_last_bytes", "_words")

    def __init__(self) -> None:
        self._bytes = 0
        self._head = b""
        self._last: deque[bytes] = deque()
        self._last_bytes = 0
        self._words: tuple[bytes, ...] = ()
        self._has_word = False

    def wants(self, left_bytes: int) -> bool:
        """Tell whether the next piece is looked at, when so much of the encoded body is left."""
        return bool(self._words and not self._has_word) or not self._head or left_bytes < _ENCODED_TAIL_BYTES

    def take(self, piece: bytes) -> None:
        """Look at the next piece that is wanted."""
        if not self._head:
            # Bytes that are no text have no files in text.
            self._words = (_ZIP_MEMBER,) if b"\0" in piece[:512] else (_ZIP_MEMBER, *_FILE_IN_TEXT)
        if len(self._head) < _HEAD_BYTES:
            self._head += piece[:_HEAD_BYTES]
        if self._words and not self._has_word:
            before = self._last[-1] if self._last else b""
            seam = before[1 - _LONGEST_WORD_BYTES :] + piece[: _LONGEST_WORD_BYTES - 1]
            self._has_word = any(word in piece or word in seam for word in self._words)
        self._bytes += len(piece)
        if self._bytes >= _ZIP_SEARCHED_BYTES:
            self._words = tuple(word for word in self._words if word is not _ZIP_MEMBER)
        self._last.append(piece)
        self._last_bytes += len(piece)
        while self._last_bytes - len(self._last[0]) >= _TAIL_BYTES:
            self._last_bytes -= len(self._last.popleft())

    def is_worth_decoding(self, content_type: str, names: Iterable[str]) -> bool:
        """Tell whether something may lie in the content that only its whole shows."""
        from defang_worker.mime.archives.kinds import has_zip, kind_at_start  # noqa: PLC0415

        head = self._head
        return (
            not head  # nothing was taken: the body is too odd to be read in pieces
            or self._has_word
            or content_type.startswith("text/")
            or head.startswith(TNEF_MAGIC)
            or begins_cms(head)
            or is_opened_by_name(content_type, names)
            or is_message_content(head, content_type, names)
            or kind_at_start(head) is not None
            or has_zip(b"".join(self._last))
        )
