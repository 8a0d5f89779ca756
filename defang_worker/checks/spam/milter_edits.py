# SPDX-License-Identifier: GPL-3.0-or-later
"""`MilterEdits`: what rspamd wants changed on a message, and how it is done on one of ours, as its own milter would."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from defang_worker.api.message import Message

__all__ = ["MilterEdits", "NewField"]


class NewField(NamedTuple):
    """A header field to add."""

    name: str
    value: str
    place: int | None = None
    """Where: 0 is the top, -1 the end; None is behind all others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MilterEdits:
    """Changes of header and envelope."""

    removed: tuple[tuple[str, int], ...] = ()
    """Fields by name and number from 1, from the end if it is below 0; 0 is all."""
    added: tuple[NewField, ...] = ()
    sender: str = ""
    new_recipients: tuple[str, ...] = ()
    old_recipients: tuple[str, ...] = ()

    @classmethod
    def of_answer(cls, answer: dict[str, Any]) -> MilterEdits:
        """Those in an answer of rspamd's; what is not of the form that it has is left out."""
        block = answer.get("milter")
        block = block if isinstance(block, dict) else {}
        removed = _objects(block, "remove_headers")
        signatures = answer.get("dkim-signature")
        signatures = signatures if isinstance(signatures, list) else [signatures]
        return cls(
            removed=tuple((name, number) for name, number in removed if type(number) is int),
            added=(
                *_new_fields(block),
                *(NewField("DKIM-Signature", one, 0) for one in signatures if isinstance(one, str)),
            ),
            sender=block["change_from"] if isinstance(block.get("change_from"), str) else "",
            new_recipients=_texts(block, "add_rcpt"),
            old_recipients=_texts(block, "del_rcpt"),
        )

    def apply(self, message: Message) -> None:
        """Makes the changes; raises ValueError for a field that no header can have."""
        headers = message.headers
        for name, number in self.removed:
            if number == 0:
                headers.delete_all(name)
            elif (nth := number if number > 0 else len(headers.all(name)) + number + 1) > 0:
                headers.delete(name, nth)
        for name, value, place in self.added:
            if place is None:
                headers.add(name, value)
            else:
                headers.insert(name, value, place if place >= 0 else max(len(headers) + place + 1, 0))
        if self.sender:
            message.set_sender(self.sender)
        for address in self.new_recipients:
            message.add_recipient(address)
        for address in self.old_recipients:
            message.delete_recipient(address)


def _objects(block: dict[str, Any], key: str) -> list[tuple[str, Any]]:
    found = block.get(key)
    return list(found.items()) if isinstance(found, dict) else []


def _texts(block: dict[str, Any], key: str) -> tuple[str, ...]:
    found = block.get(key)
    return tuple(one for one in found if isinstance(one, str)) if isinstance(found, list) else ()


def _new_fields(block: dict[str, Any]) -> Iterator[NewField]:
    """The value of a name is a text, or an object with a place, or several of either."""
    for name, told in _objects(block, "add_headers"):
        for one in told if isinstance(told, list) else [told]:
            if isinstance(one, str):
                yield NewField(name, one)
            elif isinstance(one, dict) and isinstance(one.get("value"), str):
                place = one.get("order", one.get("index"))
                yield NewField(name, one["value"], place if type(place) is int else None)
