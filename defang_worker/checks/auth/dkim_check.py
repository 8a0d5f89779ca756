# SPDX-License-Identifier: GPL-3.0-or-later
"""`Dkim`: verifies the DKIM signatures of a message as it came (RFC 6376, 8301, 8463). dkimpy does the cryptography.

The keys of all signatures are asked for together. What dkimpy does not look at (whether From is signed, what a key may
be used for, expiry), is looked at here and in `dkim_key.py`.
"""

from __future__ import annotations

import logging
import re
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

try:
    import dkim
    import nacl.signing  # noqa: F401  # dkimpy does without it until there is an Ed25519 signature
    from dkim.canonicalization import CanonicalizationPolicy, InvalidCanonicalizationPolicyError
    from dkim.util import InvalidTagValueList, parse_tag_value
except ImportError as missing:  # pragma: no cover  # the tests have it
    raise ImportError(f"DKIM needs a package that is not there ({missing}): pip install 'defang[dkim]'") from missing

from defang_worker.checks.auth.dkim_key import Refused, is_testing, usable_key
from defang_worker.checks.auth.dkim_result import DkimResult, DkimSignature, DkimWord
from defang_worker.checks.auth.signed_text import SignedText
from defang_worker.checks.dns.answer import Question
from defang_worker.checks.dns.check import DnsCheck
from defang_worker.checks.outcome import Outcome

if TYPE_CHECKING:
    from defang_worker.api.message import Message
    from defang_worker.checks.budget import Deadline
    from defang_worker.checks.check import Job
    from defang_worker.checks.dns.answer import Answer
    from defang_worker.checks.dns.resolver import Resolver

__all__ = ["Dkim"]

DEFAULT_MAX_SIGNATURES: Final = 10
"""What is verified at most: RFC 6376, section 6.1, leaves it to the verifier. Mail has one to four."""
# RFC 8301, section 3.2.
_MIN_RSA_BITS: Final = 1024
# For clocks that are not quite right.
_CLOCK_LEEWAY_S: Final = 300
_FIELD: Final = b"dkim-signature"
# A number of seconds or bytes; Python refuses to read thousands of digits.
_NUMBER: Final = re.compile(rb"\d{1,18}\Z")
# What dkimpy raises for malformed signatures and keys, beside exceptions of its own.
_FAULTS: Final = (dkim.DKIMException, InvalidTagValueList, ValueError, LookupError, TypeError)
# dkimpy tells its logger each failure, in the words of the sender.
_silent: Final = logging.Logger("dkim", logging.CRITICAL + 1)  # noqa: LOG001  # nobody is to find it

Tags = dict[bytes, bytes]


class Dkim(DnsCheck["Message", DkimResult]):
    """Who has signed the message, as it came, and do the signatures hold?

    Of more than `max_signatures` the lower ones are not verified.
    """

    result_type = DkimResult

    def __init__(
        self,
        *,
        name: str = "dkim",
        max_signatures: int = DEFAULT_MAX_SIGNATURES,
        **more: Any,
    ) -> None:
        super().__init__(name, **more)
        if max_signatures < 1:
            raise ValueError(f"{name}: max_signatures is to be 1 or more, not {max_signatures}")
        self.max_signatures = max_signatures

    def prepare(self, subject: Message) -> Job[DkimResult] | DkimResult:
        """Takes the message apart, if it has a signature."""
        if all(name.lower() != _FIELD for name, _ in subject.headers_as_they_came()):
            return self.result(Outcome.NOT_APPLICABLE, "no signature")  # type: ignore[no-any-return]  # of its own type
        text = SignedText.of(subject.raw)
        return lambda deadline: self._summary(_verified(text, self.resolver, deadline, self.max_signatures))

    def _summary(self, signatures: list[DkimSignature]) -> DkimResult:
        words = {one.result for one in signatures}
        if DkimWord.PASS in words:
            outcome = Outcome.NOT_FOUND
        elif DkimWord.TEMPERROR in words:
            outcome = Outcome.UNKNOWN
        else:
            outcome = Outcome.FOUND
        told = [f"{one.result} {one.domain}" + (one.reason and f" ({one.reason})") for one in signatures]
        return self.result(outcome, ", ".join(told), signatures=tuple(signatures))  # type: ignore[no-any-return]


def _verified(text: SignedText, resolver: Resolver, deadline: Deadline, at_most: int) -> list[DkimSignature]:
    """What comes of each signature, from the top."""
    now = time.time()
    found = [_Verification(place, value, now) for place, value in enumerate(text.values(_FIELD))]
    for one in found[at_most:]:
        one.refused = Refused(DkimWord.POLICY, "too many signatures")
    questions = {one: Question(one.key_name, "TXT") for one in found if one.refused is None}
    answers = dict(resolver.answers(questions.values(), deadline))
    return [one.verified(text, answers.get(questions[one]) if one in questions else None) for one in found]


class _Verification:
    """One signature on its way."""

    def __init__(self, place: int, value: bytes, now: float) -> None:
        self.place = place
        """Which of the fields it is, from 0."""
        self.refused: Refused | None = None
        self.tags: Tags = {}
        try:
            self.tags = parse_tag_value(value)
            _check(self.tags, now)
        except Refused as refused:
            self.refused = refused
        except _FAULTS as fault:
            self.refused = Refused(DkimWord.PERMERROR, _said(fault))

    @property
    def key_name(self) -> str:
        """Where its key is."""
        return f"{self._text(b's')}._domainkey.{self._text(b'd')}"

    def _text(self, tag: bytes) -> str:
        return b"".join(self.tags.get(tag, b"").split()).decode("utf-8", "replace")

    def verified(self, text: SignedText, answer: Answer | None) -> DkimSignature:
        """What comes of it, with the answer about its key, if it was asked for."""
        told = DkimSignature(
            result=DkimWord.PASS,
            domain=self._text(b"d").lower(),
            selector=self._text(b"s"),
            identity=self._text(b"i") or f"@{self._text(b'd').lower()}",
            algorithm=self._text(b"a"),
            tag=self._text(b"b")[:8],
        )
        if self.refused is not None or answer is None:
            refused = self.refused or Refused(DkimWord.TEMPERROR, "the key was not asked for")
            return replace(told, result=refused.word, reason=refused.reason)
        signer = dkim.DKIM(None, logger=_silent, minkey=_MIN_RSA_BITS)
        signer.headers, signer.body = text.fields, text.body
        try:
            key = usable_key(_records(answer), self.tags)
            told = replace(told, is_testing=is_testing(key))
            told = replace(told, is_partial=_is_partial(self.tags, text.body))
            _verify(signer, self.place, key)
        except Refused as refused:
            told = replace(told, result=refused.word, reason=refused.reason)
        return replace(told, key_bits=signer.keysize or 0)


def _check(tags: Tags, now: float) -> None:
    """Raises Refused, or a fault of dkimpy's, for a signature that cannot hold whatever its key is."""
    for tag in (b"t", b"x", b"l"):
        if tag in tags and not _NUMBER.match(tags[tag]):
            raise Refused(DkimWord.PERMERROR, f"{tag.decode()}= is no number")
    if tags.get(b"a") == b"rsa-sha1":
        raise Refused(DkimWord.POLICY, "signed by SHA-1")
    if b"x" in tags and int(tags[b"x"]) < now - _CLOCK_LEEWAY_S:
        raise Refused(DkimWord.FAIL, "the signature has expired")
    dkim.validate_signature_fields(tags)
    if b"from" not in {name.strip().lower() for name in tags[b"h"].split(b":")}:
        raise Refused(DkimWord.PERMERROR, "From is not signed")


def _records(answer: Answer) -> tuple[bytes, ...]:
    if answer.is_unknown:
        raise Refused(DkimWord.TEMPERROR, f"no key: {answer.reason}")
    if not answer.is_found:
        raise Refused(DkimWord.PERMERROR, "no key")
    return answer.texts


def _is_partial(tags: Tags, body: bytes) -> bool:
    if b"l" not in tags:
        return False
    try:
        policy = CanonicalizationPolicy.from_c_value(tags.get(b"c", b"simple/simple"))
    except InvalidCanonicalizationPolicyError as fault:
        raise Refused(DkimWord.PERMERROR, "unknown canonicalization") from fault
    length = len(policy.canonicalize_body(body))
    if int(tags[b"l"]) > length:
        raise Refused(DkimWord.FAIL, "more was signed than there is")
    return int(tags[b"l"]) < length


def _verify(signer: dkim.DKIM, place: int, key: Tags) -> None:
    """Has dkimpy compute; raises Refused unless the signature holds."""
    record = b"; ".join(b"%b=%b" % tag for tag in key.items())
    try:
        is_good = signer.verify(place, dnsfunc=lambda *_, **__: record)
    except dkim.ValidationError as fault:
        # All else that this means was looked for before.
        raise Refused(DkimWord.FAIL, "the body was changed") from fault
    except _FAULTS as fault:
        if 0 < signer.keysize < _MIN_RSA_BITS:
            raise Refused(DkimWord.POLICY, f"a key of {signer.keysize} bits") from fault
        raise Refused(DkimWord.PERMERROR, _said(fault)) from fault
    if not signer.keysize:
        raise Refused(DkimWord.PERMERROR, "the key is malformed")
    if signer.ktag == b"rsa" and signer.keysize < _MIN_RSA_BITS:
        raise Refused(DkimWord.POLICY, f"a key of {signer.keysize} bits")
    if not is_good:
        raise Refused(DkimWord.FAIL, "the signature does not match")


def _said(fault: BaseException) -> str:
    """Why, for people; what dkimpy says may have words of the sender's in it, so no more than a line of plain text."""
    said = " ".join(str(fault).split())
    return "".join(letter for letter in said if " " <= letter <= "~")[:80] or type(fault).__name__
