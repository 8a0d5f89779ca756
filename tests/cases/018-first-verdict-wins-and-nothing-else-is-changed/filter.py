# SPDX-License-Identifier: GPL-3.0-or-later
from defang_worker import Message, Part


def filter_begin(message: Message) -> None:
    message.headers.add("X-Not", "sent")
    message.add_recipient("<dave@example.org>")
    message.reject("50% sure: no\nsecond line", code=550, dsn="5.7.9")
    message.mta_quarantine("looks odd")
    message.discard()


def filter_part(message: Message, part: Part) -> None:
    if message.is_rejected and part.extension == ".exe":
        part.drop("never read")


def filter_wrapup(message: Message) -> None:
    message.tempfail("too late")
