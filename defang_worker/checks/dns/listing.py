# SPDX-License-Identifier: GPL-3.0-or-later
"""`Zone`, a list in the DNS and what its answers mean; `Listing` and `ListingResult`. Pure.

RFC 5782: a list answers with addresses of 127.0.0.0/8, each a code or a set of bits, and not at all for what is not on
it. Several tell by 127.255.255.x that they were asked wrongly: too often, or through a public resolver.
"""

from __future__ import annotations

import ipaddress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from defang_worker.checks.dns.answer import Status
from defang_worker.checks.faults import CouldNotTell
from defang_worker.checks.outcome import CheckResult

if TYPE_CHECKING:
    from defang_worker.checks.dns.answer import Answer

__all__ = ["Listing", "ListingResult", "Zone"]

_CODES: Final = ipaddress.ip_network("127.0.0.0/8")
_ERRORS: Final = ipaddress.ip_network("127.255.255.0/24")


@dataclass(frozen=True, slots=True)
class Zone:
    """A list: the domain that it lives under, and which of its answers count.

    `codes` are addresses or networks such as "127.0.0.2" or "127.0.0.8/30"; without any, all count. With `mask` an
    answer counts if its last number has one of these bits.
    """

    name: str
    codes: tuple[str, ...] = ()
    mask: int = 0

    def __post_init__(self) -> None:
        if not self.name.strip("."):
            raise ValueError("a list in the DNS needs a name")
        if not 0 <= self.mask <= 255:
            raise ValueError(f"{self.name}: the mask is for the last number, 0 to 255, not {self.mask}")
        for code in self.codes:
            if ipaddress.IPv4Network(code).network_address not in _CODES:
                raise ValueError(f"{self.name}: a list's answers are of 127.0.0.0/8, not {code}")

    def codes_in(self, answer: Answer) -> tuple[str, ...]:
        """Those of an answer's codes that count, sorted; raises CouldNotTell if it is none, or tells of an error."""
        if answer.is_unknown:
            raise CouldNotTell(answer.reason)
        if answer.status is not Status.FOUND:
            return ()
        codes = sorted(ipaddress.IPv4Address(text) for text in answer.addresses)
        for code in codes:
            # What else a name may point to is a domain that was given up, or a nameserver that invents answers.
            if code in _ERRORS or code not in _CODES:
                raise CouldNotTell(f"answered with the error {code}")
        return tuple(str(code) for code in codes if self._counts(code))

    def _counts(self, code: ipaddress.IPv4Address) -> bool:
        if self.codes and not any(code in ipaddress.IPv4Network(one) for one in self.codes):
            return False
        return not self.mask or bool(int(code) & self.mask)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """Something that is on a list."""

    value: str
    """The address, domain or mail address."""
    zone: str
    """The list's name."""
    codes: tuple[str, ...]
    """Its answers that count, such as 127.0.0.2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListingResult(CheckResult):
    """FOUND if anything is listed. Lists that were not waited for are in neither tuple."""

    listings: tuple[Listing, ...] = ()
    """What is on which list, in the order of the zones."""
    could_not_tell: tuple[str, ...] = ()
    """The lists that gave no usable answer."""

    @property
    def zones(self) -> tuple[str, ...]:
        """The names of the lists that have something."""
        return tuple(dict.fromkeys(listing.zone for listing in self.listings))

    def as_record(self) -> dict[str, Any]:
        """As every result has it, with each listing as an object."""
        told = CheckResult.as_record(self)
        return told | ({"listings": [asdict(one) for one in self.listings]} if self.listings else {})
