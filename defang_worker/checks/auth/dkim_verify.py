# SPDX-License-Identifier: GPL-3.0-or-later
"""One signature verified, of DKIM or ARC: its tags, what its key's name has, and dkimpy's computing.

Everything that is wrong is told by `Refused`. dkimpy gets no body: its canonicalization takes ten times as long as
everything else, and would be made anew for each signature. Called by `dkim_check.py` and `arc_verify.py`.
"""

from __future__ import annotations

import base64
import logging
import re
from typing import TYPE_CHECKING, Final, NamedTuple

try:
    import dkim
    import nacl.signing  # noqa: F401  # dkimpy does without it until there is an Ed25519 signature
    from dkim.canonicalization import CanonicalizationPolicy, InvalidCanonicalizationPolicyError
    from dkim.util import InvalidTagValueList, parse_tag_value
except ImportError as missing:  # pragma: no cover  # the tests have it
    raise ImportError(f"DKIM needs a package that is not there ({missing}): make install EXTRAS=dkim") from missing

from defang_worker.checks.auth.dkim_key import Refused
from defang_worker.checks.auth.dkim_result import DkimWord
from defang_worker.checks.auth.signed_text import covered_fields

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from defang_worker.checks.auth.signed_text import Field, SignedText
    from defang_worker.checks.dns.answer import Answer

__all__ = [
    "SignedBody",
    "check_tags",
    "compute",
    "records",
    "signature_tags",
    "signed_body",
    "signed_names",
    "verifier",
]

# RFC 8301, section 3.2.
_MIN_RSA_BITS: Final = 1024
# For clocks that are not quite right.
_CLOCK_LEEWAY_S: Final = 300
# Real ones have a tenth of that. Some of dkimpy's patterns take time squared, minutes for a field as long as a header.
_MAX_SIGNATURE_BYTES: Final = 8192
# Folds and blanks included, which those patterns stop at: RSA with 8192 bits has 1366 characters, SHA-256 has 44.
_MAX_TAG_BYTES: Final = {b"b": 2048, b"bh": 256}
# Each is looked for in the whole header, for each signature.
_MAX_NAMES: Final = 256
# A number of seconds or bytes; Python refuses to read thousands of digits.
_NUMBER: Final = re.compile(rb"\d{1,18}\Z")
# What dkimpy raises for malformed signatures and keys, beside exceptions of its own.
_FAULTS: Final = (dkim.DKIMException, InvalidTagValueList, ValueError, LookupError, TypeError, AssertionError)
# dkimpy tells its logger each failure, in the words of the sender.
_silent: Final = logging.Logger("dkim", logging.CRITICAL + 1)  # noqa: LOG001  # nobody is to find it

Tags = dict[bytes, bytes]


class SignedBody(NamedTuple):
    """How a body compares with what was signed of it."""

    is_changed: bool
    is_partial: bool
    """Whether its end is not signed."""


def signature_tags(value: bytes) -> Tags:
    """The tags of a signature, in their order; raises Refused for a list that is none, or a very long one."""
    if len(value) > _MAX_SIGNATURE_BYTES:
        raise Refused(DkimWord.POLICY, f"longer than {_MAX_SIGNATURE_BYTES} bytes")
    try:
        return parse_tag_value(value)
    except _FAULTS as fault:
        raise Refused(DkimWord.PERMERROR, said(fault)) from fault


def check_tags(
    tags: Tags, now: float, *, needed: Sequence[bytes] = (b"v", b"a", b"b", b"bh", b"d", b"h", b"s")
) -> None:
    """Raises Refused for a signature that cannot hold whatever its key is, or has not all tags that are needed."""
    for tag, most in _MAX_TAG_BYTES.items():
        if len(tags.get(tag, b"")) > most:
            raise Refused(DkimWord.POLICY, f"{tag.decode()}= is longer than {most} bytes")
    for tag in (b"t", b"x", b"l"):
        if tag in tags and not _NUMBER.match(tags[tag]):
            raise Refused(DkimWord.PERMERROR, f"{tag.decode()}= is no number")
    if tags.get(b"a") == b"rsa-sha1":
        raise Refused(DkimWord.POLICY, "signed by SHA-1")
    if b"x" in tags and int(tags[b"x"]) < now - _CLOCK_LEEWAY_S:
        raise Refused(DkimWord.FAIL, "the signature has expired")
    try:
        dkim.validate_signature_fields(tags, [*needed])
    except _FAULTS as fault:
        raise Refused(DkimWord.PERMERROR, said(fault)) from fault
    names = signed_names(tags) if b"h" in needed else [b"from"]
    if b"from" not in names:
        raise Refused(DkimWord.PERMERROR, "From is not signed")
    if len(names) > _MAX_NAMES:
        raise Refused(DkimWord.POLICY, f"more than {_MAX_NAMES} fields are signed")


def records(answer: Answer) -> tuple[bytes, ...]:
    """What the DNS has for a key; raises Refused if it has nothing, or nothing can be told."""
    if answer.is_unknown:
        raise Refused(DkimWord.TEMPERROR, f"no key: {answer.reason}")
    if not answer.is_found:
        raise Refused(DkimWord.PERMERROR, "no key")
    return answer.texts


def signed_names(tags: Mapping[bytes, bytes]) -> list[bytes]:
    """The names of the fields that are signed, in small letters and in their order."""
    return [name.strip().lower() for name in tags[b"h"].split(b":")]


def signed_body(text: SignedText, tags: Mapping[bytes, bytes]) -> SignedBody:
    """How the body compares with what was signed; raises Refused if that is malformed, or more than there is."""
    try:
        policy = CanonicalizationPolicy.from_c_value(tags.get(b"c", b"simple/simple"))
        wanted = base64.b64decode(b"".join(tags[b"bh"].split()))
    except InvalidCanonicalizationPolicyError as fault:
        raise Refused(DkimWord.PERMERROR, "unknown canonicalization") from fault
    except ValueError as fault:
        raise Refused(DkimWord.PERMERROR, "bh= is malformed") from fault
    length = int(tags[b"l"]) if b"l" in tags else None
    digest = text.body_digest("relaxed" if policy.body_algorithm.name == b"relaxed" else "simple", length)
    if length is not None and length > digest.length:
        raise Refused(DkimWord.FAIL, "more was signed than there is")
    is_partial = length is not None and length < digest.length
    return SignedBody(is_changed=digest.sha256 != wanted, is_partial=is_partial)


def verifier(fields: Sequence[Field]) -> dkim.DKIM:
    """dkimpy's, for a header of these fields."""
    signer = dkim.DKIM(None, logger=_silent, minkey=_MIN_RSA_BITS)
    signer.headers = fields
    return signer


def compute(signer: dkim.DKIM, own: Field, tags: Tags, names: list[bytes], key: Tags) -> None:
    """Has dkimpy compute whether the signature in the field `own` is one of the fields of these names; raises Refused
    unless it holds. Nothing is said of the body."""
    record = b"; ".join(b"%b=%b" % tag for tag in key.items())
    signer.headers = covered_fields(signer.headers, names)
    header_tags = {name: value for name, value in tags.items() if name not in (b"bh", b"l")}
    try:
        is_good = signer.verify_sig(header_tags, names, own, lambda *_, **__: record)
    except _FAULTS as fault:
        if 0 < signer.keysize < _MIN_RSA_BITS:
            raise Refused(DkimWord.POLICY, f"a key of {signer.keysize} bits") from fault
        raise Refused(DkimWord.PERMERROR, said(fault)) from fault
    if not signer.keysize:
        raise Refused(DkimWord.PERMERROR, "the key is malformed")
    if signer.ktag == b"rsa" and signer.keysize < _MIN_RSA_BITS:
        raise Refused(DkimWord.POLICY, f"a key of {signer.keysize} bits")
    if not is_good:
        raise Refused(DkimWord.FAIL, "the signature does not match")


def said(fault: BaseException) -> str:
    """Why, for people; what dkimpy says may have words of the sender's in it, so no more than a line of plain text."""
    text = " ".join(str(fault).split())
    return "".join(letter for letter in text if " " <= letter <= "~")[:80] or type(fault).__name__
