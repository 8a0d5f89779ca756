# SPDX-License-Identifier: GPL-3.0-or-later
"""`made_signature`: a signature field made by dkimpy, of header fields and tags that are given; for DKIM and ARC.
`names_to_cover`: of which fields.

The body is not given to dkimpy, whose canonicalization is slow: its hash stands in the tags.
"""

from __future__ import annotations

import base64
import time
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

try:
    import dkim
    import nacl.encoding
    import nacl.signing
    from dkim.canonicalization import CanonicalizationPolicy
    from dkim.crypto import HASH_ALGORITHMS, parse_pem_private_key
except ImportError as missing:  # pragma: no cover  # the tests have it
    raise ImportError(f"DKIM needs a package that is not there ({missing}): make install EXTRAS=dkim") from missing

from defang_worker.checks.auth.signed_text import covered_fields

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from defang_worker.checks.auth.dkim_signer import DkimKey
    from defang_worker.checks.auth.signed_text import Field, SignedText

__all__ = ["FORM", "body_hash", "made_signature", "names_to_cover", "time_tag"]

FORM: Final = b"relaxed/relaxed"
"""The canonicalization of all signatures that are made."""
_POLICY: Final = CanonicalizationPolicy.from_c_value(FORM)

# The names of what is signed have to fit a line of RESULTS, or a stranger's mail could never be delivered signed.
_MAX_OF_A_NAME: Final = 20


def names_to_cover(text: SignedText, names: Sequence[bytes], oversigned: Collection[bytes]) -> list[bytes]:
    """Each of the names as often as there are such fields, and once more if it is oversigned; of very many fields of a
    name the upper ones are not covered."""
    return [name for name in names for _ in range(min(len(text.values(name)), _MAX_OF_A_NAME) + (name in oversigned))]


def body_hash(text: SignedText) -> bytes:
    """What bh= is."""
    return base64.b64encode(text.body_digest("relaxed").sha256)


def time_tag() -> bytes:
    """What t= is."""
    return str(int(time.time())).encode()


def made_signature(
    name: bytes, tags: Sequence[Field], key: DkimKey, fields: Sequence[Field], covered: Sequence[bytes]
) -> Field:
    """A field of this name, its value folded by CRLF, that has these tags and covers those of `fields` that `covered`
    names, from the bottom."""
    algorithm = key.algorithm.encode("ascii")
    signer = dkim.DKIM(None, signature_algorithm=algorithm)
    signer.headers, signer.hasher = covered_fields(fields, covered), HASH_ALGORITHMS[algorithm]
    # As long as a signature, so that folding leaves what is before it alone.
    all_tags = [*tags, (b"b", b"0" * 60)]
    return name, b" " + signer.gen_header(all_tags, [*covered], _POLICY, name, _private(key.secret, algorithm))


@lru_cache(maxsize=32)
def _private(secret: bytes, algorithm: bytes) -> Any:
    if algorithm == b"rsa-sha256":
        return parse_pem_private_key(secret)
    return nacl.signing.SigningKey(secret, encoder=nacl.encoding.Base64Encoder)
