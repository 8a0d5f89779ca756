# SPDX-License-Identifier: GPL-3.0-or-later
"""`TlsaRecord`: which certificate or key a host is known by (RFC 6698), and which records count for mail (RFC 7672).

Pure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from defang_worker.checks.tls.certificate import Malformed, public_key_info

__all__ = ["DANE_EE", "DANE_TA", "TlsaRecord", "usable_records"]

DANE_TA: Final = 2
"""Usage: a certificate authority of the host's."""
DANE_EE: Final = 3
"""Usage: the host's own certificate."""
_FULL: Final = 0
_WHOLE_CERTIFICATE: Final = 0
_PUBLIC_KEY: Final = 1
# Matching types by strength, the strongest first: RFC 7671, section 9.
_DIGESTS: Final[dict[int, tuple[Callable[[bytes], Any], int]]] = {2: (hashlib.sha512, 64), 1: (hashlib.sha256, 32)}
# A host has one to a few; more would only have keys compared for nothing.
_MAX_RECORDS: Final = 20


@dataclass(frozen=True, slots=True)
class TlsaRecord:
    """The four fields of a TLSA record: `3 1 1` and a digest is usual."""

    usage: int
    selector: int
    matching_type: int
    data: bytes

    def __str__(self) -> str:
        shown = self.data.hex()
        return f"{self.usage} {self.selector} {self.matching_type} {shown[:64]}{'...' if len(shown) > 64 else ''}"

    @property
    def is_usable(self) -> bool:
        """Whether it can tell a mail server: those with public authorities cannot (RFC 7672, section 3.1.3)."""
        if self.usage not in (DANE_TA, DANE_EE) or self.selector not in (_WHOLE_CERTIFICATE, _PUBLIC_KEY):
            return False
        if self.matching_type == _FULL:
            return bool(self.data)
        return self.matching_type in _DIGESTS and len(self.data) == _DIGESTS[self.matching_type][1]

    def matches(self, certificate: bytes) -> bool:
        """Whether it is this certificate (DER), or one with this key; not whether that is enough."""
        try:
            chosen = public_key_info(certificate) if self.selector == _PUBLIC_KEY else certificate
        except Malformed:
            return False
        if self.matching_type != _FULL:
            if self.matching_type not in _DIGESTS:
                return False
            chosen = _DIGESTS[self.matching_type][0](chosen).digest()
        return bool(self.data) and chosen == self.data

    @property
    def certificate(self) -> bytes | None:
        """The certificate itself, if it is in the record."""
        return self.data if (self.selector, self.matching_type) == (_WHOLE_CERTIFICATE, _FULL) else None


def usable_records(records: Sequence[TlsaRecord]) -> tuple[TlsaRecord, ...]:
    """Those that count: of digests for the same purpose only the strongest (RFC 7671, section 9)."""
    usable = [record for record in dict.fromkeys(records) if record.is_usable][:_MAX_RECORDS]
    strongest: dict[tuple[int, int], int] = {}
    for record in usable:
        if record.matching_type != _FULL:
            kind = record.usage, record.selector
            strongest[kind] = max(record.matching_type, strongest.get(kind, 0))
    return tuple(
        record
        for record in usable
        if record.matching_type == _FULL or record.matching_type == strongest[record.usage, record.selector]
    )
