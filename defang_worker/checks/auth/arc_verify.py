# SPDX-License-Identifier: GPL-3.0-or-later
"""`Validation`: do the signatures and seals of a chain hold (RFC 8617, section 5.2)? dkimpy does the cryptography.

dkimpy's own validation is not used: it takes the fields in the order in which they stand instead of by their numbers,
overlooks fields without a number and sets beyond the 50th, and tells nothing of the oldest signature that holds.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from defang_worker.checks.auth.arc_chain import ARC_FIELDS, SEAL
from defang_worker.checks.auth.dkim_key import Refused, usable_key
from defang_worker.checks.auth.dkim_result import DkimWord
from defang_worker.checks.auth.dkim_verify import (
    check_tags,
    compute,
    records,
    signed_body,
    signed_names,
    verifier,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from defang_worker.checks.auth.arc_chain import ArcSet, Field
    from defang_worker.checks.auth.signed_text import SignedText
    from defang_worker.checks.budget import Deadline
    from defang_worker.checks.dns.answer import Answer

    Ask = Callable[[Iterable[str]], dict[str, Answer]]

__all__ = ["NotValid", "Validation", "sealed_fields"]

Tags = dict[bytes, bytes]

_SIGNATURE_TAGS: Final = (b"a", b"b", b"bh", b"d", b"h", b"s")
# Section 4.1.3: a seal has no others, and h= is forbidden.
_SEAL_TAGS: Final = (b"a", b"b", b"d", b"s")


class NotValid(Exception):
    """The chain does not hold; `is_open` if that is for want of an answer."""

    def __init__(self, reason: str, *, is_open: bool) -> None:
        super().__init__(reason)
        self.is_open: Final = is_open


class Validation:
    """Of one message with a chain of sets. `ask` gives the answers about names of keys."""

    def __init__(self, text: SignedText, chain: Sequence[ArcSet], ask: Ask, deadline: Deadline) -> None:
        self._text = text
        self._chain = chain
        self._ask = ask
        self._deadline = deadline
        self._answers: dict[str, Answer] = {}

    def oldest_pass(self) -> int:
        """The first set whose signature still holds, 0 if all do; raises NotValid if the chain does not hold, and
        TimeoutError.

        Keys of the sets below the last are asked for only if that one holds: else anybody could have us ask for a
        hundred names.
        """
        *earlier, last = self._chain
        self._know([last])
        self._hold(last.instance, "ARC-Message-Signature", lambda: self._check_signature(last))
        self._hold(last.instance, "ARC-Seal", lambda: self._check_seal(last))
        self._know(earlier)
        for one in reversed(earlier):
            self._hold(one.instance, "ARC-Seal", lambda one=one: self._check_seal(one))  # type: ignore[misc]
        for one in reversed(earlier):
            try:
                self._check_signature(one)
            except Refused:
                return one.instance + 1
        return 0

    def _know(self, sets: Sequence[ArcSet]) -> None:
        names = {_key_name(tags) for one in sets for tags in (one.signature_tags, one.seal_tags)}
        if new := sorted(names - self._answers.keys()):
            self._answers |= self._ask(new)

    def _hold(self, instance: int, field: str, check: Callable[[], None]) -> None:
        try:
            check()
        except Refused as refused:
            reason = f"{field} {instance}: {refused.reason}"
            raise NotValid(reason, is_open=refused.word is DkimWord.TEMPERROR) from refused

    def _key(self, tags: Tags) -> Tags:
        # A hundred signatures may be as large as their makers like.
        self._deadline.left_s()
        return usable_key(records(self._answers[_key_name(tags)]), tags)

    def _check_signature(self, one: ArcSet) -> None:
        """Raises Refused unless the message is as this set's signature has it."""
        # Section 4.1.2: i= is no identity here, and v= means nothing.
        tags = {name: value for name, value in one.signature_tags.items() if name not in (b"i", b"v")}
        check_tags(tags, time.time(), needed=_SIGNATURE_TAGS)
        signed = signed_names(tags)
        if SEAL in signed:
            raise Refused(DkimWord.PERMERROR, "it signs ARC-Seal")
        key = self._key(tags)
        body = signed_body(self._text, tags)
        compute(verifier(self._text.fields), one.signature, tags, signed, key)
        if body.is_changed:
            raise Refused(DkimWord.FAIL, "the body was changed")

    def _check_seal(self, one: ArcSet) -> None:
        """Raises Refused unless all sets up to this one are as its seal has them."""
        if b"h" in one.seal_tags:
            raise Refused(DkimWord.PERMERROR, "it has h=")
        tags = {name: value for name, value in one.seal_tags.items() if name in (*_SEAL_TAGS, b"t")}
        check_tags(tags, time.time(), needed=_SEAL_TAGS)
        key = self._key(tags)
        fields = [field for each in self._chain[: one.instance] for field in each.fields][:-1]
        names = [field[0].lower() for field in fields]
        # dkimpy looks for b= behind a blank or a semicolon.
        seal = (one.seal[0], b" " + one.seal[1])
        tags[b"c"] = b"relaxed/relaxed"
        compute(verifier(sealed_fields(fields)), seal, tags, names, key)


def sealed_fields(fields: Sequence[Field]) -> list[Field]:
    """Fields so that dkimpy, which takes those of a name from the bottom, hashes them in this order."""
    assert all(name.lower() in ARC_FIELDS for name, _ in fields)
    return [*reversed(fields)]


def _key_name(tags: Tags) -> str:
    selector, domain = (b"".join(tags.get(tag, b"").split()).decode("utf-8", "replace") for tag in (b"s", b"d"))
    return f"{selector}._domainkey.{domain}"
