# SPDX-License-Identifier: GPL-3.0-or-later
"""`RspamdResult`: what rspamd says of a message, read from its JSON, and what it would have done with it."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from defang_worker.checks.faults import ServiceFault
from defang_worker.checks.outcome import Outcome
from defang_worker.checks.spam.milter_edits import MilterEdits
from defang_worker.checks.spam.result import SpamResult, Symbol

if TYPE_CHECKING:
    from defang_worker.api.message import Message

__all__ = ["RspamdResult", "read"]

# Actions that say that it is spam. Of the others "soft reject" and "greylist" only say to wait.
_SPAM: Final = frozenset({"reject", "rewrite subject", "add header", "quarantine", "discard"})


@dataclass(frozen=True, slots=True, kw_only=True)
class RspamdResult(SpamResult):
    """FOUND if rspamd's action is one for spam, or the score has reached `required`, which is the one for refusing.

    NOT_APPLICABLE also if rspamd was told by its own settings to skip the message.
    """

    smtp_message: str = ""
    """The reply that rspamd's rules want for the client."""
    edits: MilterEdits = field(default_factory=MilterEdits)
    """What is to be changed on the message."""
    subject: str = ""
    """The Subject that is to take the old one's place; only with the action "rewrite subject"."""
    spam_fields: tuple[tuple[str, str], ...] = (("X-Spam", "Yes"),)
    """The header fields that mark spam, with the action "add header"."""
    on_reject: str = ""
    """What is to be done instead of a refusal: "discard", "quarantine" or nothing."""
    is_advice: bool = False
    """Whether rspamd says that its action is not to be taken."""

    def apply(self, message: Message) -> None:
        """Does what rspamd's own milter would: changes the message, and gives it the verdict, if any.

        Nothing is done by a result that tells nothing.
        """
        self.edits.apply(message)
        if self.is_advice:
            message.headers.add("X-Rspamd-Action", self.action)
            return
        match self.action:
            case "reject" if self.on_reject != "discard":
                self._refuse(message)
            case "reject" | "discard":
                message.discard()
            case "quarantine":
                message.mta_quarantine("Rspamd quarantined message")
            case "soft reject":
                message.tempfail(self.smtp_message or "Try again later", dsn="4.7.1")
            case "rewrite subject" if self.subject:
                message.headers.replace("Subject", self.subject)
            case "add header":
                for name, value in self.spam_fields:
                    message.headers.delete_all(name)
                    message.headers.add(name, value)

    def _refuse(self, message: Message) -> None:
        if self.on_reject == "quarantine":
            message.mta_quarantine("Rspamd quarantined message")
        else:
            message.reject(self.smtp_message or "Spam message rejected")

    def as_record(self) -> dict[str, Any]:
        """What was found, without what is to be done about it."""
        told = SpamResult.as_record(self)
        for member in ("edits", "subject", "spam_fields", "on_reject", "is_advice"):
            told.pop(member, None)
        return told


def read(check: str, body: bytes) -> RspamdResult:
    """The result in rspamd's answer; raises ServiceFault for anything else."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError) as fault:
        raise ServiceFault(f"answered with what is no JSON: {body[:100]!r}") from fault
    if not isinstance(answer, dict):
        raise ServiceFault(f"answered with what is no result: {body[:100]!r}")
    if "error" in answer:
        raise ServiceFault(f"could not: {answer['error']!r:.200}")
    score, limit = _number(answer.get("score")), _number(answer.get("required_score"))
    action = answer.get("action")
    if score is None or not isinstance(action, str):
        raise ServiceFault(f"answered without score and action: {body[:100]!r}")
    rules = _rules(answer)
    symbols = tuple(Symbol(name, told["score"]) for name, told in rules)
    return RspamdResult(
        check=check,
        outcome=_outcome(answer, score, limit, action),
        detail=f"{action}, {score:.1f} of {'?' if limit is None else f'{limit:.1f}'}",
        score=score,
        required=limit,
        action=action,
        symbols=symbols,
        report="\n".join(f"{told['score']:6.2f} {name:<24} {_description(told)}".rstrip() for name, told in rules),
        edits=MilterEdits.of_answer(answer),
        **_rest(answer),
    )


def _outcome(answer: dict[str, Any], score: float, required: float | None, action: str) -> Outcome:
    if action in _SPAM or (required is not None and score >= required):
        return Outcome.FOUND
    # One that is spam at first sight, such as the test pattern GTUBE, counts as skipped too, for its rules were.
    return Outcome.NOT_APPLICABLE if answer.get("is_skipped") is True else Outcome.NOT_FOUND


def _rules(answer: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The rules that matched, what counts most first."""
    symbols = answer.get("symbols")
    told = symbols.items() if isinstance(symbols, dict) else ()
    rules = [(name, one) for name, one in told if isinstance(one, dict) and _number(one.get("score")) is not None]
    return sorted(rules, key=lambda rule: -rule[1]["score"])


def _description(rule: dict[str, Any]) -> str:
    description = rule.get("description")
    return description if isinstance(description, str) else ""


def _rest(answer: dict[str, Any]) -> dict[str, Any]:
    """The members that say what is to be done, where they differ from the usual."""
    messages, block = answer.get("messages"), answer.get("milter")
    block = block if isinstance(block, dict) else {}
    spam_header = block.get("spam_header")
    told: dict[str, Any] = {
        "smtp_message": messages.get("smtp_message") if isinstance(messages, dict) else None,
        "subject": answer.get("subject"),
        "on_reject": block.get("reject"),
    }
    rest: dict[str, Any] = {name: value for name, value in told.items() if isinstance(value, str)}
    if isinstance(spam_header, str):
        rest["spam_fields"] = (("X-Spam", spam_header),)
    elif isinstance(spam_header, dict):
        rest["spam_fields"] = tuple((name, value) for name, value in spam_header.items() if isinstance(value, str))
    return {**rest, "is_advice": block.get("no_action") is True}


def _number(value: object) -> float | None:
    """The value if it is a number that can be compared; JSON has true and, with some writers, NaN."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return value
