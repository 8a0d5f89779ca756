# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates as a test wants them: an authority of its own, those below it, and those of servers."""

from __future__ import annotations

import datetime as dt
import ssl
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NOW = dt.datetime.now(dt.UTC).replace(microsecond=0)
DAY = dt.timedelta(days=1)


class Certificate:
    """A certificate and its key, and the ones that it was issued by."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey, issuer: Certificate | None):
        self.x509 = certificate
        self.key = key
        self.issuer = issuer

    @property
    def der(self) -> bytes:
        return self.x509.public_bytes(Encoding.DER)

    @property
    def pem(self) -> bytes:
        return self.x509.public_bytes(Encoding.PEM)

    @property
    def spki(self) -> bytes:
        return self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    @property
    def chain(self) -> list[bytes]:
        """Itself and its issuers, up to the root."""
        return [self.der, *(self.issuer.chain if self.issuer else [])]

    def issue(self, *names: str, **more: Any) -> Certificate:
        """A certificate that this one signs; the arguments are those of `made`."""
        return made(*names, issuer=self, **more)

    def server_context(self, directory: Path) -> ssl.SSLContext:
        """For a server that shows it, and its issuers but the root."""
        path = directory / f"{self.x509.serial_number}.pem"
        key = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        shown = [self.pem]
        above = self.issuer
        while above is not None and above.issuer is not None:
            shown.append(above.pem)
            above = above.issuer
        path.write_bytes(key + b"".join(shown))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context


def made(
    name: str,
    *names: str,
    issuer: Certificate | None = None,
    is_authority: bool = False,
    path_length: int | None = None,
    may_sign: bool = True,
    days: tuple[int, int] = (-1, 30),
    usage: x509.ObjectIdentifier | None = ExtendedKeyUsageOID.SERVER_AUTH,
    extra: x509.ExtensionType | None = None,
) -> Certificate:
    """A certificate of that common name, for the DNS names `names`, signed by `issuer` or itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.x509.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + days[0] * DAY)
        .not_valid_after(NOW + days[1] * DAY)
    )
    if is_authority:
        usages = dict.fromkeys(("content_commitment", "key_encipherment", "data_encipherment"), False)
        usages |= dict.fromkeys(("key_agreement", "encipher_only", "decipher_only", "digital_signature"), False)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        builder = builder.add_extension(x509.KeyUsage(key_cert_sign=may_sign, crl_sign=True, **usages), critical=True)
    elif usage is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    if names:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([x509.DNSName(one) for one in names]), critical=False
        )
    if extra is not None:
        builder = builder.add_extension(extra, critical=True)
    signed = builder.sign(issuer.key if issuer else key, hashes.SHA256())
    return Certificate(signed, key, issuer)


def authority(name: str = "Test authority", **more: Any) -> Certificate:
    """A root."""
    return made(name, is_authority=True, **more)
