# SPDX-License-Identifier: GPL-3.0-or-later
"""One signature verified, of DKIM or ARC: its tags, what its key's name has, and dkimpy's computing.

Everything that is wrong is told by `Refused`. Called by `dkim_check.py` and `arc_verify.py`.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Final

try:
    import dkim
    import nacl.signing  # noqa: F401  # dkimpy does without it until there is an Ed25519 signature
    from dkim.canonicalization import CanonicalizationPolicy, InvalidCanonicalizationPolicyError
    from dkim.util import InvalidTagValueList, parse_tag_value
except ImportError as missing:  # pragma: no cover  # the tests have it
    raise ImportError(f"DKIM needs a package that is not there ({missing}): pip install 'defang[dkim]'") from missing

from defang_worker.checks.auth.dkim_key import Refused
from defang_worker.checks.auth.dkim_result import DkimWord

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from defang_worker.checks.dns.answer import Answer

__all__ = ["body_for", "check_tags", "computed", "is_partial", "records", "signature_tags", "verifier"]

# RFC 8301, section 3.2.
_MIN_RSA_BITS: Final = 1024
# For clocks that are not quite right.
_CLOCK_LEEWAY_S: Final = 300
# A number of seconds or bytes; Python refuses to read thousands of digits.
_NUMBER: Final = re.compile(rb"\d{1,18}\Z")
# What dkimpy raises for malformed signatures and keys, beside exceptions of its own.
_FAULTS: Final = (dkim.DKIMException, InvalidTagValueList, ValueError, LookupError, TypeError)
# dkimpy tells its logger each failure, in the words of the sender.
_silent: Final = logging.Logger("dkim", logging.CRITICAL + 1)  # noqa: LOG001  # nobody is to find it

Tags = dict[bytes, bytes]


def signature_tags(value: bytes) -> Tags:
    """The tags of a signature, in their order; raises Refused for a list that is none."""
    try:
        return parse_tag_value(value)
    except _FAULTS as fault:
        raise Refused(DkimWord.PERMERROR, said(fault)) from fault


def check_tags(
    tags: Tags, now: float, *, needed: Sequence[bytes] = (b"v", b"a", b"b", b"bh", b"d", b"h", b"s")
) -> None:
    """Raises Refused for a signature that cannot hold whatever its key is, or has not all tags that are needed."""
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
    if b"h" in needed and b"from" not in {name.strip().lower() for name in tags[b"h"].split(b":")}:
        raise Refused(DkimWord.PERMERROR, "From is not signed")


def records(answer: Answer) -> tuple[bytes, ...]:
    """What the DNS has for a key; raises Refused if it has nothing, or nothing can be told."""
    if answer.is_unknown:
        raise Refused(DkimWord.TEMPERROR, f"no key: {answer.reason}")
    if not answer.is_found:
        raise Refused(DkimWord.PERMERROR, "no key")
    return answer.texts


def body_for(tags: Mapping[bytes, bytes], body: bytes) -> bytes:
    """The body as the signature has it; raises Refused for a canonicalization that is none."""
    try:
        policy = CanonicalizationPolicy.from_c_value(tags.get(b"c", b"simple/simple"))
    except InvalidCanonicalizationPolicyError as fault:
        raise Refused(DkimWord.PERMERROR, "unknown canonicalization") from fault
    return policy.canonicalize_body(body)


def is_partial(tags: Mapping[bytes, bytes], body: bytes) -> bool:
    """Whether the end of the body is not signed; raises Refused if more was signed than there is."""
    if b"l" not in tags:
        return False
    length = len(body_for(tags, body))
    if int(tags[b"l"]) > length:
        raise Refused(DkimWord.FAIL, "more was signed than there is")
    return int(tags[b"l"]) < length


def verifier(fields: Sequence[tuple[bytes, bytes]], body: bytes) -> dkim.DKIM:
    """dkimpy's, for a message of these fields and this body."""
    signer = dkim.DKIM(None, logger=_silent, minkey=_MIN_RSA_BITS)
    signer.headers, signer.body = fields, body
    return signer


def computed(signer: dkim.DKIM, verify: Callable[[Callable[..., bytes]], bool], key: Tags) -> None:
    """Has dkimpy compute, `verify` being called with what gives it the key; raises Refused unless it holds."""
    record = b"; ".join(b"%b=%b" % tag for tag in key.items())
    try:
        is_good = verify(lambda *_, **__: record)
    except dkim.ValidationError as fault:
        # All else that this means was looked for before.
        raise Refused(DkimWord.FAIL, "the body was changed") from fault
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
