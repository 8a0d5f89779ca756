# SPDX-License-Identifier: GPL-3.0-or-later
"""`Dkim`: verifies the DKIM signatures of a message as it came (RFC 6376, 8301, 8463). dkimpy does the cryptography.

The keys of all signatures are asked for together. What dkimpy does not look at (whether From is signed, what a key may
be used for, expiry), is looked at here and in `dkim_key.py`.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from defang_worker.checks.auth.dkim_key import Refused, is_testing, usable_key
from defang_worker.checks.auth.dkim_result import DkimResult, DkimSignature, DkimWord
from defang_worker.checks.auth.dkim_verify import (
    check_tags,
    compute,
    records,
    signature_tags,
    signed_body,
    signed_names,
    verifier,
)
from defang_worker.checks.auth.signed_text import SignedText
from defang_worker.checks.dns.answer import Question
from defang_worker.checks.dns.check import DnsCheck
from defang_worker.checks.outcome import Outcome

if TYPE_CHECKING:
    from defang_worker.api.message import Message
    from defang_worker.checks.auth.signed_text import Field
    from defang_worker.checks.budget import Deadline
    from defang_worker.checks.check import Job
    from defang_worker.checks.dns.answer import Answer
    from defang_worker.checks.dns.resolver import Resolver

__all__ = ["Dkim"]

DEFAULT_MAX_SIGNATURES: Final = 10
"""What is verified at most: RFC 6376, section 6.1, leaves it to the verifier. Mail has one to four."""
_FIELD: Final = b"dkim-signature"


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
    found = [_Verification(field, now) for field in text.named(_FIELD)]
    for one in found[at_most:]:
        one.refused = Refused(DkimWord.POLICY, "too many signatures")
    questions = {one: Question(one.key_name, "TXT") for one in found if one.refused is None}
    answers = dict(resolver.answers(questions.values(), deadline))
    return [one.verified(text, answers.get(questions[one]) if one in questions else None) for one in found]


class _Verification:
    """One signature on its way."""

    def __init__(self, field: Field, now: float) -> None:
        self.field = field
        self.refused: Refused | None = None
        self.tags: dict[bytes, bytes] = {}
        try:
            self.tags = signature_tags(field[1])
            check_tags(self.tags, now)
        except Refused as refused:
            self.refused = refused

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
            signed_fields=tuple(name.lower() for name in self._text(b"h").split(":") if name),
        )
        if self.refused is not None or answer is None:
            refused = self.refused or Refused(DkimWord.TEMPERROR, "the key was not asked for")
            return replace(told, result=refused.word, reason=refused.reason)
        signer = verifier(text.fields)
        try:
            key = usable_key(records(answer), self.tags)
            told = replace(told, is_testing=is_testing(key))
            body = signed_body(text, self.tags)
            told = replace(told, is_partial=body.is_partial)
            compute(signer, self.field, self.tags, signed_names(self.tags), key)
            if body.is_changed:
                told = replace(told, result=DkimWord.FAIL, reason="the body was changed")
        except Refused as refused:
            told = replace(told, result=refused.word, reason=refused.reason)
        return replace(told, key_bits=signer.keysize or 0)
