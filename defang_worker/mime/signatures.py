# SPDX-License-Identifier: GPL-3.0-or-later
"""Which signatures a change of the message leaves valid: a comparison of bytes before and after, without keys or DNS.

DKIM and ARC message signatures (RFC 6376, RFC 8617) by the fields they name and their canonicalization; S/MIME and PGP
by the part they are. Asked by `Message.signature_forecast`; a signature that was wrong before is told apart.
"""

import binascii
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import Final

from defang_worker.mime.headers import unfold
from defang_worker.mime.protected import is_protected, protector
from defang_worker.mime.tree import Entity, Tree

HeaderField = tuple[bytes, bytes]
"""A field of the message header: name, and all that stands behind the colon."""

_SIGNATURE_FIELDS: Final = frozenset({b"dkim-signature", b"arc-message-signature"})
_TAG: Final = re.compile(rb"([A-Za-z][A-Za-z0-9_]*)\s*=([^;]*)")
_BLANKS: Final = re.compile(rb"[ \t]+")
_BLANKS_AT_END: Final = re.compile(rb"[ \t]+$", re.MULTILINE)
_WHITE: Final = re.compile(rb"\s+")
_ARMOR_LINE: Final = re.compile(rb"^-----(?:BEGIN PGP (SIGNED )?MESSAGE|(END) PGP [A-Z]+)-----", re.MULTILINE)
# Each is looked for in the new text; honest mail has one or two.
_MAX_ARMORED: Final = 100


class PartKind(StrEnum):
    """What protects a part."""

    SMIME_SIGNED = "S/MIME signature"
    SMIME = "S/MIME"
    PGP_SIGNED = "PGP signature"
    ENCRYPTED = "encryption"
    SIGNED = "signature"


class Outcome(StrEnum):
    """What becomes of a signed or encrypted part."""

    SURVIVES = "survives"
    BROKEN = "broken"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderSignature:
    """The forecast for a DKIM or ARC signature, a field of the message header."""

    field: str
    domain: str
    selector: str
    was_intact: bool
    """Whether its hash of the body (bh=) fits the body as it came; False also for a hash that is unknown here."""
    header_survives: bool
    """Whether the fields it signs, those that must not be there included, stay the same."""
    body_survives: bool
    """Whether the body stays the same as far as it is signed (l=)."""

    @property
    def survives(self) -> bool:
        """Whether it is as good as it was."""
        return self.header_survives and self.body_survives


@dataclass(frozen=True, slots=True, kw_only=True)
class PartSignature:
    """The forecast for a signed or encrypted part."""

    number: str
    kind: PartKind
    outcome: Outcome

    @property
    def survives(self) -> bool:
        """Whether it is as good as it was."""
        return self.outcome is Outcome.SURVIVES


@dataclass(frozen=True, slots=True, kw_only=True)
class SignatureForecast:
    """All signatures of a message."""

    headers: tuple[HeaderSignature, ...] = ()
    parts: tuple[PartSignature, ...] = ()
    refused: str | None = None
    """Why the changes cannot be made at all: one is inside a signed or encrypted part. The message will be refused."""

    @property
    def all_survive(self) -> bool:
        """Whether nothing breaks; true for a message without signatures."""
        if self.refused is not None or not all(one.survives for one in self.headers):
            return False
        return all(one.survives for one in self.parts)


# Header fields


def forecast_headers(
    before: Sequence[HeaderField], after: Sequence[HeaderField], old_body: bytes, new_body: bytes | None
) -> tuple[HeaderSignature, ...]:
    """Return the forecast for each DKIM and ARC signature in the header; `new_body` is None if the body stays."""
    bodies: dict[tuple[str, bool], bytes] = {}

    def body(method: str, *, is_new: bool) -> bytes:
        key = (method, is_new and new_body is not None)
        if key not in bodies:
            bodies[key] = canonical_body(new_body if key[1] and new_body is not None else old_body, method)
        return bodies[key]

    found = []
    for name, value in before:
        if name.lower() not in _SIGNATURE_FIELDS:
            continue
        tags = {match[1].decode("ascii"): match[2].strip() for match in _TAG.finditer(value)}
        header_method, body_method = _methods(tags)
        limit = _limit(tags)
        old, new = (body(body_method, is_new=is_new) for is_new in (False, True))
        names = [one.strip().lower() for one in tags.get("h", b"").split(b":")]
        is_kept = (name, value) in after
        signed_before, signed_after = (_signed(fields, names, header_method) for fields in (before, after))
        found.append(
            HeaderSignature(
                field=name.decode("latin-1"),
                domain=tags.get("d", b"").decode("utf-8", "replace"),
                selector=tags.get("s", b"").decode("utf-8", "replace"),
                was_intact=_hash_of(tags, old[:limit]) and (limit is None or limit <= len(old)),
                header_survives=is_kept and signed_before == signed_after,
                body_survives=old[:limit] == new[:limit],
            )
        )
    return tuple(found)


def canonical_body(body: bytes, method: str) -> bytes:
    """Return a body as RFC 6376 section 3.4 has it hashed: "simple" or "relaxed"."""
    body = body.replace(b"\r\n", b"\n")
    if method == "relaxed":
        body = _BLANKS_AT_END.sub(b"", _BLANKS.sub(b" ", body))
    body = body.rstrip(b"\n")
    if not body:
        return b"" if method == "relaxed" else b"\r\n"
    return body.replace(b"\n", b"\r\n") + b"\r\n"


def _methods(tags: Mapping[str, bytes]) -> tuple[str, str]:
    header, _, body = tags.get("c", b"simple/simple").decode("latin-1").lower().partition("/")
    return header.strip(), body.strip() or "simple"


def _limit(tags: Mapping[str, bytes]) -> int | None:
    length = tags.get("l", b"")
    return int(length[:18]) if length.isdigit() else None


def _hash_of(tags: Mapping[str, bytes], body: bytes) -> bool:
    """Tell whether bh= is the hash of `body`."""
    algorithm = tags.get("a", b"").lower().rpartition(b"-")[2]
    try:
        told = binascii.a2b_base64(_WHITE.sub(b"", tags.get("bh", b"")))
    except binascii.Error:
        return False
    match algorithm:
        case b"sha256":
            return hashlib.sha256(body).digest() == told
        case b"sha1":
            return hashlib.sha1(body, usedforsecurity=False).digest() == told
        case _:
            return False


def _signed(fields: Sequence[HeaderField], names: list[bytes], method: str) -> list[bytes]:
    """Return what a signature over `names` covers: from the last field of a name up, nothing for one too many."""
    left: dict[bytes, list[bytes]] = {}
    for name, value in fields:
        key = name.lower()
        text = b"%b:%b" % (key, _BLANKS.sub(b" ", unfold(value))) if method == "relaxed" else b"%b:%b" % (name, value)
        left.setdefault(key, []).append(text)
    return [left[name].pop() if left.get(name) else b"" for name in names]


# Parts


def forecast_parts(tree: Tree, changed: Mapping[Entity, Entity | None]) -> tuple[PartSignature, ...]:
    """Return the forecast for each signed or encrypted part; `changed` has what replaces an entity, or None."""
    found = []
    for entity in tree.walk():
        if protector(entity) is not None:
            continue
        if is_protected(entity):
            outcome = Outcome.REMOVED if _gone_with(entity, changed) is not None else Outcome.SURVIVES
            found.append(PartSignature(number=entity.number, kind=_kind(entity), outcome=outcome))
        elif entity.is_leaf and entity.content_type.startswith("text/"):
            found += _armored(entity, changed)
    return tuple(found)


def _gone_with(entity: Entity, changed: Mapping[Entity, Entity | None]) -> Entity | None:
    """Return the changed entity that takes this one along: it or a container of it."""
    place: Entity | None = entity
    while place is not None and place not in changed:
        place = place.parent
    return place


def _kind(entity: Entity) -> PartKind:
    if entity.content_type == "multipart/encrypted":
        return PartKind.ENCRYPTED
    if entity.content_type != "multipart/signed":
        return PartKind.SMIME
    protocol = (entity.parameter("protocol") or "").lower()
    if protocol.endswith("pkcs7-signature"):
        return PartKind.SMIME_SIGNED
    return PartKind.PGP_SIGNED if protocol == "application/pgp-signature" else PartKind.SIGNED


def _armored(entity: Entity, changed: Mapping[Entity, Entity | None]) -> list[PartSignature]:
    """Return the forecast for PGP's own framing in a text (RFC 9580 section 6.2), which others may surround."""
    content = entity.content
    if b"-----BEGIN PGP " not in content:
        return []
    place = _gone_with(entity, changed)
    new = changed.get(place) if place is entity else None
    found = []
    for start, end, is_signed in islice(_armored_spans(content), _MAX_ARMORED):
        if place is None or (new is not None and content[start:end] in new.content):
            outcome = Outcome.SURVIVES
        else:
            outcome = Outcome.REMOVED if new is None else Outcome.BROKEN
        kind = PartKind.PGP_SIGNED if is_signed else PartKind.ENCRYPTED
        found.append(PartSignature(number=entity.number, kind=kind, outcome=outcome))
    return found


def _armored_spans(content: bytes) -> Iterator[tuple[int, int, bool]]:
    """Yield start and end of each framed text, and whether it is signed; in one pass, for few have an end if any."""
    opening: re.Match[bytes] | None = None
    for line in _ARMOR_LINE.finditer(content):
        if line[2] is None:
            opening = opening or line
        elif opening is not None:
            yield opening.start(), line.end(), opening[1] is not None
            opening = None
