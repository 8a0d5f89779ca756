# SPDX-License-Identifier: GPL-3.0-or-later
"""`CallAheadResult`: what is known of a recipient, and the reply that a client may be given. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from defang_worker.checks.callahead.dialogue import Answer, Command
from defang_worker.checks.outcome import CheckResult, Outcome

if TYPE_CHECKING:
    import re

__all__ = ["CallAheadResult", "from_memory", "judged", "to_memory"]

# Replies to RCPT that are about the call itself: commands not known or out of order, TLS or a login wanted, or a host
# that takes no mail at all (RFC 5321, sections 4.2.2 and 4.2.3; RFC 4954, section 6; RFC 7504).
_NOT_ABOUT_THE_RECIPIENT: Final = frozenset({500, 502, 503, 504, 521, 530, 534, 535, 538})
# What a code means if the server leaves it at that (RFC 3463, RFC 5248).
_USUAL_DSN: Final = {550: "5.1.1", 551: "5.1.6", 552: "5.2.2", 553: "5.1.3", 556: "5.1.10"}


@dataclass(frozen=True, slots=True, kw_only=True)
class CallAheadResult(CheckResult):
    """FOUND if the server takes mail for the recipient, NOT_FOUND if it refuses it for good.

    With NOT_FOUND `code`, `dsn` and `text` are the reply to give the client; with UNKNOWN what the server said, if it
    came to that.
    """

    code: int = 0
    """The SMTP code; 0 if there was no reply."""
    dsn: str = ""
    """The enhanced status code; one that fits if the server gave none."""
    text: str = ""
    """The server's words, lines divided by line feeds."""
    command: str = ""
    """What it replied to: RCPT, or MAIL if it did not take the sender."""
    server: str = ""
    """Who said it: name and address."""
    tls: str = ""
    """The version of TLS; empty if the call was in clear."""
    is_remembered: bool = False
    """Whether it was said some time ago."""


def judged(answer: Answer, recipient: str, permanent: re.Pattern[str] | None) -> dict[str, Any]:
    """Outcome and members that an answer makes; `permanent` finds temporary refusals that are meant for good."""
    reply = answer.reply
    code, dsn = reply.code, reply.dsn
    if answer.command is Command.MAIL:
        outcome = Outcome.UNKNOWN
    elif reply.kind == 2:
        outcome = Outcome.FOUND
    elif reply.kind == 4 and permanent is not None and permanent.search(reply.text):
        outcome, code, dsn = Outcome.NOT_FOUND, 550, ""
    elif reply.kind == 5 and code not in _NOT_ABOUT_THE_RECIPIENT:
        outcome = Outcome.NOT_FOUND
    else:
        outcome = Outcome.UNKNOWN
    if outcome is Outcome.NOT_FOUND:
        dsn = dsn or _USUAL_DSN.get(code, "5.0.0")
    note = f" ({answer.note})" if answer.note else ""
    return {
        "outcome": outcome,
        "detail": f"{answer.server} to {answer.command}: {reply}{note}",
        "code": code,
        "dsn": dsn,
        "text": _without_address(reply.text, recipient),
        "command": answer.command.value,
        "server": str(answer.server),
        "tls": answer.tls,
    }


def _without_address(text: str, recipient: str) -> str:
    """The text without the address that Sendmail begins each line with: another one would say it again."""
    return "\n".join(line.removeprefix(f"<{recipient}>... ") for line in text.split("\n"))


def to_memory(result: dict[str, Any]) -> str:
    """A result's members as text."""
    return json.dumps(result)


def from_memory(text: str) -> dict[str, Any] | None:
    """The members again; None if the text is none of ours, such as one of another version."""
    try:
        told = json.loads(text)
        known = CallAheadResult(check="", **told | {"outcome": Outcome(told["outcome"]), "is_remembered": True})
    except (ValueError, TypeError, KeyError):
        return None
    return {name: getattr(known, name) for name in (*told, "is_remembered")}
