# SPDX-License-Identifier: GPL-3.0-or-later
"""`ArcResult`, what came of a message's chain of ARC sets, and `ArcSeal`, of each host that sealed it. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from defang_worker.checks.auth.method_result import MethodResult
from defang_worker.checks.outcome import CheckResult

if TYPE_CHECKING:
    from defang_worker.api.envelope import Envelope

__all__ = ["ArcResult", "ArcSeal", "ArcWord"]


class ArcWord(StrEnum):
    """The status of a chain (RFC 8617, section 4.4)."""

    PASS = "pass"  # noqa: S105  # no password
    FAIL = "fail"
    NONE = "none"
    """Nobody has sealed the message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArcSeal:
    """A host that has sealed the message, and what it found when the message came to it."""

    instance: int
    """Its number, from 1."""
    domain: str
    """Who sealed, in small letters."""
    selector: str
    authserv_id: str = ""
    """In whose name it tells what it found; empty if that cannot be read."""
    results: tuple[MethodResult, ...] = ()
    """What it found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArcResult(CheckResult):
    """NOT_FOUND if the chain holds, FOUND if not, NOT_APPLICABLE if there is none.

    UNKNOWN if a key could not be had: the word is "fail" then, for to ARC every failure is final.
    """

    word: ArcWord = ArcWord.FAIL
    seals: tuple[ArcSeal, ...] = ()
    """The hosts, from the first; those of a broken chain too, as far as it can be read."""
    oldest_pass: int = 0
    """The first set whose signature of the message still holds; 0 if all do: nothing was changed since the first."""
    reason: str = ""
    """Why the chain does not hold."""

    @property
    def domains(self) -> tuple[str, ...]:
        """Who has sealed a chain that holds, the first first."""
        return tuple(one.domain for one in self.seals) if self.word is ArcWord.PASS else ()

    def vouches(self, author: str, sealers: Collection[str]) -> bool:
        """Whether hosts of these domains, which are trusted, have sealed the message, no others, and the first of them
        found that DMARC passes for this author's domain."""
        if not self.domains or not {*self.domains} <= {one.lower() for one in sealers}:
            return False
        return any(
            one.method == "dmarc"
            and one.result == "pass"
            and {author.lower()} == {value.lower() for name, value in one.properties if name == "header.from"}
            for one in self.seals[0].results
        )

    def authentication_results(self, envelope: Envelope) -> list[MethodResult]:
        """One for the chain, as RFC 8617, section 6, has it."""
        if self.word is not ArcWord.PASS:
            return [MethodResult(method="arc", result=self.word, reason=self.reason)]
        sealed = f"i={len(self.seals)} by {self.seals[-1].domain}"
        about = (("smtp.remote-ip", envelope.connecting_ip), ("header.oldest-pass", str(self.oldest_pass)))
        return [MethodResult(method="arc", result=self.word, comment=sealed, properties=about)]

    def as_record(self) -> dict[str, Any]:
        """With one object for each host."""
        told = CheckResult.as_record(self)
        if self.seals:
            told["seals"] = [
                {
                    "instance": one.instance,
                    "domain": one.domain,
                    "selector": one.selector,
                    "results": [f"{found.method}={found.result}" for found in one.results],
                }
                for one in self.seals
            ]
        return told
