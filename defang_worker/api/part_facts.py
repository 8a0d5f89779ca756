# SPDX-License-Identifier: GPL-3.0-or-later
"""What a part tells of itself: type, names, content; the half of `Part` that only tells.

All of it is worked out when asked for, and is of what stands in the part's place now. What acts is in `part.py`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from defang_worker.api.words import to_text
from defang_worker.mime.decode import decode_body
from defang_worker.mime.shadow import ShadowPart

if TYPE_CHECKING:
    from defang_worker.mime.headers import Headers
    from defang_worker.mime.tree import Entity

# A smaller body is as quickly decoded whole, and then is there for later.
_DECODED_WHOLE_BYTES: Final = 64 * 1024


class PartHeaders:
    """The header fields of a part, for reading; names are compared without case, values are unfolded text."""

    __slots__ = ("_headers",)

    def __init__(self, headers: Headers) -> None:
        self._headers = headers

    def get(self, name: str, default: str | None = None) -> str | None:
        """The value of the first field of that name, or `default`."""
        value = self._headers.get(name)
        return default if value is None else to_text(value)

    def all(self, name: str) -> list[str]:
        """The values of all fields of that name."""
        return [to_text(value) for value in self._headers.all(name)]

    def items(self) -> list[tuple[str, str]]:
        """All fields, name and value."""
        return [(to_text(name), to_text(value)) for name, value in self._headers.items()]


class PartFacts:
    """Type, names and content of a part, as properties."""

    __slots__ = ()

    _shown: Entity | ShadowPart

    @property
    def is_leaf(self) -> bool:
        """Whether it has a body rather than parts. A multipart in which no parts were found is a leaf, too."""
        return self._shown.is_leaf

    @property
    def is_multipart(self) -> bool:
        """Whether it calls itself multipart/*."""
        return self._shown.is_multipart

    @property
    def content_type(self) -> str:
        """Type and subtype in small letters, text/plain if there is none; application/octet-stream if unreadable."""
        return self._shown.content_type

    @property
    def disposition(self) -> str:
        """`attachment`, `inline`, another word in small letters, or empty."""
        return self._shown.disposition

    @property
    def charset(self) -> str:
        """The declared charset in small letters; us-ascii if there is none."""
        return self._shown.charset

    @property
    def headers(self) -> PartHeaders:
        """The part's own header fields."""
        return PartHeaders(self._shown.headers)

    @property
    def filename(self) -> str:
        """The name that most clients would show, decoded; empty if there is none. Rules want `filenames`."""
        return self._shown.filename

    @property
    def filenames(self) -> tuple[str, ...]:
        """All names that any client might show or save under: as spelled, and in canonical form without tricks."""
        return self._shown.filenames

    @property
    def extension(self) -> str:
        """The last dot of `filename` and what follows it (".exe"), in small letters and without tricks; or empty."""
        return self._shown.extension

    def matches(self, pattern: str | re.Pattern[str]) -> bool:
        """Whether the pattern is found in any of `filenames`; one given as text is taken without regard to case."""
        return self._shown.matches(pattern)

    def extension_matches(self, pattern: str | re.Pattern[str]) -> bool:
        """Whether the pattern is found in the extension (".exe") of any of `filenames`; else like `matches`."""
        from defang_worker.mime.filenames import extension  # noqa: PLC0415

        compiled = re.compile(pattern, re.IGNORECASE) if isinstance(pattern, str) else pattern
        return any(compiled.search(ending) for name in self.filenames if (ending := extension(name)))

    @property
    def data(self) -> bytes:
        """The body, its transfer encoding undone; of a container the bytes that its parts lie in."""
        return self._shown.content

    def head(self, size: int) -> bytes:
        """The first bytes of `data`, without decoding a large body for them."""
        entity = self._shown
        if (
            isinstance(entity, ShadowPart)
            or not entity.is_leaf
            or entity.end - entity.body_start <= _DECODED_WHOLE_BYTES
        ):
            return self.data[:size]
        # Encoded, a byte takes four at most, but for line ends and blanks; those are what the rest is for.
        start = entity.source.buffer[entity.body_start : entity.body_start + 4 * size + 1024]
        found = decode_body(start, entity.transfer_encoding)[:size]
        return found if len(found) == size else self.data[:size]

    @property
    def detected_type(self) -> str:
        """What it is by its content, whatever its name and type say: a word of `FileType` or `ArchiveKind`.

        "pe", "script", "ole-macros", "ooxml", "zip", "iso", "image" ...; "unknown" for plain text and all else.
        """
        from defang_worker.mime import filetype  # noqa: PLC0415 (for filters that ask)

        return filetype.type_at_start(self.head(filetype.HEAD_BYTES)) or filetype.detected_type(self.data)

    @property
    def text(self) -> str:
        """The body as text in its charset; bytes that do not fit it are guessed at. Never fails."""
        return self._shown.text

    @property
    def size(self) -> int:
        """The length of `data` in bytes."""
        return len(self.data)
