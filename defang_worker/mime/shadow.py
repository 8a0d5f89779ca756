# SPDX-License-Identifier: GPL-3.0-or-later
"""A part that only another reading of the message has, or that is a file within a part's content.

Reads like an `Entity`; it has no place in the tree of its own, only a host there. Made by `views.py`.
"""

import re
from collections.abc import Callable
from functools import cached_property
from typing import Final

from defang_worker.mime.charsets import decode_text
from defang_worker.mime.defects import Defect
from defang_worker.mime.fields import parse_field
from defang_worker.mime.filenames import all_names, extension
from defang_worker.mime.headers import Headers
from defang_worker.mime.tree import Entity

INSIDE: Final = frozenset({"uuencode", "yenc", "binhex", "tnef", "smime", "message-in-leaf", "undeclared-encoding"})
"""Views of what is within the content of a part."""
_NO_HEADERS: Final = Headers(b"", 0, 0, max_fields=0)


class ShadowPart:
    """A leaf or container of another view than the strict one."""

    is_shadow: Final = True

    def __init__(
        self,
        *,
        host: Entity,
        view: str,
        names: tuple[str, ...],
        content: bytes | Callable[[], bytes],
        content_type: str = "application/octet-stream",
        headers: Headers = _NO_HEADERS,
        defects: tuple[Defect, ...] = (),
        is_leaf: bool = True,
    ) -> None:
        self.host = host
        """The innermost entity of the strict tree whose bytes hold the part. To be rid of the part, drop the host."""
        self.view = view
        """The name of the reading that has it: "uuencode", "epilogue", "last-content-type", ..."""
        self.spelled_names = names
        self._content = content
        self.content_type = content_type
        self.headers = headers
        self.defects = defects
        """What made the readings differ."""
        self.is_leaf = is_leaf

    def __repr__(self) -> str:
        return f"<ShadowPart {self.view} in {self.number or 'message'} {self.content_type}>"

    @property
    def content(self) -> bytes:
        """The body, decoded; a container's is made anew each time."""
        return self._content() if callable(self._content) else self._content

    @property
    def stays_inside(self) -> bool:
        """Whether it is within the content of a leaf, and so stays where it is when the message is rewritten."""
        return self.view in INSIDE and self.host.is_leaf

    @property
    def number(self) -> str:
        """The number of the host."""
        return self.host.number

    @property
    def is_multipart(self) -> bool:
        """True for multipart/*."""
        return self.content_type.startswith("multipart/")

    @property
    def disposition(self) -> str:
        """Content-Disposition without parameters, in small letters; or empty."""
        value = self.headers.get("content-disposition")
        return parse_field(value).value if value else ""

    @property
    def transfer_encoding(self) -> str:
        """Always binary: what `content` has is decoded already."""
        return "binary"

    @property
    def charset(self) -> str:
        """The declared charset in small letters; us-ascii if none is."""
        value = self.headers.get("content-type")
        texts = parse_field(value).texts("charset") if value else []
        return (texts[0] if texts else "us-ascii").lower()

    @cached_property
    def filenames(self) -> tuple[str, ...]:
        """All names that any client might show or save under, decoded; canonical forms last."""
        return all_names(self.spelled_names)

    @property
    def filename(self) -> str:
        """The first of the names; empty if there is none."""
        return self.filenames[0] if self.filenames else ""

    @property
    def extension(self) -> str:
        """The last dot of the file name and what follows, in small letters and without tricks; or empty."""
        return extension(self.filename)

    def matches(self, pattern: str | re.Pattern[str]) -> bool:
        """Tell whether `pattern` is found in any of the names; a string is taken without regard to case."""
        compiled = re.compile(pattern, re.IGNORECASE) if isinstance(pattern, str) else pattern
        return any(compiled.search(name) for name in self.filenames)

    @property
    def text(self) -> str:
        """The content as text in its charset; bytes that do not fit it are guessed at."""
        return decode_text(self.content, self.charset)
