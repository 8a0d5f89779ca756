# SPDX-License-Identifier: GPL-3.0-or-later
"""`ArcSealer`: seals a message that goes on to other hosts, with what was found when it came (RFC 8617, section 5.1).

For hosts that change mail and hand it on: their changes break its signatures, and a next host that trusts them reads in
the seal that these held before. dkimpy computes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from defang_worker.checks.auth.arc_chain import (
    ARC_FIELDS,
    MAX_SETS,
    BrokenChain,
    highest_instance,
    is_ended,
    read_chain,
)
from defang_worker.checks.auth.arc_result import ArcWord
from defang_worker.checks.auth.arc_verify import sealed_fields
from defang_worker.checks.auth.dkim_signer import DEFAULT_FIELDS, DEFAULT_OVERSIGNED
from defang_worker.checks.auth.made_signature import FORM, body_hash, made_signature, names_to_cover, time_tag
from defang_worker.checks.auth.signed_text import SignedText

if TYPE_CHECKING:
    from collections.abc import Sequence

    from defang_worker.api.message import Message
    from defang_worker.checks.auth.arc_chain import Field
    from defang_worker.checks.auth.arc_result import ArcResult
    from defang_worker.checks.auth.dkim_signer import DkimKey

__all__ = ["ArcSealer"]

_NAMES: Final = (b"ARC-Authentication-Results", b"ARC-Message-Signature", b"ARC-Seal")
# Section 4.1.2: these are deleted on the way, or belong to the chain.
_FORBIDDEN: Final = {b"authentication-results", *ARC_FIELDS, b"received", b"return-path"}


class ArcSealer:
    """Seals messages with an RSA key, published as for DKIM.

    All fields of the names in `fields` and all DKIM signatures are covered, and of those in `oversigned` one more than
    there are. Raises ValueError for names that may not be covered, and for an Ed25519 key: most hosts cannot verify one
    in a seal, and the chain is broken to them.
    """

    def __init__(
        self,
        key: DkimKey,
        *,
        fields: Sequence[str] = DEFAULT_FIELDS,
        oversigned: Sequence[str] = DEFAULT_OVERSIGNED,
    ) -> None:
        if key.algorithm != "rsa-sha256":
            raise ValueError("an ARC seal needs an RSA key")
        self.key: Final = key
        names = dict.fromkeys(name.lower().encode("ascii") for name in ("From", *fields, *oversigned, "DKIM-Signature"))
        if forbidden := names.keys() & _FORBIDDEN:
            raise ValueError(f"not to be signed: {b', '.join(sorted(forbidden)).decode()}")
        self._names: Final = tuple(names)
        self._oversigned: Final = {b"from", *(name.lower().encode("ascii") for name in oversigned)}

    def seal(self, message: Message, chain: ArcResult) -> bool:
        """Puts a set before the header, with the Authentication-Results of this site; for the end of `filter_wrapup`,
        behind a DKIM signature. `chain` is what `Arc` found.

        False if nothing can be added to the chain: it was found broken before, has 50 sets, could not be verified for
        want of an answer from the DNS, or is not the one that was verified; or if the message has no From. Nothing of
        this may be a fault: it would defer mail for what a stranger wrote.
        """
        found = self.header_fields(message.as_delivered(), message.own_authentication_results(), chain)
        for name, value in found:
            message.headers.insert(name, value)
        return bool(found)

    def header_fields(self, raw: bytes, results: str, chain: ArcResult) -> list[tuple[str, str]]:
        """The three fields, name and value, the lowest first, or none; `results` as Authentication-Results has them."""
        text = SignedText.of(raw)
        instance = highest_instance(text.fields) + 1
        earlier = _to_be_covered(text, chain)
        if earlier is None or instance > MAX_SETS or not text.values(b"from"):
            return []
        work = _Work(self.key, instance, chain.word)
        told = (_NAMES[0], f" i={instance}; {results}\r\n".replace("\r\n", "\n").replace("\n", "\r\n").encode("ascii"))
        signature = work.signature(text, names_to_cover(text, self._names, self._oversigned))
        seal = work.seal([*earlier, told, signature])
        return [
            (name.decode(), value.decode("ascii").strip().replace("\r\n", "\n"))
            for name, value in (told, signature, seal)
        ]


def _to_be_covered(text: SignedText, chain: ArcResult) -> list[Field] | None:
    """The fields of earlier sets that a seal covers; None if there may be no seal."""
    if chain.is_unknown or is_ended(text.fields):
        return None
    # Section 5.1.2: a chain that does not hold cannot be covered, so the seal of its end stands for itself.
    if chain.word is ArcWord.FAIL:
        return []
    try:
        sets = read_chain(text.fields)
    except BrokenChain:
        return None
    return [field for one in sets for field in one.fields] if len(sets) == len(chain.seals) else None


class _Work:
    """One set being made."""

    def __init__(self, key: DkimKey, instance: int, status: ArcWord) -> None:
        self._key = key
        self._status = status.encode()
        self._instance = str(instance).encode()

    def signature(self, text: SignedText, covered: Sequence[bytes]) -> Field:
        """ARC-Message-Signature."""
        # Blanks around the colons are where the field is folded.
        more = [(b"c", FORM), (b"h", b" : ".join(covered)), (b"bh", body_hash(text))]
        return made_signature(_NAMES[1], [*self._tags(), *more], self._key, text.fields, covered)

    def seal(self, fields: Sequence[Field]) -> Field:
        """ARC-Seal, of these fields of ARC in their order."""
        names = [name.lower() for name, _ in fields]
        return made_signature(_NAMES[2], self._tags((b"cv", self._status)), self._key, sealed_fields(fields), names)

    def _tags(self, *more: Field) -> list[Field]:
        return [
            (b"i", self._instance),
            *more,
            (b"a", self._key.algorithm.encode("ascii")),
            (b"d", self._key.domain.encode("idna")),
            (b"s", self._key.selector.encode("ascii")),
            (b"t", time_tag()),
        ]
