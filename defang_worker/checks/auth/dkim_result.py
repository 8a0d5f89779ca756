# SPDX-License-Identifier: GPL-3.0-or-later
"""`DkimResult`, what came of the DKIM signatures of a message, and `DkimSignature`, of one of them. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from defang_worker.checks.auth.method_result import MethodResult
from defang_worker.checks.outcome import CheckResult

if TYPE_CHECKING:
    from defang_worker.api.envelope import Envelope

__all__ = ["DkimResult", "DkimSignature", "DkimWord"]


class DkimWord(StrEnum):
    """The words of RFC 8601, section 2.7.1."""

    PASS = "pass"  # noqa: S105  # no password
    FAIL = "fail"
    """Something signed was changed, or the signature was never good, or its time is over."""
    NONE = "none"
    """There is no signature."""
    POLICY = "policy"
    """Nobody may rely on it: SHA-1, or an RSA key under 1024 bits (RFC 8301); or there are too many of them."""
    TEMPERROR = "temperror"
    """The key could not be had just now."""
    PERMERROR = "permerror"
    """Signature or key is malformed, missing or revoked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DkimSignature:
    """One DKIM-Signature field, and whether it holds."""

    result: DkimWord
    domain: str = ""
    """Who signed (d=), in small letters."""
    selector: str = ""
    """Which of the domain's keys (s=)."""
    identity: str = ""
    """For whom (i=); `@domain` if the signature does not say."""
    algorithm: str = ""
    """Such as `rsa-sha256` or `ed25519-sha256` (a=)."""
    key_bits: int = 0
    """How large the key is; 0 if it was not seen."""
    tag: str = ""
    """The first eight characters of the signature itself (b=), which tell it from others: RFC 6008."""
    reason: str = ""
    """Why it does not hold."""
    is_testing: bool = False
    """Whether the domain says that it is only trying DKIM (t=y): a failure is then to mean nothing."""
    is_partial: bool = False
    """Whether the end of the body is not signed (l=): anybody could have added something there."""
    signed_fields: tuple[str, ...] = ()
    """The names of the header fields that it is for (h=), in small letters."""

    @property
    def is_pass(self) -> bool:
        """Whether it holds."""
        return self.result is DkimWord.PASS

    @property
    def method_result(self) -> MethodResult:
        """As Authentication-Results has it."""
        said = (
            f"{self.key_bits}-bit key" if self.key_bits else "",
            "only testing" if self.is_testing else "",
            "the end of the body is not signed" if self.is_partial else "",
        )
        return MethodResult(
            method="dkim",
            result=self.result,
            reason=self.reason,
            comment=", ".join(filter(None, said)),
            properties=(
                ("header.d", self.domain),
                ("header.i", self.identity),
                ("header.s", self.selector),
                ("header.a", self.algorithm),
                ("header.b", self.tag),
            ),
        )


# What records tell; the names of all fields would be most of it.
_TOLD: Final = frozenset(one.name for one in fields(DkimSignature)) - {"signed_fields"}


@dataclass(frozen=True, slots=True, kw_only=True)
class DkimResult(CheckResult):
    """NOT_FOUND if a signature holds, FOUND if there are some and none does, NOT_APPLICABLE if there are none."""

    signatures: tuple[DkimSignature, ...] = ()
    """All of the message, from the top."""

    @property
    def word(self) -> DkimWord:
        """One word for all: that of the best signature."""
        words = {one.result for one in self.signatures}
        best = (DkimWord.PASS, DkimWord.TEMPERROR, DkimWord.FAIL, DkimWord.POLICY, DkimWord.PERMERROR)
        if self.is_unknown and DkimWord.PASS not in words:
            return DkimWord.TEMPERROR
        return next((word for word in best if word in words), DkimWord.NONE)

    @property
    def domains(self) -> tuple[str, ...]:
        """The domains whose signatures hold, each once."""
        return tuple(dict.fromkeys(one.domain for one in self.signatures if one.is_pass))

    def authentication_results(self, envelope: Envelope) -> list[MethodResult]:  # noqa: ARG002  # the same of any
        """One for each signature."""
        if not self.signatures:
            return [MethodResult(method="dkim", result=self.word)]
        return [one.method_result for one in self.signatures]

    def as_record(self) -> dict[str, Any]:
        """With one object for each signature."""
        told = CheckResult.as_record(self)
        if self.signatures:
            told["signatures"] = [
                {name: value for name, value in asdict(one).items() if value not in ("", 0, False) and name in _TOLD}
                for one in self.signatures
            ]
        return told
