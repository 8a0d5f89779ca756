# SPDX-License-Identifier: GPL-3.0-or-later
"""`DkimSigner`: signs what the recipients will get, with one or several keys (RFC 6376, 8301, 8463).

dkimpy computes; which fields are signed, and how often, is said here. Keys are read once, when the filter is loaded.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from dataclasses import field as member
from pathlib import Path
from typing import TYPE_CHECKING, Final

try:
    import dkim
    import nacl.signing
    from dkim.crypto import UnparsableKeyError, parse_pem_private_key
except ImportError as missing:  # pragma: no cover  # the tests have it
    raise ImportError(f"DKIM needs a package that is not there ({missing}): make install EXTRAS=dkim") from missing

from defang_worker.checks.auth.made_signature import FORM, body_hash, made_signature, names_to_cover, time_tag
from defang_worker.checks.auth.signed_text import SignedText

if TYPE_CHECKING:
    from collections.abc import Sequence

    from defang_worker.api.message import Message

__all__ = ["DkimKey", "DkimSigner"]

DEFAULT_FIELDS: Final = (
    *("From", "Sender", "Reply-To", "To", "Cc", "Subject", "Date", "Message-ID", "In-Reply-To", "References"),
    *("MIME-Version", "Content-Type", "Content-Transfer-Encoding"),
    *("List-Id", "List-Help", "List-Unsubscribe", "List-Unsubscribe-Post", "List-Subscribe", "List-Post"),
)
"""What RFC 6376, section 5.4.1, recommends, and RFC 8058 demands."""
DEFAULT_OVERSIGNED: Final = (
    *("From", "Reply-To", "To", "Cc", "Subject", "Date", "Message-ID"),
    *("MIME-Version", "Content-Type", "Content-Transfer-Encoding"),
)
"""What nobody may add to a signed message: what is shown to people, and what says how the body is to be read."""
# RFC 8301, section 3.2.
_MIN_RSA_BITS: Final = 1024
_PEM: Final = re.compile(rb"-----BEGIN ([A-Z ]+)-----\n(.*?)\n-----END", re.DOTALL)
# PKCS#8 of an Ed25519 key, RFC 8410, section 7: this, and the 32 bytes of the seed.
_ED25519_PREFIX: Final = bytes.fromhex("302e020100300506032b657004220420")


@dataclass(frozen=True, slots=True)
class DkimKey:
    """A private key, RSA or Ed25519, and where the public one is published: `SELECTOR._domainkey.DOMAIN`.

    `secret` is PEM, as `openssl genrsa` and `openssl genpkey -algorithm ed25519` write it, or an Ed25519 seed in
    base64. Raises ValueError for what is no such key, or an RSA key of less than 1024 bits.
    """

    domain: str
    selector: str
    secret: bytes = member(repr=False)

    def __post_init__(self) -> None:
        text = self.secret.replace(b"\r\n", b"\n").strip() + b"\n"
        if seed := _ed25519_seed(text):
            object.__setattr__(self, "secret", base64.b64encode(seed))
            return
        object.__setattr__(self, "secret", text)
        try:
            bits = parse_pem_private_key(text)["modulus"].bit_length()
        except (UnparsableKeyError, ValueError, LookupError, TypeError) as fault:
            raise ValueError(f"no private key for {self.selector}._domainkey.{self.domain}") from fault
        if bits < _MIN_RSA_BITS:
            raise ValueError(f"the key for {self.selector}._domainkey.{self.domain} has {bits} bits, under 1024")

    @classmethod
    def from_file(cls, domain: str, selector: str, path: str) -> DkimKey:
        """The key in a file; raises OSError, too."""
        return cls(domain, selector, Path(path).read_bytes())

    @property
    def algorithm(self) -> str:
        """What it signs by: `rsa-sha256` or `ed25519-sha256`."""
        return "rsa-sha256" if self.secret.startswith(b"-") else "ed25519-sha256"

    @property
    def public_record(self) -> str:
        """What is to stand in the DNS, for an Ed25519 key; for RSA, `openssl rsa -pubout` tells."""
        if self.algorithm == "rsa-sha256":
            raise ValueError("the public half of an RSA key is told by openssl rsa -pubout")
        public = nacl.signing.SigningKey(base64.b64decode(self.secret)).verify_key
        return f"v=DKIM1; k=ed25519; p={base64.b64encode(bytes(public)).decode()}"


def _ed25519_seed(text: bytes) -> bytes:
    """The 32 bytes of such a key; empty if it is none."""
    pem = _PEM.search(text)
    try:
        data = base64.b64decode(b"".join((pem[2] if pem else text).split()), validate=True)
    except ValueError:
        return b""
    if pem:
        return data[len(_ED25519_PREFIX) :] if data.startswith(_ED25519_PREFIX) and len(data) == 48 else b""
    return data if len(data) == 32 else b""


class DkimSigner:
    """Signs messages, once with each key.

    All fields of the names in `fields` are signed (of a name that is there more than twenty times the lower ones), and
    of those in `oversigned` one more than there are, so that nobody can add any: RFC 6376, section 8.15. Raises
    ValueError for names that may not be signed.
    """

    def __init__(
        self,
        *keys: DkimKey,
        fields: Sequence[str] = DEFAULT_FIELDS,
        oversigned: Sequence[str] = DEFAULT_OVERSIGNED,
    ) -> None:
        if not keys:
            raise ValueError("a signer needs a key")
        self.keys: Final = keys
        names = dict.fromkeys(name.lower().encode("ascii") for name in ("From", *fields, *oversigned))
        if forbidden := names.keys() & {*dkim.DKIM.SHOULD_NOT}:
            raise ValueError(f"not to be signed: {b', '.join(sorted(forbidden)).decode()}")
        self._names: Final = tuple(names)
        self._oversigned: Final = {b"from", *(name.lower().encode("ascii") for name in oversigned)}

    def sign(self, message: Message) -> None:
        """Puts the signatures before the header; for `filter_wrapup`, when the filter has made all of its edits."""
        for value in self.signatures(message.as_delivered()):
            message.headers.insert("DKIM-Signature", value)

    def signatures(self, raw: bytes) -> list[str]:
        """The values of DKIM-Signature fields for a message, one for each key; raises ValueError if it has no From."""
        text = SignedText.of(raw)
        if not text.values(b"from"):
            raise ValueError("a message without From cannot be signed")
        names = names_to_cover(text, self._names, self._oversigned)
        return [_signature(key, text, names) for key in self.keys]


def _signature(key: DkimKey, text: SignedText, names: list[bytes]) -> str:
    domain = key.domain.encode("idna")
    tags = [
        (b"v", b"1"),
        (b"a", key.algorithm.encode("ascii")),
        (b"c", FORM),
        (b"d", domain),
        (b"i", b"@" + domain),
        (b"q", b"dns/txt"),
        (b"s", key.selector.encode("ascii")),
        (b"t", time_tag()),
        # Blanks around the colons are where the field is folded.
        (b"h", b" : ".join(names)),
        (b"bh", body_hash(text)),
    ]
    _, value = made_signature(b"DKIM-Signature", tags, key, text.fields, names)
    return value.decode("ascii").strip().replace("\r\n", "\n")
