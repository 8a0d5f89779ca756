# SPDX-License-Identifier: GPL-3.0-or-later
"""`SignedText`: a message as signatures see it, header fields and body with CRLF line ends. Pure.

Made once a message, and shared by all of its signatures: a body is canonicalized and hashed once for all that want it
in the same way.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from defang_worker.mime.headers import Buffer

__all__ = ["BodyDigest", "BodyForm", "Field", "SignedText", "canonical_body", "covered_fields"]

_HEADER_END: Final = re.compile(rb"^\r?\n", re.MULTILINE)
_FIELD: Final = re.compile(rb"^([!-9;-~]+)[ \t]*:(.*\n(?:[ \t].*(?:\n|\Z))*)", re.MULTILINE)
_LINE_END: Final = re.compile(rb"\r?\n")
_LINE_ENDS_BACKWARDS: Final = re.compile(rb"(?:\n\r)+")

BodyForm = Literal["simple", "relaxed"]
"""The canonicalizations of RFC 6376, section 3.4."""
Field = tuple[bytes, bytes]
"""Name and value with all blanks and the last CRLF."""


class BodyDigest(NamedTuple):
    """A body's SHA-256, and how long it is as canonicalized, in bytes."""

    sha256: bytes
    length: int


@dataclass(frozen=True, slots=True)
class SignedText:
    """Header fields and the body."""

    fields: list[Field]
    body: bytes
    _digests: dict[tuple[BodyForm, int | None], BodyDigest] = field(default_factory=dict, repr=False, compare=False)
    # Only for signatures of a part (l=), each of which may be for another one.
    _bodies: dict[BodyForm, bytes] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, raw: Buffer) -> SignedText:
        """Of a message with LF or CRLF line ends; a line in the header that is no field is left out."""
        end = _HEADER_END.search(raw)
        header = raw[: end.start()] if end else raw[:] + b"\n"
        body = raw[end.end() :] if end else b""
        fields = [(field[1], _crlf(field[2])) for field in _FIELD.finditer(header)]
        return cls(fields, _crlf(body))

    def named(self, name: bytes) -> list[Field]:
        """All fields of that name (in small letters), from the top."""
        return [field for field in self.fields if field[0].lower() == name]

    def values(self, name: bytes) -> list[bytes]:
        """Their values."""
        return [value for _, value in self.named(name)]

    def body_digest(self, form: BodyForm, length: int | None = None) -> BodyDigest:
        """Of the canonicalized body, or of so many bytes of it."""
        found = self._digests.get((form, length))
        if found is None:
            body = self._bodies.get(form)
            if body is None:
                body = canonical_body(self.body, form)
            if length is not None:
                self._bodies[form] = body
            signed = body if length is None else memoryview(body)[:length]
            found = self._digests[form, length] = BodyDigest(hashlib.sha256(signed).digest(), len(body))
        return found


def covered_fields(fields: Sequence[Field], names: Iterable[bytes]) -> list[Field]:
    """Of these fields the ones that a signature of these names (in small letters) covers, the lowest of each name, and
    one From more: dkimpy makes all ready, and goes through all for each name, seconds for a very long header."""
    wanted = Counter(names)
    # It looks for one more when it verifies.
    wanted[b"from"] += 1
    covered = []
    for one in reversed(fields):
        name = one[0].lower()
        if wanted.get(name, 0) > 0:
            wanted[name] -= 1
            covered.append(one)
    return covered[::-1]


def canonical_body(body: bytes, form: BodyForm) -> bytes:
    """A body with CRLF line ends as it is hashed: RFC 6376, section 3.4.3 and 3.4.4."""
    if form == "relaxed":
        # As whole bytes: a regular expression would stop at every word.
        body = body.replace(b"\t", b" ")
        while b"  " in body:
            body = body.replace(b"  ", b" ")
        body = body.replace(b" \r\n", b"\r\n")
    kept = body[: len(body) - _final_line_ends(body)]
    return b"" if form == "relaxed" and not kept else kept + b"\r\n"


def _final_line_ends(body: bytes) -> int:
    """How many bytes the line ends take that nothing stands behind."""
    backwards = body[len(body.rstrip(b"\r\n")) :][::-1]
    match = _LINE_ENDS_BACKWARDS.match(backwards)
    return match.end() if match else 0


def _crlf(lines: bytes) -> bytes:
    if b"\r\n" in lines:
        return _LINE_END.sub(b"\r\n", lines)
    return lines.replace(b"\n", b"\r\n")
