# SPDX-License-Identifier: GPL-3.0-or-later
"""`PolicyHost`: fetches a domain's MTA-STS policy by HTTPS, where the certificate has to be valid (RFC 8461, 3.3).

Where the policy is, the domain's owner says, who may be anybody: nothing is read from addresses within the site, no
redirect is followed, and time and size are bounded.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Final

from defang_worker.checks.dns.answer import Question
from defang_worker.checks.dns.public_address import is_public
from defang_worker.checks.faults import CouldNotTell, ServiceFault
from defang_worker.checks.http import exchange
from defang_worker.checks.stream import Stream
from defang_worker.checks.tls.sts_policy import MalformedPolicy, StsPolicy

if TYPE_CHECKING:
    from defang_worker.checks.budget import Deadline
    from defang_worker.checks.dns.resolver import Resolver
    from defang_worker.checks.http import Answer

__all__ = ["NoPolicy", "PolicyHost"]

_PATH: Final = "/.well-known/mta-sts.txt"
# Section 3.3 names this as a limit.
_MAX_BYTES: Final = 64 * 1024
# More have no use, and whoever owns the name is not to have us try hundreds.
_MAX_ADDRESSES: Final = 4
_OK: Final = 200
# Those which say that it may be another time: RFC 9110, section 15, RFC 6585, section 4.
_FOR_NOW: Final = frozenset({408, 425, 429})
_SERVER_ERROR: Final = 500


class NoPolicy(Exception):
    """The domain's own host says that there is no policy, or what it has is none."""


class PolicyHost:
    """Fetches from port `port` of `mta-sts.` and the domain.

    `ca_file` has the authorities that count, in PEM, instead of this host's own; with `allow_private`, addresses that
    are not of the public Internet are asked, too.
    """

    def __init__(self, *, ca_file: str | None = None, port: int = 443, allow_private: bool = False) -> None:
        self._ca_file = ca_file
        self._port = port
        self._allow_private = allow_private
        self._context: ssl.SSLContext | None = None

    def fetch(self, domain: str, resolver: Resolver, deadline: Deadline) -> tuple[StsPolicy, bytes]:
        """The policy and its text; raises NoPolicy, or CouldNotTell or OSError if it cannot be had now."""
        answer = self._answer(f"mta-sts.{domain}", resolver, deadline)
        if answer.status >= _SERVER_ERROR or answer.status in _FOR_NOW:
            raise ServiceFault(f"HTTP {answer.status}")
        if answer.status != _OK:
            raise NoPolicy(f"HTTP {answer.status}")
        if not answer.has_end:
            raise ServiceFault("an answer without an end")
        if answer.content_type != "text/plain":
            raise NoPolicy(f"not text/plain but {answer.content_type!r:.100}")
        try:
            return StsPolicy.of(answer.body), answer.body
        except MalformedPolicy as fault:
            raise NoPolicy(f"a malformed policy: {fault}") from fault

    def _answer(self, host: str, resolver: Resolver, deadline: Deadline) -> Answer:
        """What the first address says that can be reached."""
        reasons = []
        addresses = self._addresses(host, resolver, deadline)
        for left, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
            try:
                return self._asked(host, address, deadline.sooner(deadline.left_s() / left))
            except (CouldNotTell, OSError) as fault:  # a TimeoutError is an OSError
                reasons.append(f"{address}: {str(fault) or type(fault).__name__}")
        raise ServiceFault("; ".join(reasons))

    def _addresses(self, host: str, resolver: Resolver, deadline: Deadline) -> list[str]:
        answers = resolver.ask_all([Question(host, "A"), Question(host, "AAAA")], deadline)
        addresses = [address for answer in answers if answer.is_found for address in answer.addresses]
        if not addresses:
            if unknown := [answer.reason for answer in answers if answer.is_unknown]:
                raise CouldNotTell(f"addresses of {host}: {unknown[0]}")
            raise NoPolicy(f"{host} has no address")
        wanted = [one for one in addresses if self._allow_private or is_public(one)]
        if not wanted:
            raise NoPolicy(f"{host} is not of the public Internet: {addresses[0]}")
        return wanted[:_MAX_ADDRESSES]

    def _asked(self, host: str, address: str, deadline: Deadline) -> Answer:
        place = f"[{address}]:{self._port}" if ":" in address else f"{address}:{self._port}"
        stream = Stream.connect(place, deadline)
        with stream:
            stream.start_tls(self._tls(), host)
            return exchange(stream, "GET", _PATH, host=host, at_most=_MAX_BYTES)

    def _tls(self) -> ssl.SSLContext:
        """Made when first needed: to read all authorities takes some time and memory."""
        if self._context is None:
            context = ssl.create_default_context(cafile=self._ca_file)
            # Section 3.3: the name has to be a DNS-ID.
            context.hostname_checks_common_name = False
            self._context = context
        return self._context
