# SPDX-License-Identifier: GPL-3.0-or-later
"""`read_chain`: the ARC sets of a message, if they form a chain (RFC 8617, sections 4.2 and 5.2). Pure.

Whether signatures and seals hold, `arc_verify.py` tells.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from defang_worker.checks.auth.cfws import Unreadable, behind_cfws
from defang_worker.checks.auth.dkim_key import Refused
from defang_worker.checks.auth.dkim_verify import signature_tags

__all__ = ["ARC_FIELDS", "MAX_SETS", "ArcSet", "BrokenChain", "Field", "highest_instance", "is_ended", "read_chain"]

RESULTS: Final = b"arc-authentication-results"
SIGNATURE: Final = b"arc-message-signature"
SEAL: Final = b"arc-seal"
ARC_FIELDS: Final = (RESULTS, SIGNATURE, SEAL)
"""In small letters, and in the order in which seals cover them."""
MAX_SETS: Final = 50
"""RFC 8617, section 4.2.1."""
_INSTANCE: Final = re.compile(r"[0-9]{1,2}")

Field = tuple[bytes, bytes]
"""Name and value as they came."""
Tags = dict[bytes, bytes]


class BrokenChain(Exception):
    """What the fields say does not form a chain, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArcSet:
    """One set: what a sealer found, its signature of the message, and its seal of all sets so far."""

    instance: int
    results: Field
    results_at: int
    """Where in its value the results begin, behind the instance."""
    signature: Field
    signature_tags: Tags
    seal: Field
    seal_tags: Tags

    @property
    def fields(self) -> tuple[Field, Field, Field]:
        """All three, as seals cover them."""
        return self.results, self.signature, self.seal


@dataclass(frozen=True, slots=True)
class _Found:
    """One field of ARC's."""

    kind: bytes
    field: Field
    instance: int
    tags: Tags
    results_at: int = 0

    @property
    def chain_status(self) -> bytes:
        return self.tags.get(b"cv", b"").lower()


def read_chain(fields: Sequence[Field]) -> tuple[ArcSet, ...]:
    """The sets, from the first; none if there is no ARC field. Raises BrokenChain."""
    found, fault = _found(fields)
    if is_ended(fields):
        raise BrokenChain("an earlier host found the chain broken")
    if fault:
        raise BrokenChain(fault)
    last = max((one.instance for one in found), default=0)
    sets = tuple(_set(instance, [one for one in found if one.instance == instance]) for instance in range(1, last + 1))
    for one in sets:
        if one.seal_tags.get(b"cv", b"").lower() != (b"none" if one.instance == 1 else b"pass"):
            raise BrokenChain(f"ARC-Seal {one.instance} has the wrong cv=")
    return sets


def is_ended(fields: Sequence[Field]) -> bool:
    """Whether the last seal says that the chain is broken: then nothing may be added to it (section 5.1)."""
    found, _ = _found(fields)
    last = max((one.instance for one in found), default=0)
    return any(one.kind == SEAL and one.instance == last and one.chain_status == b"fail" for one in found)


def highest_instance(fields: Sequence[Field]) -> int:
    """The highest number of a set, whatever else is wrong with the chain; 0 if there is none."""
    return max((one.instance for one in _found(fields)[0]), default=0)


def _found(fields: Sequence[Field]) -> tuple[list[_Found], str]:
    """All fields of ARC's with a number, and what is wrong with the first other one."""
    found, fault = [], ""
    for field in fields:
        if field[0].lower() in ARC_FIELDS:
            try:
                found.append(_numbered(field))
            except (Refused, Unreadable):
                fault = fault or f"{field[0].decode('latin-1')} without a usable i="
    return found, fault


def _numbered(field: Field) -> _Found:
    """A field with its number; raises Refused or Unreadable if it has none."""
    kind = field[0].lower()
    if kind == RESULTS:
        text = field[1].decode("utf-8", "surrogateescape").rstrip()
        instance, at = _instance(text, _behind("=", text, _behind("i", text, 0)))
        return _Found(kind, field, instance, {}, _behind(";", text, at))
    tags = signature_tags(field[1])
    text = tags.get(b"i", b"").decode("utf-8", "surrogateescape")
    instance, at = _instance(text, 0)
    if at < len(text):
        raise Unreadable("more than a number")
    return _Found(kind, field, instance, tags)


def _behind(letter: str, text: str, at: int) -> int:
    at = behind_cfws(text, at)
    if not text.startswith(letter, at):
        raise Unreadable(f"no {letter}")
    return at + 1


def _instance(text: str, at: int) -> tuple[int, int]:
    match = _INSTANCE.match(text, behind_cfws(text, at))
    if match is None or not 1 <= int(match[0]) <= MAX_SETS:
        raise Unreadable(f"no number from 1 to {MAX_SETS}")
    return int(match[0]), behind_cfws(text, match.end())


def _set(instance: int, found: Sequence[_Found]) -> ArcSet:
    if sorted(one.kind for one in found) != sorted(ARC_FIELDS):
        raise BrokenChain(f"set {instance} has not one of each field")
    by_kind = {one.kind: one for one in found}
    results, signature, seal = (by_kind[kind] for kind in ARC_FIELDS)
    return ArcSet(
        instance=instance,
        results=results.field,
        results_at=results.results_at,
        signature=signature.field,
        signature_tags=signature.tags,
        seal=seal.field,
        seal_tags=seal.tags,
    )
