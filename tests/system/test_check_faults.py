# SPDX-License-Identifier: GPL-3.0-or-later
"""Services of checks that fail, asked by the whole chain: the mail is deferred, and the log tells of whom and why."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.daemons import Chain, Daemons, private_home, running
from tests.support.dns_server import DnsServer, Fault
from tests.support.mta import Stage, Verdict
from tests.support.process import free_port, wait_until
from tests.support.scripted_service import ScriptedService
from tests.system.interop.messages import Transaction
from tests.system.interop.told import play

pytestmark = pytest.mark.system

# With three faults in a row a service counts as down; so the last one is not even asked about.
MESSAGES = 4

# What is asked is told by the sender's first word.
FILTER = """
from defang_worker import Filter
from defang_worker.checks import Clamd, DomainList, Greylist, Rspamd

class Site(Filter):
    at_mail = {{
        "no-dns": DomainList(["bl.example"], name="no-dns", resolver="127.0.0.1:{no_dns}", timeout_s=1),
        "silent-dns": DomainList(["bl.example"], name="silent-dns", resolver={silent_dns!r}, timeout_s=1),
    }}
    at_rcpt = {{"greylist": Greylist("/nonexistent/greylist.sqlite", name="greylist")}}
    at_end = {{
        "clamd": Clamd("/run/nobody.sock", name="clamd"),
        "hanging": Rspamd({hanging!r}, name="hanging", timeout_s=1),
        "marked": Rspamd({hanging!r}, name="marked", timeout_s=1, on_failure="mark"),
    }}

    def ask(self, subject, sender, checks):
        if check := checks.get(sender.bare.partition("@")[0]):
            subject.run_checks(check)

    def filter_sender(self, envelope):
        self.ask(envelope, envelope.sender, self.at_mail)

    def filter_recipient(self, envelope, recipient):
        self.ask(envelope, envelope.sender, self.at_rcpt)

    def filter_begin(self, message):
        self.ask(message, message.envelope.sender, self.at_end)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A service, when it is asked, and what the log tells of it."""

    name: str
    stage: Stage
    cause: str
    """A regular expression for what is wrong."""
    is_down: bool = False
    """Whether that shows that it is down: a store has no such state, and a name may be slow for itself."""


CASES = [
    Case(name="no-dns", stage=Stage.MAIL, cause="Connection refused", is_down=True),
    Case(name="silent-dns", stage=Stage.MAIL, cause="no answer"),
    Case(name="greylist", stage=Stage.RCPT, cause="No such file or directory"),
    Case(name="clamd", stage=Stage.EOM, cause="No such file or directory", is_down=True),
    Case(name="hanging", stage=Stage.EOM, cause="(timed out|no answer in time)", is_down=True),
]


@pytest.fixture(scope="module")
def chain() -> Iterator[Daemons]:
    """With one worker, for each worker notices by itself that a service is down."""
    with (
        private_home("faults-") as home,
        DnsServer() as silent,
        ScriptedService(ScriptedService.close_early, home / "hanging.sock") as hanging,
    ):
        hanging.handler = hanging.hang
        silent.faults["example.com.bl.example"] = Fault.SILENT
        Path(hanging.address).chmod(0o666)
        source = home / "site.py"
        text = FILTER.format(no_dns=free_port(), silent_dns=silent.address, hanging=hanging.address)
        source.write_text(text)
        options = ("-s", "-t")
        with running(Chain(filter=source, milter_options=options, mux_options=("-x", "1", "-l")), home=home) as daemons:
            yield daemons


def transaction(name: str) -> Transaction:
    return Transaction(name=name, sender=f"<{name}@example.com>".encode())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_mail_is_deferred_and_the_log_names_queue_id_and_cause(chain: Daemons, case: Case) -> None:
    for number in range(MESSAGES):
        told, _ = play(chain.milter_address, transaction(case.name), f"Q{case.name}{number}".encode())
        if case.stage is Stage.RCPT:
            ((_, answer),) = told.refused
            assert answer.verdict is Verdict.TEMPFAIL
        else:
            assert (told.stage, told.verdict) == (case.stage, Verdict.TEMPFAIL)
    # Not asked any more, or asked again and failing again: each message has its line.
    own = [rf"Q{case.name}{number}: Worker \d+ stderr: check {case.name}: unknown in .*" for number in range(MESSAGES)]
    wait_until(
        lambda: all(re.search(line, chain.logs()) for line in own), f"not all of {own} are in the log: {chain.logs()}"
    )
    log = chain.logs()
    first = re.findall(own[0], log)
    assert re.search(case.cause, first[0]), first
    assert len(re.findall(rf"check {case.name}: .* is down, and tried again", log)) == int(case.is_down)


def test_next_message_is_unaffected_and_a_mark_is_told_in_its_header(chain: Daemons) -> None:
    told, _ = play(chain.milter_address, transaction("marked"), b"Qmarked")
    assert told.verdict is Verdict.ACCEPT
    assert (b"X-Defang-Unchecked", b"marked") in [(name, value.strip()) for name, value in told.headers]
    told, _ = play(chain.milter_address, transaction("nobody"), b"Qnobody")
    assert (told.verdict, told.refused) == (Verdict.ACCEPT, ())
