# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/filters/call_ahead.py, with servers of the tests. Real Sendmail is called in tests/system."""

from __future__ import annotations

import sys
from pathlib import Path

from defang_worker.checks import CallAhead, CallMemory
from defang_worker.testing import MessageBuilder, run_filter
from tests.examples.conftest import Example
from tests.support.fake_smtp import FakeSmtp
from tests.support.scripted_service import ScriptedService


def test_recipient_that_the_server_behind_does_not_know_is_refused_with_its_words(
    example: Example, spool: Path
) -> None:
    site = example("call_ahead")
    fake = FakeSmtp(replies={"RCPT TO:<nobody@example.org>": "550 5.1.1 User unknown"})
    with ScriptedService(fake) as service:
        sys.modules[site.__module__].SERVERS = {"example.org": [service.address]}  # type: ignore[attr-defined]

        class UnderTest(site):  # type: ignore[misc, valid-type]
            memory = CallMemory(str(spool / "calls.sqlite"))
            ahead = CallAhead(site.ahead.servers, sender=site.ahead.sender, memory=memory)  # type: ignore[attr-defined]

        everybody = ("bob@example.org", "nobody@example.org", "carol@elsewhere.example")
        result = run_filter(MessageBuilder(), UnderTest, recipients=everybody)
        again = run_filter(MessageBuilder(), UnderTest, recipients=everybody, sender="other@example.net")
        assert service.connections == 2
        service.handler = lambda connected: None
        unknown = run_filter(MessageBuilder(), UnderTest, recipients=("dave@example.org",))
    for one in (result, again):
        assert one.recipients == ("<bob@example.org>", "<carol@elsewhere.example>")
        assert [(no.address, no.reply) for no in one.refused] == [("<nobody@example.org>", "User unknown")]
    assert {line for line in fake.commands if line.startswith("MAIL")} == {"MAIL FROM:<> ENVID=defang-call-ahead-1"}
    assert unknown.verdict == "tempfail"
