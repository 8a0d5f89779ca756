# SPDX-License-Identifier: GPL-3.0-or-later
"""DMARC's DNS, pure: policy records, the names of a tree walk, and what a walk found (RFC 9989, sections 4.7 and 4.10).

No list of public suffixes: where an organization begins is told by the records themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

__all__ = ["DmarcPolicy", "Record", "Walk", "names_of_walk"]

# RFC 9989, section 4.10: at most eight questions, so that nobody is asked for each of a hundred labels.
_MAX_QUESTIONS: Final = 8
_MAX_TAGS: Final = 64


class DmarcPolicy(StrEnum):
    """What a domain wants done about mail that fails."""

    NONE = "none"
    QUARANTINE = "quarantine"
    REJECT = "reject"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A DMARC policy record."""

    policy: DmarcPolicy = DmarcPolicy.NONE
    subdomain_policy: DmarcPolicy | None = None
    absent_policy: DmarcPolicy | None = None
    """For subdomains that do not exist (np=)."""
    is_spf_strict: bool = False
    is_dkim_strict: bool = False
    is_testing: bool = False
    """One step less than the policy is wanted (t=y)."""
    is_partial: bool = False
    """It is wanted for a share of the mail (pct=), says a record of RFC 7489; to RFC 9989 that means nothing."""
    psd: str = "u"
    """`y`: a public suffix, below which organizations are; `n`: an organization; `u`: not told."""

    @classmethod
    def of(cls, texts: Sequence[bytes]) -> Record | None:
        """The one record among the texts of a name; None if there is none, or more than one."""
        found = [tags for text in texts if (tags := _tags(text)) is not None]
        if len(found) != 1:
            return None
        (tags,) = found
        return cls(
            # Without p= nothing is asked for but reports; so it is with a word that is none.
            policy=_policy(tags.get("p")) or DmarcPolicy.NONE,
            subdomain_policy=_policy(tags.get("sp")),
            absent_policy=_policy(tags.get("np")),
            is_spf_strict=tags.get("aspf", "r") == "s",
            is_dkim_strict=tags.get("adkim", "r") == "s",
            is_testing=tags.get("t", "n") == "y",
            is_partial=tags.get("pct", "100") != "100",
            psd=tags.get("psd", "u"),
        )

    def policy_for(self, *, is_own: bool, exists: bool) -> DmarcPolicy:
        """The policy for the domain of the record itself, or for one below that exists or does not."""
        if is_own:
            return self.policy
        below = self.policy if self.subdomain_policy is None else self.subdomain_policy
        return below if exists or self.absent_policy is None else self.absent_policy


def _tags(text: bytes) -> dict[str, str] | None:
    """The tags of a record, the first of each name, in small letters; None if it is no DMARC record."""
    pieces = [piece.partition("=") for piece in text.decode("utf-8", "replace").split(";")[:_MAX_TAGS]]
    name, _, version = pieces[0]
    if name.strip().lower() != "v" or version.strip() != "DMARC1":
        return None
    return {name.strip().lower(): value.strip().lower() for name, _, value in reversed(pieces)}


def _policy(word: str | None) -> DmarcPolicy | None:
    if word is None:
        return None
    return DmarcPolicy(word) if word in {*DmarcPolicy} else DmarcPolicy.NONE


def names_of_walk(domain: str) -> list[str]:
    """The domains that are asked for a record, the first being this one."""
    labels = domain.split(".")
    if len(labels) >= _MAX_QUESTIONS:
        shorter = labels[-(_MAX_QUESTIONS - 1) :]
        return [domain, *(".".join(shorter[at:]) for at in range(len(shorter)))]
    return [".".join(labels[at:]) for at in range(len(labels))]


@dataclass(frozen=True, slots=True)
class Walk:
    """What was found on the way from a domain to the root: domains with their records, from the longest."""

    domain: str
    found: tuple[tuple[str, Record], ...]

    @classmethod
    def of(cls, domain: str, records: Sequence[tuple[str, Record | None]]) -> Walk:
        """Of the answers in the order of `names_of_walk`: what lies behind an end that is told does not count."""
        found: list[tuple[str, Record]] = []
        for name, record in records:
            if record is not None:
                found.append((name, record))
                if record.psd in ("y", "n"):
                    break
        return cls(domain, tuple(found))

    @property
    def organization(self) -> str:
        """The organizational domain."""
        for name, record in self.found:
            if record.psd == "n":
                return name
            if record.psd == "y" and name != self.domain:
                labels = self.domain.split(".")
                return ".".join(labels[-(name.count(".") + 2) :])
        return self.found[-1][0] if self.found else self.domain

    @property
    def policy(self) -> tuple[str, Record] | None:
        """The record that counts, and whose it is: the domain's own, its organization's, or the public suffix's."""
        by_name = dict(self.found)
        for name in (self.domain, self.organization):
            if name in by_name:
                return name, by_name[name]
        return self.found[-1] if self.found else None
