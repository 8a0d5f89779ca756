# SPDX-License-Identifier: GPL-3.0-or-later
"""How md-mx-ctrl shows `why`, `slow` and `health`: text for people, or the JSON as it came.

Text in, text and exit status out, but for the time zone. Called by `ctl`, which asks.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

_UNKNOWN: Final = 3
"""The exit status that monitors read as "cannot be told"."""
_CRITICAL: Final = 2


@dataclass(frozen=True, slots=True)
class Question:
    """What to send, and how to show the reply; `silent_status` is the exit status where there is no reply."""

    request: str
    show: Callable[[str], tuple[str, int]]
    silent_status: int = 1


def find(typed: str) -> Question | None:
    """The question in a command as it was typed, None if it is another command."""
    word, _, rest = typed.partition(" ")
    rest = rest.strip()
    match word:
        case "health" | "jsonhealth" if not rest:
            return Question("health", _health if word == "health" else _json_health, _CRITICAL)
        case "why" | "jsonwhy":
            return Question(f"why {rest}".strip(), _requests if word == "why" else _as_is)
        case "slow" | "jsonslow":
            return Question(f"slow {rest}".strip(), _requests if word == "slow" else _as_is)
        case _:
            return None


def _is_error(reply: str) -> bool:
    return not reply.startswith("{")


def _as_is(reply: str) -> tuple[str, int]:
    return reply, int(_is_error(reply) and bool(reply))


def _json_health(reply: str) -> tuple[str, int]:
    try:
        return reply, int(json.loads(reply)["level"])
    except (ValueError, KeyError, TypeError):
        return reply, _UNKNOWN


def _health(reply: str) -> tuple[str, int]:
    text, status = _json_health(reply)
    if status == _UNKNOWN:
        return f"unknown: {text}", status
    facts = json.loads(reply)
    reasons = "; ".join(facts["reasons"]) or "nothing to report"
    load = f"{facts['busy']} of {facts['workers']} workers busy, {facts['queued']} queued, {facts['messages']} messages"
    return f"{facts['status']}: {reasons} ({load}, up {facts['uptime_s']} s)\n", status


def _requests(reply: str) -> tuple[str, int]:
    if _is_error(reply):
        return reply, int(bool(reply))
    return "".join(_request(json.loads(line)) for line in reply.splitlines()), 0


def _request(facts: dict[str, Any]) -> str:
    """One request: a line of what was asked, when, and what came of it, and indented what else is known."""
    moment = time.strftime("%H:%M:%S", time.localtime(facts["time"]))
    queue_id = facts["queue_id"] or "-"
    # Of a failure the reply says more than the word for it.
    result = facts["verdict"] or facts["outcome"]
    if facts["outcome"] not in {"answered", "poison"}:
        result += f": {facts['reply']}"
    where = "no worker" if facts["worker"] is None else f"worker {facts['worker']} for {facts['worked_ms']:.0f} ms"
    lines = [
        f"{moment} {queue_id} {facts['request']}: {result}",
        f"    {where}, waited {facts['waited_ms']:.0f} ms; {facts['words']}",
        *(f"    log: {line}" for line in facts["log"]),
    ]
    return "\n".join(lines) + "\n"
