# SPDX-License-Identifier: GPL-3.0-or-later
"""A trial's result as an object for JSON: the keys that docs/testing-filters.md promises, and no others. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from defang_worker.trial import shown_changes
from defang_worker.trial.delivered import DeliveredMessage

if TYPE_CHECKING:
    from defang_worker.effects.contract import QuarantineEntry
    from defang_worker.trial.result import Result

_FACTS_FILE: Final = "meta.json"


def as_object(file: str, result: Result) -> dict[str, Any]:
    """The outcome for the message in that file."""
    return {
        "file": file,
        "stage": result.stage,
        "verdict": result.verdict.value,
        "code": result.code,
        "dsn": result.dsn,
        "reply": result.reply,
        "modified": result.modified,
        "changes": shown_changes.objects(result),
        "quarantined": quarantined(result),
        "notifications": notifications(result),
        "warnings": list(result.warnings),
        "defects": [
            {"name": defect.name, "severity": defect.severity.name.lower(), "part": defect.part}
            for defect in result.defects
        ],
        "elapsed_ms": round(result.elapsed_ms, 3),
    }


def quarantined(result: Result) -> list[dict[str, Any]]:
    """What is kept back and where, by the mail server or in the site's quarantine."""
    held = [] if result.held is None else [{"where": "mail-server", "reason": result.held}]
    stored = [
        {"where": entry.directory, "reason": _reason(entry), "files": [*entry.files, *entry.same_as]}
        for entry in result.quarantined
    ]
    return held + stored


def _reason(entry: QuarantineEntry) -> str:
    """Why, in the words of the filter; several reasons are divided by semicolons."""
    return "; ".join(json.loads(bytes(entry.files[_FACTS_FILE]))["reasons"])


def notifications(result: Result) -> list[dict[str, Any]]:
    """The mails that would be sent to tell somebody something."""
    return [
        {
            "kind": letter.kind.value,
            "from": letter.sender,
            "to": list(letter.recipients),
            "subject": DeliveredMessage(b"".join(letter.content)).subject,
        }
        for letter in result.notifications
    ]
