# SPDX-License-Identifier: GPL-3.0-or-later
"""The latest requests, as JSON, a line each: all of one message (`why`), or the slowest (`slow`).

Pure: the ledger in, bytes out (protocol.md, Latest requests). `sockets.control` calls, `ctl_questions` lays out.
"""

import json
from collections.abc import Iterable
from heapq import nlargest
from typing import Any, Final

from defang_common.shown import shown
from defang_common.wire import answers, percent, requests, spool, state
from defang_common.wire.errors import WireError
from defang_mux.pool.ledger import Entry, Ledger, Outcome

NOT_FOUND: Final = b"error: No request of that message is remembered\n"
SLOWEST_SHOWN: Final = 10

NO_MESSAGE: Final = b"error: why needs the queue ID of a message, or the ID of its transaction (docs/operations.md)\n"

_MAX_WORDS_CHARACTERS: Final = 400
_CHECKS: Final = (requests.RelayOk, requests.HeloOk, requests.SenderOk, requests.RecipOk)
_WITH_DIRECTORY: Final = (requests.SenderOk, requests.RecipOk, requests.Scan)


def why(ledger: Ledger, message: bytes, epoch_offset_s: float) -> bytes:
    """All that was asked of workers for that message, in order: its queue ID, or the front end's transaction ID.

    Requests from before the mail server told the queue ID are found by the working directory, and so are those of a
    message that never got one, as with Postfix where sender and all recipients are refused.
    """
    if message in {b"", requests.NO_QUEUE_ID}:
        return NO_MESSAGE
    its_directory = b"/" + spool.DIRECTORY_PREFIX.encode() + message
    placed = [(entry, _directory(entry.line)) for entry in ledger.recent]
    directories = {
        directory
        for entry, directory in placed
        if requests.queue_id_of(entry.line) == message or (directory or b"").endswith(its_directory)
    } - {None}
    found = [
        entry for entry, directory in placed if directory in directories or requests.queue_id_of(entry.line) == message
    ]
    return _lines(found, epoch_offset_s) if found else NOT_FOUND


def slow(ledger: Ledger, count: int, epoch_offset_s: float) -> bytes:
    """The requests that took longest from their arrival to their answer, the longest first."""
    return _lines(nlargest(count, ledger.recent, key=_total_s), epoch_offset_s)


def _total_s(entry: Entry) -> float:
    return entry.ended_at - entry.came_at


def _directory(line: bytes) -> bytes | None:
    request = _request(line)
    return request.directory if isinstance(request, _WITH_DIRECTORY) else None


def _request(line: bytes) -> requests.Request | None:
    try:
        return requests.decode(state.split(line)[0])
    except WireError:
        return None


def _lines(entries: Iterable[Entry], epoch_offset_s: float) -> bytes:
    lines = (json.dumps(_object(entry, epoch_offset_s), separators=(",", ":")) for entry in entries)
    # A control program that knows no layout for this undoes the escape of lines.
    return "".join(line.replace("%", "\\u0025") + "\n" for line in lines).encode("ascii")


def _object(entry: Entry, epoch_offset_s: float) -> dict[str, Any]:
    queue_id = requests.queue_id_of(entry.line)
    word, _, words = _without_state(entry.line).partition(b" ")
    waited_until = entry.ended_at if entry.worker is None else entry.began_at
    return {
        "time": round(entry.came_at + epoch_offset_s, 3),
        "queue_id": None if queue_id in {None, requests.NO_QUEUE_ID} else shown(queue_id or b""),
        "request": shown(word),
        "words": shown(percent.decode(words), _MAX_WORDS_CHARACTERS),
        "outcome": entry.outcome.value,
        "verdict": _verdict(entry),
        "reply": shown(
            percent.decode(_without_state(_without_results(entry.reply.rstrip(b"\n")))), _MAX_WORDS_CHARACTERS
        ),
        "waited_ms": round(1000 * (waited_until - entry.came_at), 1),
        "worked_ms": None if entry.worker is None else round(1000 * (entry.ended_at - entry.began_at), 1),
        "worker": entry.worker,
        "log": list(entry.said),
    }


def _without_state(line: bytes) -> bytes:
    return line.partition(state.STATE_MARK)[0]


def _without_results(reply: bytes) -> bytes:
    return reply.partition(b" '")[0] if reply.startswith(b"ok '") else reply


def _verdict(entry: Entry) -> str | None:
    """What a check decided, with its reply; None for a scan, whose decision the front end reads from RESULTS."""
    is_check = isinstance(
        _request(entry.line), requests.RelayOk | requests.HeloOk | requests.SenderOk | requests.RecipOk
    )
    if not is_check or entry.outcome is not Outcome.ANSWERED:
        return None
    try:
        answer = answers.decode(_without_state(entry.reply.rstrip(b"\n")) + b"\n")
    except WireError:
        return None
    words = [answer.verdict.name.lower()]
    if answer.verdict in (answers.Verdict.REJECT, answers.Verdict.TEMPFAIL):
        words += [shown(answer.code), shown(answer.dsn), shown(answer.text or b"", _MAX_WORDS_CHARACTERS)]
    return " ".join(word for word in words if word)
