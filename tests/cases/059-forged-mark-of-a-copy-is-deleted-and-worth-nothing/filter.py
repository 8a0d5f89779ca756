# SPDX-License-Identifier: GPL-3.0-or-later
from defang_worker import Message


def filter_begin(message: Message) -> None:
    assert message.resent is None
    assert message.stream([["bob@example.org", "<dave@example.net>"], ["carol@EXAMPLE.org"]])
