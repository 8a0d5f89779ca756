# SPDX-License-Identifier: GPL-3.0-or-later
"""One JSON object for each message: who sent what to whom, what became of it and why, and how long that took.

`scan.py` makes a `Record` if the setting `record_log` asks for it, and has its line written at the end of the scan, of
one that faulted, too. Nothing is decoded for it, and nothing parsed that the filter did not ask for. docs/records.md
tells its fields.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from defang_common.wire import results
from defang_worker.api.words import to_text
from defang_worker.mime.shadow import ShadowPart

if TYPE_CHECKING:
    from collections.abc import Iterable

    from defang_common.wire.results import Result
    from defang_worker.api.message import Message
    from defang_worker.api.part import Part


class Record:
    """What is gathered while a message is filtered."""

    __slots__ = ("_started", "events", "scanners", "timings_ms")

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self.timings_ms: dict[str, float] = {}
        """Callbacks by name with the time that all calls took together."""
        self.scanners: list[dict[str, Any]] = []
        """What scanners found, an object each."""
        self.events: list[list[str]] = []
        """Events that the filter logged, each with its values."""

    def took(self, callback: str, started: float) -> None:
        """Notes a call that began at this reading of `time.perf_counter`."""
        self.timings_ms[callback] = self.timings_ms.get(callback, 0.0) + (time.perf_counter() - started) * 1000

    def line(self, message: Message, lines: Iterable[Result], fault: BaseException | None) -> str:
        """The record; `lines` is what goes to RESULTS, `fault` what ended the scan."""
        timings = {**self.timings_ms, "total": (time.perf_counter() - self._started) * 1000}
        found = {
            **_facts(message),
            **_outcome(message, fault),
            "changes": [] if fault else [one for one in map(_change, lines) if one],
            "published": [] if fault else [f"{one.directory}/{one.name}" for one in message.outbox.published],
            "quarantined": message.outbox.entry_path,
            "warnings": list(message.warnings),
            "parts": [_part(part) for part in message.known_parts],
            "defects": [_defect(one.name, one.severity.name, one.part) for one in message.known_defects],
            "scanners": self.scanners,
            "events": self.events,
            "timings_ms": {name: round(value, 3) for name, value in timings.items()},
        }
        text = json.dumps(found, separators=(",", ":"))
        # Bytes that are no UTF-8 are escaped in our texts by what is no character, and so no JSON to some readers.
        return json.dumps(_cleaned(found), separators=(",", ":")) if "\\udc" in text else text


def _cleaned(value: Any) -> Any:
    match value:
        case str():
            return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        case dict():
            return {name: _cleaned(one) for name, one in value.items()}
        case list():
            return [_cleaned(one) for one in value]
        case _:
            return value


def _facts(message: Message) -> dict[str, Any]:
    envelope = message.envelope
    return {
        "time": round(time.time(), 3),
        "queue_id": envelope.queue_id or "",
        "transaction_id": envelope.transaction_id,
        "message_id": message.message_id,
        "client": {"ip": envelope.client_ip, "name": envelope.client_name, "helo": envelope.helo},
        "sender": envelope.sender,
        "recipients": [one.address for one in envelope.recipients],
        "subject": message.subject,
        "size": message.size,
    }


def _outcome(message: Message, fault: BaseException | None) -> dict[str, Any]:
    if fault is not None:
        return {"verdict": "tempfail", "fault": f"{type(fault).__name__}: {fault}", "modified": False}
    verdict = message.verdict
    if verdict is None:
        return {"verdict": "accept", "modified": message.is_modified}
    told: dict[str, Any] = {"verdict": verdict.verdict.name.lower(), "modified": False}
    if verdict.code is not None:
        answer = verdict.to_answer()
        told |= {"code": int(answer.code), "dsn": answer.dsn.decode("ascii"), "reply": verdict.reply}
    return told


def _part(part: Part) -> dict[str, Any]:
    entity = part.entity
    action = "replaced" if part.replacement is not None else "renamed" if part.field_changes is not None else "kept"
    return {
        "number": part.number,
        "type": part.content_type if part.replacement is None else entity.content_type,
        "names": list(entity.filenames),
        "disposition": entity.disposition,
        "bytes": len(entity.content) if isinstance(entity, ShadowPart) else entity.end - entity.body_start,
        "action": "dropped" if part.is_gone else action,
    }


def _defect(name: str, severity: str, part: str) -> dict[str, str]:
    return {"name": name, "severity": severity.lower(), "part": part}


def _change(line: Result) -> dict[str, Any] | None:
    """A change as an object; None for what is no change but the verdict or the end."""
    match line:
        case results.ReplaceBody():
            return {"change": "replace-body"}
        case results.AddRecipient():
            return {"change": "add-recipient", "address": to_text(line.address)}
        case results.DeleteRecipient():
            return {"change": "delete-recipient", "address": to_text(line.address)}
        case results.ChangeSender():
            return {"change": "change-sender", "address": to_text(line.address)}
        case results.Quarantine():
            return {"change": "hold", "reason": to_text(line.reason)}
        case _:
            return _field_change(line)


def _field_change(line: Result) -> dict[str, Any] | None:
    match line:
        case results.AddHeader():
            return {"change": "add-header", "name": to_text(line.name), "value": to_text(line.value)}
        case results.InsertHeader() | results.ChangeHeader():
            verb = "insert-header" if isinstance(line, results.InsertHeader) else "change-header"
            return {"change": verb, "name": to_text(line.name), "index": line.index, "value": to_text(line.value)}
        case results.DeleteHeader():
            return {"change": "delete-header", "name": to_text(line.name), "index": line.index}
        case results.ChangeContentType():
            return {"change": "change-header", "name": "Content-Type", "index": 1, "value": to_text(line.value)}
        case _:
            return None
