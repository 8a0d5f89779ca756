# SPDX-License-Identifier: GPL-3.0-or-later
"""`verified`: is the certificate that a mail server shows one that its TLSA records tell (RFC 7672, section 3)? Pure.

For whoever talks to the server: `certificate.peer_chain` gives what it showed, `dane_hosts` the records.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from defang_worker.checks.tls.tlsa import DANE_EE, DANE_TA, TlsaRecord, usable_records

__all__ = ["Verification", "verified"]


@dataclass(frozen=True, slots=True)
class Verification:
    """Whether the server is the one that is meant, and why, or why not."""

    is_verified: bool
    reason: str

    def __bool__(self) -> bool:
        return self.is_verified


def verified(
    records: Sequence[TlsaRecord], chain: Sequence[bytes], *, names: Sequence[str], now: float | None = None
) -> Verification:
    """Compares certificates (DER, the server's own first) with records that the DNS vouches for.

    `names` are those that a certificate by an authority of the host's may have: that of the TLSA records, and the mail
    domain. Of the server's own certificate neither names nor dates count, for the record names just this one. `now` is
    in seconds since the epoch. Raises ImportError if there is such an authority, and the package for it is missing.
    """
    usable = usable_records(records)
    if not usable:
        return Verification(False, "no usable TLSA record")
    if not chain:
        return Verification(False, "no certificate")
    for record in usable:
        if record.usage == DANE_EE and record.matches(chain[0]):
            return Verification(True, f"TLSA {record}")
    anchors = [record for record in usable if record.usage == DANE_TA]
    if not anchors:
        return Verification(False, "no TLSA record matches the certificate")
    # It takes a package that is large, and few domains name an authority.
    from defang_worker.checks.tls.trust_anchor import Untrusted, anchor_of  # noqa: PLC0415

    try:
        record = anchor_of(chain, anchors, names=names, now=time.time() if now is None else now)
    except Untrusted as fault:
        return Verification(False, str(fault))
    return Verification(True, f"TLSA {record}")
