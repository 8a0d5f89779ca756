# SPDX-License-Identifier: GPL-3.0-or-later
"""`usable_key`: is what the DNS has for a selector a key for this signature? Pure.

RFC 6376, sections 3.6.1 and 6.1.2.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Final

try:
    from dkim.crypto import UnparsableKeyError, parse_public_key
    from dkim.util import InvalidTagValueList, parse_tag_value
except ImportError as missing:  # pragma: no cover  # the tests have it
    raise ImportError(f"DKIM needs a package that is not there ({missing}): make install EXTRAS=dkim") from missing

from defang_worker.checks.auth.dkim_result import DkimWord

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Refused", "is_testing", "usable_key"]

# An RSA key of 8192 bits has 1400; the time for larger ones would be at the sender's pleasure.
_MAX_KEY_CHARS: Final = 1500
# Everybody's is 65537, of 17 bits. With one as long as the key itself a single signature takes most of a second.
_MAX_EXPONENT_BITS: Final = 64


class Refused(Exception):
    """A signature does not hold, in this word and for this reason."""

    def __init__(self, word: DkimWord, reason: str) -> None:
        super().__init__(reason)
        self.word: Final = word
        self.reason: Final = reason


def usable_key(records: tuple[bytes, ...], signature: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    """The tags of the first record that is a key; raises Refused if there is none, or not for such a signature."""
    tags = next((tags for record in records if (tags := _tags(record)) is not None), None)
    if tags is None:
        raise Refused(DkimWord.PERMERROR, "the key record is malformed")
    key = b"".join(tags[b"p"].split())
    kind, _, digest = signature[b"a"].partition(b"-")
    identity = signature.get(b"i", b"@" + signature[b"d"]).rpartition(b"@")[2]
    if not key:
        raise Refused(DkimWord.PERMERROR, "the key is revoked")
    if len(key) > _MAX_KEY_CHARS:
        raise Refused(DkimWord.POLICY, "the key is too large")
    if tags.get(b"k", b"rsa") != kind:
        raise Refused(DkimWord.PERMERROR, "the key is for another algorithm")
    if b"h" in tags and digest not in _listed(tags[b"h"]):
        raise Refused(DkimWord.PERMERROR, "the key is for another hash algorithm")
    if not {b"*", b"email"} & _listed(tags.get(b"s", b"*")):
        raise Refused(DkimWord.PERMERROR, "the key is not for mail")
    if kind == b"rsa" and _exponent(key).bit_length() > _MAX_EXPONENT_BITS:
        raise Refused(DkimWord.POLICY, "the key's exponent is too large")
    if b"s" in _listed(tags.get(b"t", b"")) and identity.lower() != signature[b"d"].lower():
        raise Refused(DkimWord.PERMERROR, "the key is not for subdomains")
    return tags


def _exponent(key: bytes) -> int:
    """Of an RSA key; 0 of what is none."""
    try:
        return parse_public_key(base64.b64decode(key))["publicExponent"]
    # dkimpy asserts what it expects of a stranger's key.
    except (UnparsableKeyError, ValueError, LookupError, TypeError, AssertionError):
        return 0


def is_testing(tags: Mapping[bytes, bytes]) -> bool:
    """Whether the domain only tries DKIM."""
    return b"y" in _listed(tags.get(b"t", b""))


def _tags(record: bytes) -> dict[bytes, bytes] | None:
    """The tags of a key; None for what is none, such as a text of another kind at that name."""
    try:
        tags = parse_tag_value(record)
    except InvalidTagValueList:
        return None
    # Where the version stands, it stands first.
    if b"p" not in tags or (b"v" in tags and (tags[b"v"] != b"DKIM1" or next(iter(tags)) != b"v")):
        return None
    return tags


def _listed(words: bytes) -> set[bytes]:
    return {word.strip() for word in words.split(b":")}
