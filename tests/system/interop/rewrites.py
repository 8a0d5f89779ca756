# SPDX-License-Identifier: GPL-3.0-or-later
"""From what the original tells to what ours does: the small functions of which `differences.py` is made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from defang_worker.trial.mta_message import AddHeader, Change, ChangeHeader, Message, ReplaceBody
from tests.support.mta import Reply, Stage, Verdict
from tests.system.interop.messages import OVERLONG, PLAIN, SCANNED_BY
from tests.system.interop.told import Leaf, Told

Rewrite = Callable[[Told], Told]

NEW_BODY = ReplaceBody(body=b"")
EMPTY_TEXT = Leaf(types=("text/plain",), filename="", content=b"")
MILTER_FAULT = b"The mail filter has a problem, please try again later"
WORKER_FAULT = b"Please try again later"
USUAL_REFUSAL = b"Forbidden for policy reasons"
TYPE_CHANGE = ChangeHeader(index=1, name=b"Content-Type", value=b"multipart/mixed; boundary=...")
_MARKS = (b"X-Mark", b"x-mark", b"X-MARK")


def without_change(*unwanted: ChangeHeader) -> Rewrite:
    return lambda told: replace(told, changes=tuple(one for one in told.changes if one not in unwanted))


def with_each_change(rewritten: Callable[[Change], Change]) -> Rewrite:
    return lambda told: replace(told, changes=tuple(map(rewritten, told.changes)))


def with_header(name: bytes, value: bytes) -> Rewrite:
    """The delivered field of that name has that value; so has its change, if there is one."""

    def rewrite(told: Told) -> Told:
        headers = tuple((known, value if known == name else old) for known, old in told.headers)
        changes = (
            replace(one, value=value) if isinstance(one, (AddHeader, ChangeHeader)) and one.name == name else one
            for one in told.changes
        )
        return replace(told, headers=headers, changes=tuple(changes))

    return rewrite


def with_each_leaf(rewritten: Callable[[Leaf], Leaf]) -> Rewrite:
    return lambda told: replace(told, leaves=tuple(map(rewritten, told.leaves)))


def renamed(old: str, new: str) -> Callable[[Leaf], Leaf]:
    return lambda leaf: replace(leaf, filename=new) if leaf.filename == old else leaf


def with_reply(text: bytes, *, code: int = 451, dsn: bytes = b"4.3.0") -> Rewrite:
    """The same verdict with this reply, also as the answer to recipients."""
    reply = Reply(code=code, dsn=dsn, text=text, packet=b"%d %s %s" % (code, dsn, text))

    def rewrite(told: Told) -> Told:
        refused = tuple((recipient, replace(answer, reply=reply)) for recipient, answer in told.refused)
        return replace(told, reply=reply, refused=refused)

    return rewrite


def both(*rewrites: Rewrite) -> Rewrite:
    def rewrite(told: Told) -> Told:
        for one in rewrites:
            told = one(told)
        return told

    return rewrite


def still_multipart(told: Told) -> Told:
    leaves = with_each_leaf(lambda leaf: replace(leaf, types=("multipart/mixed", *leaf.types)))
    return both(with_header(b"Content-Type", b"multipart/mixed; boundary=..."), leaves)(told)


def emptied(told: Told) -> Told:
    return replace(told, changes=(*told.changes, NEW_BODY), body=None, leaves=(EMPTY_TEXT,))


def text_instead_of_nothing(told: Told) -> Told:
    """The container stays, and a sentence stands in for its parts."""
    types = ("multipart/mixed", "multipart/alternative", "text/plain")
    leaf = Leaf(types=types, filename="", content=b"The content of this message was removed.")
    return replace(with_header(b"Content-Type", b"multipart/mixed; boundary=...")(told), leaves=(leaf,))


def accepted(told: Told) -> Told:
    """An ordinary message that the filter left alone."""
    message = Message.parse(PLAIN)
    headers = tuple((header.name, header.value) for header in message.headers)
    return replace(
        told,
        stage=Stage.EOM,
        verdict=Verdict.ACCEPT,
        reply=None,
        changes=(SCANNED_BY,),
        headers=(*headers, (SCANNED_BY.name, SCANNED_BY.value)),
        body=message.body,
    )


def divided_reply(told: Told) -> Told:
    packet = b"554-5.7.6 " + OVERLONG[:980] + b"\r\n554 5.7.6 " + OVERLONG[980:]
    return replace(told, reply=Reply.parse(packet))


def without_refused_header(told: Told) -> Told:
    changes = tuple(one for one in told.changes if one == SCANNED_BY)
    headers = tuple((name, value) for name, value in told.headers if name != b"X-From-Recipient")
    return replace(told, changes=changes, headers=headers)


def deferred_early(told: Told) -> Told:
    told = replace(told, verdict=Verdict.TEMPFAIL)
    # At connect there is no reply to give.
    return told if told.stage is Stage.CONNECT else with_reply(WORKER_FAULT)(told)


def named_as_it_came(change: Change) -> Change:
    if isinstance(change, ChangeHeader) and change.name == b"X-Mark":
        return replace(change, name=_MARKS[change.index - 1])
    return change


def second_mark_in_its_own_case(told: Told) -> Told:
    headers = tuple((b"x-mark" if value == b"TWO" else name, value) for name, value in told.headers)
    return replace(told, headers=headers)


def added_if_missing(change: Change) -> Change:
    if isinstance(change, ChangeHeader) and change.name == b"X-Missing":
        return AddHeader(name=change.name, value=change.value)
    return change


def types_last_first(told: Told) -> Told:
    """Only the first stays: with Postfix, which counts anew after each deletion, the original leaves another one."""
    kept = [one for one in told.changes if not isinstance(one, ChangeHeader)]
    deleted = sorted((one for one in told.changes if isinstance(one, ChangeHeader)), key=lambda one: -one.index)
    types = [header for header in told.headers if header[0].lower() == b"content-type"]
    headers = tuple(header for header in told.headers if header not in types[1:])
    return replace(told, changes=(*kept, *deleted), headers=headers)


def in_any_order(told: Told) -> Told:
    return replace(told, changes=tuple(sorted(told.changes, key=repr)))
