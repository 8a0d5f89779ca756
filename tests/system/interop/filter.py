# SPDX-License-Identifier: GPL-3.0-or-later
"""A site filter that does what it is told; `filter.pl` beside it is its equal for mimedefang.pl.

The first label of the client's name and of HELO, and the local part of sender and recipient choose an answer from a
table. Header fields `X-Test: STAGE [SELECTOR] ACTION [ARGUMENT ...]` (percent-encoded) say what to do with the message.
"""

from __future__ import annotations

from urllib.parse import unquote

from defang_worker import Connection, Envelope, Filter, Message, Part, Recipient, Response, Settings

ANSWERS = {
    "reject": Response.reject("Refused here", code=550, dsn="5.1.1"),
    "rejectonly": Response.reject("Refused without a code"),
    "wordless": Response.reject(),
    "headerno": Response.reject("Refused with a header"),
    "wrongcode": Response.reject("Refused with a 4", code=450, dsn="4.1.1"),
    "tempfail": Response.tempfail("Come back later", code=450, dsn="4.1.1"),
    "discard": Response.discard(),
    "accept": Response.accept_all(),
    "multiline": Response.reject("First line\nSecond line\n\nFourth line", code=551, dsn="5.7.3"),
    "percent": Response.reject('100% "sure" it\'s \\ %41 %', code=552, dsn="5.7.4"),
    "eightbit": Response.reject("Nicht gew\u00fcnscht", code=553, dsn="5.7.5"),
    "delay": Response.ok(delay_s=1),
    "delayno": Response.tempfail("Slowly refused", code=450, dsn="4.1.2", delay_s=1),
}


class ToldToDie(Exception):
    """The transaction asked for a filter that fails."""


def answer_for(word: str) -> Response:
    if word == "die":
        raise ToldToDie
    return ANSWERS.get(word, Response.ok())


class ObedientFilter(Filter):
    """Carries out the orders of the message under test."""

    settings = Settings(warning_intro="Attention:\n", ambiguity="log-only")

    def filter_relay(self, connection: Connection) -> Response:
        return answer_for(connection.hostname.partition(".")[0])

    def filter_helo(self, connection: Connection) -> Response:
        return answer_for((connection.helo or "").partition(".")[0])

    def filter_sender(self, envelope: Envelope) -> Response:
        word = envelope.sender.local_part
        if word == "header":
            envelope.headers.add("X-From-Sender", envelope.sender)
        return answer_for(word)

    def filter_recipient(self, envelope: Envelope, recipient: Recipient) -> Response:
        word = recipient.address.local_part
        if word.startswith("header"):
            envelope.headers.add("X-From-Recipient", recipient.address)
        if word == "companion":
            envelope.add_recipient("<added.by.recipient@example.org>")
        return answer_for(word)

    def filter_begin(self, message: Message) -> None:
        self.orders = [
            [unquote(word, errors="surrogateescape") for word in value.split(" ")]
            for value in message.headers.all("X-Test")
        ]
        self.obey("begin", message)

    def filter_part(self, message: Message, part: Part) -> None:
        self.obey_for_part("part", part.filename, message, part)

    def filter_multipart(self, message: Message, part: Part) -> None:
        self.obey_for_part("multipart", part.content_type, message, part)

    def filter_end(self, message: Message) -> None:
        self.obey("end", message)

    def filter_wrapup(self, message: Message) -> None:
        self.obey("wrapup", message)

    def obey(self, stage: str, message: Message) -> None:
        for where, action, *arguments in self.orders:
            if where == stage:
                do_to_message(message, action, *arguments)

    def obey_for_part(self, stage: str, selector: str, message: Message, part: Part) -> None:
        for where, wanted, *order in self.orders:
            if where != stage or wanted not in ("*", selector):
                continue
            action, *arguments = order
            match action, *arguments:
                case "keep", *_:
                    part.keep()
                case "keep-warning", warning:
                    part.keep(warning=warning)
                case "drop", *_:
                    part.drop()
                case "drop-warning", warning:
                    part.drop(warning=warning)
                case "replace", text:
                    part.replace(text)
                case _:
                    do_to_message(message, action, *arguments)


def do_to_message(message: Message, action: str, first: str = "", second: str = "", third: str = "") -> None:
    match action:
        case "reject":
            message.reject(third, code=int(first), dsn=second)
        case "tempfail":
            message.tempfail(third, code=int(first), dsn=second)
        case "discard":
            message.discard()
        case "hold":
            message.mta_quarantine(first)
        case "add-recipient":
            message.envelope.add_recipient(first)
        case "delete-recipient":
            message.envelope.delete_recipient(first)
        case "sender":
            message.envelope.set_sender(first)
        case "die":
            raise ToldToDie
        case _:
            do_to_headers(message, action, first, second, third)


def do_to_headers(message: Message, action: str, name: str, second: str, third: str) -> None:
    match action:
        case "add":
            message.headers.add(name, second)
        case "insert":
            message.headers.insert(name, third, int(second))
        case "change":
            message.headers.replace(name, third, int(second))
        case "delete":
            message.headers.delete(name, int(second))
        case "delete-all":
            message.headers.delete_all(name)
        case _:
            raise ValueError(f"no such order: {action}")
