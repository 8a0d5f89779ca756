# SPDX-License-Identifier: GPL-3.0-or-later
"""The changes of a message as objects for JSON, and each as a line for people.

Pure. Bytes of a message come out as one line of text without controls: they are for a terminal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, assert_never

from defang_worker.trial import mta_message as mta

if TYPE_CHECKING:
    from defang_worker.trial.result import Result


def objects(result: Result) -> list[dict[str, Any]]:
    """The recipients that were refused, what the mail server is asked for in order, copies and published files."""
    refused = [
        {"change": "refuse-recipient", "address": one.address, "code": one.code, "dsn": one.dsn, "reply": one.reply}
        for one in result.refused
    ]
    copies = [
        {"change": "send-copy", "kind": letter.kind.value, "from": letter.sender, "to": list(letter.recipients)}
        for letter in result.letters
        if letter not in result.notifications
    ]
    published = [
        {"change": "publish-file", "path": f"{file.directory}/{file.name}", "size": len(file.content)}
        for file in result.published
    ]
    return [*refused, *map(_object, result.changes), *copies, *published]


def _object(change: mta.Change) -> dict[str, Any]:
    if isinstance(change, mta.AddHeader | mta.InsertHeader | mta.ChangeHeader):
        return _of_field(change)
    match change:
        case mta.AddRecipient(address=address):
            return {"change": "add-recipient", "address": text(address)}
        case mta.DeleteRecipient(address=address):
            return {"change": "delete-recipient", "address": text(address)}
        case mta.ChangeSender(address=address):
            return {"change": "change-sender", "address": text(address)}
        case mta.ReplaceBody(body=body):
            return {"change": "replace-body", "size": len(body)}
        case mta.Quarantine(reason=reason):
            return {"change": "hold", "reason": text(reason)}
        case _:
            assert_never(change)


def _of_field(change: mta.AddHeader | mta.InsertHeader | mta.ChangeHeader) -> dict[str, Any]:
    name, value = text(change.name), text(change.value)
    match change:
        case mta.AddHeader():
            return {"change": "add-header", "name": name, "value": value}
        case mta.InsertHeader(index=index):
            return {"change": "insert-header", "name": name, "index": index, "value": value}
        case mta.ChangeHeader(index=index):
            if not value:
                return {"change": "delete-header", "name": name, "index": index}
            return {"change": "change-header", "name": name, "index": index, "value": value}
        case _:
            assert_never(change)


def line(change: dict[str, Any]) -> str:
    """One of `objects` as a line."""
    words = str(change["change"]).replace("-", " ")
    match change:
        case {"name": name, "value": value}:
            return f"{words} {printable(name)}: {printable(value)}"
        case {"name": name, "index": index}:
            return f"{words} {printable(name)}" + (f", number {index}" if index > 1 else "")
        case {"address": address, "code": code, "dsn": dsn, "reply": reply}:
            return f"{words} {printable(address)}: {code} {dsn} {printable(reply)}"
        case {"from": sender, "to": recipients}:
            return f"{words} from <{printable(sender)}> to {printable(', '.join(recipients))}"
        case {"path": path, "size": size}:
            return f"{words} {printable(path)}, {size} bytes"
        case {"address": address}:
            return f"{words} {printable(address)}"
        case {"size": size}:
            return f"{words}, {size} bytes"
        case _:
            return words


def text(raw: bytes) -> str:
    """Bytes of a message as text; what is no UTF-8 as escapes."""
    return raw.decode("utf-8", "backslashreplace")


def printable(words: str) -> str:
    """The text on one line, without anything that a terminal would obey."""
    joined = words.replace("\n", " ").replace("\t", " ")
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in joined)
