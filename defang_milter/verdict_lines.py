# SPDX-License-Identifier: GPL-3.0-or-later
"""What the log says of mail that did not pass: one line with verdict, reply, envelope and client.

Pure; `callbacks` logs the lines. Nothing is made for mail that passes.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from defang_common.shown import shown
from defang_common.wire.answers import Answer, Verdict
from defang_common.wire.results import Bounce, Discard, Quarantine, Results, Tempfail
from defang_milter.transaction import Connection, Transaction

_WORDS: Final = {Verdict.REJECT: "rejected", Verdict.TEMPFAIL: "deferred", Verdict.DISCARD: "discarded"}


def of_check(
    subject: str, answer: Answer, connection: Connection, transaction: Transaction | None, recipient: bytes
) -> str | None:
    """`sender rejected: 554 5.7.1 text, from=..., relay=...`; None for what goes on or is accepted.

    `subject` is connection, HELO, sender or recipient; `recipient` the one in question, empty if none is.
    """
    word = _WORDS.get(answer.verdict)
    if word is None:
        return None
    if answer.verdict is not Verdict.DISCARD:
        word += _reply(answer.code, answer.dsn, answer.text or b"")
    facts = _envelope(transaction, [recipient] if recipient else [], 0) if transaction else _helo(connection)
    return ", ".join([f"{subject} {word}", *facts, _relay(connection)])


def of_message(results: Results, transaction: Transaction) -> str | None:
    """`rejected: 554 5.7.1 text, from=..., to=..., relay=...`; None if the message goes to its recipients."""
    outcomes = [*_verdict(results), *_quarantines(results)]
    if not outcomes:
        return None
    more = transaction.recipient_count - len(transaction.first_recipients)
    envelope = _envelope(transaction, transaction.first_recipients, more)
    return ", ".join(["; ".join(outcomes), *envelope, _relay(transaction.connection)])


def _verdict(results: Results) -> Iterator[str]:
    match results.verdict:
        case Bounce(code=code, dsn=dsn, text=text):
            yield _WORDS[Verdict.REJECT] + _reply(code, dsn, text)
        case Tempfail(code=code, dsn=dsn, text=text):
            yield _WORDS[Verdict.TEMPFAIL] + _reply(code, dsn, text)
        case Discard():
            yield _WORDS[Verdict.DISCARD]


def _quarantines(results: Results) -> Iterator[str]:
    for change in results.changes:
        if isinstance(change, Quarantine):
            yield f"quarantined: {shown(change.reason)}" if change.reason else "quarantined"


def _reply(code: bytes, dsn: bytes, text: bytes) -> str:
    return f": {shown(b' '.join(filter(None, (code, dsn, text))), most=200)}"


def _envelope(transaction: Transaction, recipients: Sequence[bytes], more: int) -> Iterator[str]:
    yield f"from={shown(transaction.sender)}"
    if recipients:
        yield f"to={', '.join(map(shown, recipients))}" + (f", ... {more} more" if more else "")


def _helo(connection: Connection) -> Iterator[str]:
    if connection.helo is not None:
        yield f"helo={shown(connection.helo)}"


def _relay(connection: Connection) -> str:
    address = f"[{shown(connection.client.ip)}]"
    name = shown(connection.hostname)
    # MTAs call a client without a name by its address.
    return f"relay={address if name in ('', address) else f'{name} {address}'}"
