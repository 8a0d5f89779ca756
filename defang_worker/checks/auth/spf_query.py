# SPDX-License-Identifier: GPL-3.0-or-later
"""`evaluate`: SPF's answer (RFC 7208) by pyspf, whose questions to the DNS go to our resolver.

pyspf would ask a resolver of its own, set for the whole process, whose time and nameservers no check can tell. Its
limits (ten terms that ask, two void lookups, ten MX and PTR names) are kept; the time is bounded by the deadline.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from defang_worker.checks.dns.answer import Question, Status

try:
    import spf
except ImportError as missing:  # pragma: no cover  # the tests have it
    raise ImportError(f"SPF needs a package that is not there ({missing}): make install EXTRAS=spf") from missing

if TYPE_CHECKING:
    from defang_worker.checks.budget import Deadline
    from defang_worker.checks.dns.answer import Answer
    from defang_worker.checks.dns.resolver import Resolver

__all__ = ["evaluate"]

# RFC 7208, section 4.6.4.
_MAX_VOID_LOOKUPS: Final = 2
_MAX_NAMES: Final = 10
# Section 3.4 wants a record to fit into 450 bytes. Long lists of addresses take some thousands.
_MAX_RECORD_BYTES: Final = 16 * 1024
# A domain has 255 characters, and macros for it are no longer. pyspf takes time squared for them.
_MAX_TERM_BYTES: Final = 512
_RECORD_START: Final = b"v=spf1"


class _Query(spf.query):
    """pyspf's, with answers of another resolver."""

    def __init__(self, resolver: Resolver, deadline: Deadline, **facts: Any) -> None:
        super().__init__(**facts)
        self._resolver = resolver
        self._deadline = deadline

    def dns(
        self,
        name: str,
        qtype: str,
        cnames: dict[str, str] | None = None,  # noqa: ARG002  # the resolver follows them
        ignore_void: bool = False,  # noqa: FBT001, FBT002  # pyspf's signature
    ) -> list[object]:
        """The records in pyspf's own form; raises TempError if nothing can be told, PermError for too many voids."""
        answer = self._resolver.ask(str(name), qtype, self._deadline)
        if answer.is_unknown:
            raise spf.TempError(f"DNS {Question(str(name), qtype)}: {answer.reason}")
        if answer.status is Status.FOUND:
            return _as_pyspf_has_them(answer, qtype)
        if not ignore_void:
            self.void_lookups += 1
            if self.void_lookups > _MAX_VOID_LOOKUPS:
                raise spf.PermError(f"Void lookup limit of {_MAX_VOID_LOOKUPS} exceeded")
        return []

    def validated_ptrs(self) -> list[str]:
        """The client's names that lead back to it. Errors make them fewer (section 5.5), no more."""
        try:
            names = self.dns_ptr(self.i)[:_MAX_NAMES]
        except spf.TempError:
            return []
        return [name for name in names if self._leads_back(name)]

    def _leads_back(self, name: str) -> bool:
        try:
            return self.cidrmatch(self.dns_a(name, self.A), self.cidrmax)
        except spf.TempError:
            return False


def _as_pyspf_has_them(answer: Answer, qtype: str) -> list[Any]:
    match qtype:
        case "A" | "AAAA":
            return list(answer.addresses)
        case "MX":
            return [(record.preference, record.exchange.to_text(omit_final_dot=True)) for record in answer.records]
        case "PTR":
            return [record.target.to_text(omit_final_dot=True) for record in answer.records]
        case _:
            return [(text,) for text in answer.texts if _is_readable(text)]


def _is_readable(text: bytes) -> bool:
    """Whether it is to be read: any record, but of explanations and other texts only short ones. Raises PermError for a
    record that would take very long."""
    if text[: len(_RECORD_START)].lower() != _RECORD_START:
        return len(text) <= _MAX_TERM_BYTES
    if len(text) > _MAX_RECORD_BYTES or max(map(len, text.split(b" "))) > _MAX_TERM_BYTES:
        raise spf.PermError("the record, or a term of it, is too long")
    return True


def evaluate(
    *,
    ip: str,
    sender: str,
    helo: str,
    receiver: str,
    resolver: Resolver,
    deadline: Deadline,
    default_explanation: str = "",
) -> tuple[str, str]:
    """The result's word and its explanation; a null sender is postmaster at the HELO (section 2.4)."""
    query = _Query(resolver, deadline, i=ip, s=sender, h=helo, receiver=receiver)
    if default_explanation:
        query.set_default_explanation(default_explanation)
    try:
        word, _, explanation = query.check()
    except UnicodeError as fault:
        # What is not ASCII in a record is a syntax error to section 3.1; in a name it has no record.
        return "permerror", f"not ASCII: {fault}"
    except ValueError as fault:
        # A number of thousands of digits, say, which Python refuses to read.
        return "permerror", f"malformed: {fault}"
    return word, explanation
