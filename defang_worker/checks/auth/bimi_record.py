# SPDX-License-Identifier: GPL-3.0-or-later
"""BIMI's texts, pure: the assertion record of a domain, and the selector that a message names.

draft-brand-indicators-for-message-identification-14, sections 4.3 and 5.1. What is malformed is an error there, and not
to be repaired.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

__all__ = ["DEFAULT_SELECTOR", "BimiRecord", "MalformedAssertion", "assertions", "selector_of"]

DEFAULT_SELECTOR: Final = "default"
_VERSION: Final = re.compile(rb"[ \t]*v[ \t]*=[ \t]*BIMI1[ \t]*(?:;|\Z)")
_TAG_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_BLANKS: Final = " \t\r\n"
_MAX_TAGS: Final = 32
# Longer ones are nowhere to be seen, and would only fill header and log.
_MAX_URI_CHARS: Final = 2000
_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_SELECTOR: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
# With two labels at least, the last of which is no number: that would be an address.
_FULL_NAME: Final = re.compile(rf"(?:{_LABEL}\.)+(?![0-9]+\.?\Z){_LABEL}\.?")
# RFC 3986, section 2, but for commas, which are to be encoded.
_URI: Final = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+;=%]+")
# Section 4.3.2: another image format's suffix makes the record invalid. A document without a suffix may be an SVG.
_OTHER_IMAGES: Final = frozenset(
    {"apng", "avif", "bmp", "eps", "gif", "heic", "heif", "ico", "jfif", "jpe", "jpeg", "jpg", "jxl"}
    | {"pdf", "png", "psd", "tif", "tiff", "webp"}
)


class MalformedAssertion(ValueError):
    """What begins as an assertion record is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BimiRecord:
    """What a domain asserts; a URI is empty if it does not say."""

    location: str = ""
    """Where the indicator is, an image (l=)."""
    authority: str = ""
    """Where the evidence for it is, a certificate (a=)."""
    avatar: str = ""
    """`brand` or `personal`: which of the two is to be shown if the reader has a picture of the author (avp=)."""

    @property
    def is_declined(self) -> bool:
        """Whether the domain says that it has none."""
        return not self.location and not self.authority

    @classmethod
    def of(cls, text: bytes) -> BimiRecord:
        """The record in a text that `assertions` has passed; raises MalformedAssertion."""
        tags = _tags(text)
        if "l" not in tags:
            raise MalformedAssertion("no l=")
        location, authority = _uri(tags["l"], "l="), _uri(tags.get("a", ""), "a=")
        _, dot, suffix = urlsplit(location).path.rpartition("/")[2].rpartition(".")
        if dot and suffix.lower() in _OTHER_IMAGES:
            raise MalformedAssertion("l= is no SVG")
        avatar = tags.get("avp", "")
        return cls(location=location, authority=authority, avatar=avatar if avatar in ("brand", "personal") else "")


def assertions(texts: Sequence[bytes]) -> list[bytes]:
    """Those of a name's texts that are meant as assertion records, by their version."""
    return [text for text in texts if _VERSION.match(text)]


def _tags(text: bytes) -> dict[str, str]:
    pieces = text.decode("utf-8", "replace").split(";")
    if not pieces[-1].strip(_BLANKS):
        pieces.pop()
    if len(pieces) > _MAX_TAGS:
        raise MalformedAssertion("very many tags")
    tags: dict[str, str] = {}
    for piece in pieces:
        name, equals, value = piece.partition("=")
        name = name.strip(_BLANKS)
        if not equals or not _TAG_NAME.fullmatch(name):
            raise MalformedAssertion("a tag is malformed")
        if name in tags:
            raise MalformedAssertion(f"two of {name:.20}=")
        tags[name] = value.strip(_BLANKS)
    return tags


def _uri(text: str, tag: str) -> str:
    """A single URI by HTTPS with a full domain name, or nothing; raises MalformedAssertion."""
    if not text:
        return ""
    if len(text) > _MAX_URI_CHARS or not _URI.fullmatch(text):
        raise MalformedAssertion(f"{tag} is no URI")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError as fault:
        raise MalformedAssertion(f"{tag} is no URI") from fault
    if parts.scheme != "https":
        raise MalformedAssertion(f"{tag} is not by HTTPS")
    if not _FULL_NAME.fullmatch(host) or "@" in parts.netloc or port == 0:
        raise MalformedAssertion(f"{tag} has no full domain name")
    return text


def selector_of(values: Sequence[bytes]) -> str:
    """The selector in the field BIMI-Selector, of which these are the values; empty if there is none that counts: a
    malformed one is to be passed over, and so are several."""
    if len(values) != 1:
        return ""
    value = b" ".join(values[0].split())
    if not _VERSION.match(value):
        return ""
    try:
        selector = _tags(value).get("s", "")
    except MalformedAssertion:
        return ""
    return selector.lower() if _SELECTOR.fullmatch(selector) else ""
