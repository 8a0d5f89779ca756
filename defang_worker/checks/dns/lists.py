# SPDX-License-Identifier: GPL-3.0-or-later
"""`DnsList`, `DomainList`, `EmailList`: is the client, a domain, a mail address on a list in the DNS?

Blocklists and allowlists are the same to them: what a listing means is the filter's affair. All questions of a check
are under way at once.
"""

from __future__ import annotations

import ipaddress
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from defang_worker.checks import subject as facts
from defang_worker.checks.dns.answer import Question
from defang_worker.checks.dns.check import DnsCheck
from defang_worker.checks.dns.list_names import Encoding, Hash, hashed, normalized, reversed_address
from defang_worker.checks.dns.listing import Listing, ListingResult, Zone
from defang_worker.checks.faults import CouldNotTell
from defang_worker.checks.outcome import Outcome

if TYPE_CHECKING:
    from defang_worker.checks.budget import Deadline
    from defang_worker.checks.check import Job

__all__ = ["DnsList", "DomainList", "EmailList"]

_About = Callable[[Any], str | Iterable[str]]

# A message may name thousands of domains; who sends it is not to make this host ask about all of them.
_MAX_QUESTIONS: Final = 200


class _List(DnsCheck[Any, ListingResult]):
    """What the three have in common: zones, what is looked up, and when that is enough."""

    result_type = ListingResult

    def __init__(
        self,
        zones: str | Zone | Sequence[str | Zone],
        *,
        name: str,
        about: _About,
        stop_after: int = 0,
        **more: Any,
    ) -> None:
        super().__init__(name, **more)
        given = [zones] if isinstance(zones, str | Zone) else zones
        self.zones: Final = tuple(zone if isinstance(zone, Zone) else Zone(zone) for zone in given)
        if not self.zones:
            raise ValueError(f"{name}: a check of lists needs one")
        if stop_after < 0:
            raise ValueError(f"{name}: stop_after is a number of listings, 0 for all, not {stop_after}")
        self.about = about
        self.stop_after = stop_after

    @abstractmethod
    def _label(self, value: str) -> str | None:
        """Under which name a list has a value; None for a value that can be on none."""

    def prepare(self, subject: Any) -> Job[ListingResult] | ListingResult:
        """Takes from the subject what is to be looked up."""
        given = self.about(subject)
        values = dict.fromkeys([given] if isinstance(given, str) else given)
        labels = {value: label for value in values if value and (label := self._label(value))}
        if not labels:
            return self.result(Outcome.NOT_APPLICABLE, "nothing to look up")  # type: ignore[no-any-return]
        asked = {
            Question(f"{label}.{zone.name}"): (value, zone) for value, label in labels.items() for zone in self.zones
        }
        if len(asked) > _MAX_QUESTIONS:
            return self.unknown(f"{len(asked)} questions are more than {_MAX_QUESTIONS}")  # type: ignore[no-any-return]
        return lambda deadline: self._looked_up(asked, deadline)

    def _looked_up(self, asked: dict[Question, tuple[str, Zone]], deadline: Deadline) -> ListingResult:
        found: dict[Question, Listing] = {}
        faults: dict[str, str] = {}
        for question, answer in self.resolver.answers(asked, deadline):
            value, zone = asked[question]
            try:
                codes = zone.codes_in(answer)
            except CouldNotTell as fault:
                faults.setdefault(zone.name, str(fault))
                continue
            if codes:
                found[question] = Listing(value=value, zone=zone.name, codes=codes)
                if len(found) == self.stop_after:
                    break
        listings = tuple(found[question] for question in asked if question in found)
        return self._told(listings, faults)

    def _told(self, listings: tuple[Listing, ...], faults: dict[str, str]) -> ListingResult:
        if listings:
            outcome = Outcome.FOUND
            told = [f"{one.value} on {one.zone} ({', '.join(one.codes)})" for one in listings]
        else:
            outcome = Outcome.UNKNOWN if faults else Outcome.NOT_FOUND
            told = [f"{zone}: {reason}" for zone, reason in faults.items()]
        return self.result(  # type: ignore[no-any-return]  # of this check's own type
            outcome, "; ".join(told), listings=listings, could_not_tell=tuple(faults)
        )


class DnsList(_List):
    """Is the client's address on one of these lists (DNSBL, DNSWL)? IPv4 and IPv6.

    `zones` are names, or `Zone`s, which tell which answers count. `about` gives other addresses of the subject, one or
    several. With `stop_after` it waits for no more than so many listings.
    """

    def __init__(
        self,
        zones: str | Zone | Sequence[str | Zone],
        *,
        name: str = "dns-list",
        about: _About = facts.client_ip,
        **more: Any,
    ) -> None:
        super().__init__(zones, name=name, about=about, **more)

    def _label(self, value: str) -> str | None:
        try:
            return reversed_address(value)
        except ValueError:
            return None


class DomainList(_List):
    """Is the envelope sender's domain on one of these lists? `about` gives other domains; the rest is as above."""

    def __init__(
        self,
        zones: str | Zone | Sequence[str | Zone],
        *,
        name: str = "domain-list",
        about: _About = facts.sender_domain,
        **more: Any,
    ) -> None:
        super().__init__(zones, name=name, about=about, **more)

    def _label(self, value: str) -> str | None:
        # Lists of domains answer a question about an address with an error.
        domain = value.lower().strip(".")
        try:
            ipaddress.ip_address(domain.removeprefix("[").removesuffix("]").removeprefix("ipv6:"))
        except ValueError:
            return domain or None
        return None


class EmailList(_List):
    """Is the hash of the envelope sender's address on one of these lists? `about` gives other mail addresses.

    `algorithm` ("md5", "sha1", "sha256"), `encoding` ("hex", or "base32" as SHA-256 always is) and `normalize` (small
    letters, no +tag, Gmail without dots) are as the list wants them.
    """

    def __init__(
        self,
        zones: str | Zone | Sequence[str | Zone],
        *,
        name: str = "email-list",
        about: _About = facts.sender,
        algorithm: Hash = "sha1",
        encoding: Encoding | None = None,
        normalize: bool = True,
        **more: Any,
    ) -> None:
        super().__init__(zones, name=name, about=about, **more)
        # A label of a domain name has 63 characters, and SHA-256 64 digits.
        encoding = encoding or ("base32" if algorithm == "sha256" else "hex")
        encodings = {"md5": ("hex", "base32"), "sha1": ("hex", "base32"), "sha256": ("base32",)}
        if encoding not in encodings.get(algorithm, ()):
            raise ValueError(f"{name}: no list has {algorithm} in {encoding}")
        self.algorithm: Hash = algorithm
        self.encoding: Encoding = encoding
        self.normalize = normalize

    def _label(self, value: str) -> str | None:
        if "@" not in value:
            return None
        return hashed(normalized(value) if self.normalize else value, self.algorithm, self.encoding)
