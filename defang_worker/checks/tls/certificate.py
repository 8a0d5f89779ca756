# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a certificate can be had without a package: its public key, as it stands there (SubjectPublicKeyInfo). Pure.

Also `peer_chain`: the certificates that the other end of a connection has shown.
"""

from __future__ import annotations

import ssl
from typing import Any, Final

__all__ = ["Malformed", "peer_chain", "public_key_info"]

_SEQUENCE: Final = 0x30
_VERSION: Final = 0xA0
# RFC 5280, section 4.1, behind the version: serial number, signature algorithm, issuer, validity, subject.
_FIELDS_BEFORE_THE_KEY: Final = 5
# In Python 3.11 and 3.12 the chain can be had of the inner object alone, in this form.
_DER: Final = 2


class Malformed(ValueError):
    """What should be a certificate is none."""


def public_key_info(certificate: bytes) -> bytes:
    """The SubjectPublicKeyInfo of a certificate (both in DER), byte for byte; raises Malformed."""
    start, end = _content(certificate, 0, len(certificate), _SEQUENCE)
    start, end = _content(certificate, start, end, _SEQUENCE)
    if start < end and certificate[start] == _VERSION:
        _, start = _content(certificate, start, end)
    for _ in range(_FIELDS_BEFORE_THE_KEY):
        _, start = _content(certificate, start, end)
    _, key_end = _content(certificate, start, end, _SEQUENCE)
    return certificate[start:key_end]


def _content(text: bytes, at: int, limit: int, tag: int | None = None) -> tuple[int, int]:
    """Where the content of the element that begins there begins and ends; raises Malformed."""
    if at + 2 > limit or (tag is not None and text[at] != tag):
        raise Malformed("no certificate")
    length, start = text[at + 1], at + 2
    if length >= 0x80:
        # A certificate is shorter than 16 MB, and DER has no indefinite length.
        size = length & 0x7F
        if not 1 <= size <= 3 or start + size > limit:
            raise Malformed("no certificate")
        length, start = int.from_bytes(text[start : start + size]), start + size
    if start + length > limit:
        raise Malformed("no certificate")
    return start, start + length


def peer_chain(connected: ssl.SSLSocket) -> list[bytes]:
    """What the other end has shown, in DER, its own certificate first; verified by nobody yet."""
    own: Any = connected
    if hasattr(own, "get_unverified_chain"):  # from Python 3.13 on
        return list(own.get_unverified_chain())
    inner = getattr(own, "_sslobj", None)
    return [one.public_bytes(_DER) for one in inner.get_unverified_chain() or ()] if inner is not None else []
