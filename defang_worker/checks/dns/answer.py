# SPDX-License-Identifier: GPL-3.0-or-later
"""`Question` and `Answer`: what a resolver is asked, and what it has to say, with "no" and "cannot tell" kept apart.

Pure. `interpret` makes an answer of a nameserver's response; whether the response is one to the question, the exchange
has seen to.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

try:
    import dns.exception
    import dns.flags
    import dns.name
    import dns.rcode
    import dns.rdatatype
    import dns.ttl
except ImportError as missing:  # pragma: no cover  # the tests have it
    raise ImportError(f"DNS checks need a package that is not there ({missing}): make install EXTRAS=dns") from missing

if TYPE_CHECKING:
    from dns.message import QueryMessage

__all__ = ["Answer", "BadResponse", "Question", "Status", "interpret"]

# RFC 2308, section 5, has a denial kept three hours at most; mail wants to see a new record sooner.
_MAX_NEGATIVE_TTL_S: Final = 900


class Status(StrEnum):
    """What an answer says."""

    FOUND = "found"
    NO_NAME = "no-such-name"
    """The name does not exist, nor any below it."""
    NO_DATA = "no-data"
    """The name exists, without records of this type."""
    UNKNOWN = "could-not-tell"
    """No usable answer: it may be tried again later."""


@dataclass(frozen=True, slots=True)
class Question:
    """A name and a record type such as "TXT"; the same name in other letters is the same question."""

    name: str
    type: str = "A"

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.name.lower().removesuffix("."))

    def __str__(self) -> str:
        return f"{self.name} {self.type}"

    @property
    def dns_name(self) -> dns.name.Name:
        """The name for the wire, without a search list; raises ValueError if it can be none."""
        # Names come from strangers: a backslash is a character of theirs, not the escape of a master file.
        escaped = self.name.replace("\\", "\\\\")
        try:
            return dns.name.from_text(escaped, origin=dns.name.root)
        except (dns.exception.DNSException, UnicodeError) as fault:
            raise ValueError(f"no domain name: {self.name!r:.100}") from fault


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What was found, or that there is nothing, or why nothing can be told."""

    status: Status
    records: tuple[Any, ...] = ()
    """The records' data, as dnspython's `Rdata`."""
    ttl_s: int = 0
    """How long it holds, in seconds, by its records."""
    is_authentic: bool = False
    """Whether it holds by DNSSEC, as a nameserver says (AD) that is trusted (`Resolver.is_trusted`)."""
    size_bytes: int = 0
    """How long the nameserver's response was."""
    canonical_name: str = ""
    """The name that has the records, where aliases (CNAME) led there; without the final dot."""
    reason: str = ""
    """Why nothing can be told."""

    @property
    def is_found(self) -> bool:
        """Whether there are records."""
        return self.status is Status.FOUND

    @property
    def is_unknown(self) -> bool:
        """Whether nothing can be told."""
        return self.status is Status.UNKNOWN

    @property
    def texts(self) -> tuple[bytes, ...]:
        """Of TXT records: each one's strings joined, as SPF, DKIM and DMARC want them."""
        return tuple(b"".join(record.strings) for record in self.records)

    @property
    def addresses(self) -> tuple[str, ...]:
        """Of A and AAAA records: the addresses as text."""
        return tuple(record.address for record in self.records)

    @classmethod
    def unknown(cls, reason: str) -> Answer:
        """That nothing can be told, and why."""
        return cls(status=Status.UNKNOWN, reason=reason)


class BadResponse(Exception):
    """A response that tells nothing: another nameserver may know more."""


def interpret(response: QueryMessage) -> Answer:
    """The answer in a response; raises BadResponse for errors, and for what is no answer."""
    rcode = response.rcode()
    if rcode not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        raise BadResponse(dns.rcode.to_text(rcode))
    try:
        chain = response.resolve_chaining()
    except dns.exception.DNSException as fault:
        raise BadResponse(f"an answer that is none: {fault}") from fault
    is_authentic, size_bytes = bool(response.flags & dns.flags.AD), len(response.wire or b"")
    canonical = chain.canonical_name.to_text(omit_final_dot=True).lower()
    if chain.answer is not None:
        records = tuple(chain.answer)
        ttl_s = chain.minimum_ttl
        return Answer(
            status=Status.FOUND,
            records=records,
            ttl_s=ttl_s,
            is_authentic=is_authentic,
            size_bytes=size_bytes,
            canonical_name=canonical,
        )
    status = Status.NO_NAME if rcode == dns.rcode.NXDOMAIN else Status.NO_DATA
    # Without an SOA record a denial is not to be kept at all: RFC 2308, section 5.
    ttl_s = 0 if chain.minimum_ttl == dns.ttl.MAX_TTL else min(chain.minimum_ttl, _MAX_NEGATIVE_TTL_S)
    return Answer(status=status, ttl_s=ttl_s, is_authentic=is_authentic, canonical_name=canonical)
