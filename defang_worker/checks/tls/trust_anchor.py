# SPDX-License-Identifier: GPL-3.0-or-later
"""`anchor_of`: does a chain of certificates lead to an authority that a TLSA record names (RFC 7671, section 5.2)?

The package `cryptography` reads certificates and verifies signatures. Public authorities have no part in it. Pure.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

try:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID
except ImportError as missing:  # pragma: no cover  # the tests have it
    raise ImportError(
        f"DANE with an authority needs a package that is not there ({missing}): make install EXTRAS=dane"
    ) from missing

from defang_worker.checks.tls.names import matches

if TYPE_CHECKING:
    from defang_worker.checks.tls.tlsa import TlsaRecord

__all__ = ["Untrusted", "anchor_of"]

# A chain has two to four; the server is not to have us verify hundreds.
_MAX_CERTIFICATES: Final = 10
# What is looked at below. Any other extension that is critical must not be passed over: RFC 5280, section 4.2.
_KNOWN_EXTENSIONS: Final = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
    }
)
# What `cryptography` raises for certificates that are malformed, or of a kind that it does not know.
_FAULTS: Final = (
    *(ValueError, TypeError, UnsupportedAlgorithm),
    *(x509.InvalidVersion, x509.DuplicateExtension, x509.UnsupportedGeneralNameType),
)


class Untrusted(Exception):
    """Why the chain leads to no authority that counts, or does not speak for the host."""


def anchor_of(chain: Sequence[bytes], anchors: Sequence[TlsaRecord], *, names: Sequence[str], now: float) -> TlsaRecord:
    """The record of the authority that the chain leads to; raises Untrusted."""
    in_records = [record.certificate for record in anchors if record.certificate is not None]
    moment = dt.datetime.fromtimestamp(now, dt.UTC)
    try:
        own = x509.load_der_x509_certificate(chain[0])
        others = [(der, x509.load_der_x509_certificate(der)) for der in (*chain[1:_MAX_CERTIFICATES], *in_records)]
        _require_current(own, moment)
        _require_server(own, names)
        return _climbed(own, others, anchors, moment)
    except _FAULTS as fault:
        raise Untrusted(f"a malformed certificate: {type(fault).__name__}") from fault


def _climbed(
    own: x509.Certificate,
    others: Sequence[tuple[bytes, x509.Certificate]],
    anchors: Sequence[TlsaRecord],
    moment: dt.datetime,
) -> TlsaRecord:
    """From the server's certificate from issuer to issuer, up to the first that a record names."""
    below, depth = own, 0
    left = list(others)
    while issuer := next((one for one in left if _has_issued(one[1], below)), None):
        left.remove(issuer)
        _require_current(issuer[1], moment)
        _require_authority(issuer[1], depth)
        for record in anchors:
            if record.matches(issuer[0]):
                return record
        below, depth = issuer[1], depth + 1
    raise Untrusted("no authority of the chain is in a TLSA record")


def _has_issued(issuer: x509.Certificate, subject: x509.Certificate) -> bool:
    if issuer.subject != subject.issuer:
        return False
    try:
        subject.verify_directly_issued_by(issuer)
    except (InvalidSignature, *_FAULTS):
        return False
    return True


def _require_current(certificate: x509.Certificate, moment: dt.datetime) -> None:
    if not certificate.not_valid_before_utc <= moment <= certificate.not_valid_after_utc:
        raise Untrusted("a certificate has expired, or is not yet valid")


def _require_authority(certificate: x509.Certificate, depth: int) -> None:
    """That it may issue certificates, with so many authorities below it."""
    extensions = _extensions(certificate)
    constraints = extensions.get(ExtensionOID.BASIC_CONSTRAINTS)
    if not isinstance(constraints, x509.BasicConstraints) or not constraints.ca:
        raise Untrusted("a certificate was issued by what is no authority")
    if constraints.path_length is not None and depth > constraints.path_length:
        raise Untrusted("there are more authorities than one of them allows")
    usage = extensions.get(ExtensionOID.KEY_USAGE)
    if isinstance(usage, x509.KeyUsage) and not usage.key_cert_sign:
        raise Untrusted("a certificate was issued by a key that may not")


def _require_server(certificate: x509.Certificate, names: Sequence[str]) -> None:
    """That it is for a server of one of these names; the common name counts if it has no other (RFC 7672, 3.2.3)."""
    extensions = _extensions(certificate)
    usage = extensions.get(ExtensionOID.EXTENDED_KEY_USAGE)
    allowed = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
    if isinstance(usage, x509.ExtendedKeyUsage) and not allowed & set(usage):
        raise Untrusted("the certificate is not for servers")
    alternative = extensions.get(ExtensionOID.SUBJECT_ALTERNATIVE_NAME)
    known: list[str] = []
    if isinstance(alternative, x509.SubjectAlternativeName):
        known = alternative.get_values_for_type(x509.DNSName)
    if not known:
        known = [str(one.value) for one in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if not any(matches(pattern, name) for pattern in known for name in names):
        raise Untrusted(f"the certificate is for {', '.join(known)[:200] or 'nobody'}")


def _extensions(certificate: x509.Certificate) -> dict[x509.ObjectIdentifier, x509.ExtensionType]:
    """All of them by kind; raises Untrusted for one that must not be passed over."""
    for one in certificate.extensions:
        if one.critical and one.oid not in _KNOWN_EXTENSIONS:
            raise Untrusted(f"a certificate has a condition that is not known here: {one.oid.dotted_string}")
    return {one.oid: one.value for one in certificate.extensions}
