# SPDX-License-Identifier: GPL-3.0-or-later
"""State through real programs and several workers; where one of MIMEDefang's stands in the chain it ends unseen."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.daemons import Chain, Daemons, Origin, private_home, running
from tests.support.mta import Milter
from tests.support.process import wait_until
from tests.support.syslog import syslog_kept_in
from tests.system.interop.messages import TRANSACTIONS
from tests.system.interop.told import ANSWER_LIMIT_S, play_on

pytestmark = pytest.mark.system

# Each callback adds its process to what the session and the message remember.
FILTER = """
import os
from defang_worker import Filter

def mark(state, word):
    state.setdefault("seen", []).append(f"{word}:{os.getpid()}")

class Site(Filter):
    def filter_relay(self, connection):
        mark(connection.state, "relay")
    def filter_helo(self, connection):
        mark(connection.state, "helo")
    def filter_sender(self, envelope):
        mark(envelope.session_state, "mail")
        mark(envelope.state, "mail")
    def filter_recipient(self, envelope, recipient):
        mark(envelope.state, "rcpt")
    def filter_wrapup(self, message):
        mark(message.session_state, "scan")
        message.headers.add("X-Session", " ".join(message.session_state["seen"]))
        message.headers.add("X-Message", " ".join(message.state.get("seen", ["nothing"])))
"""
PERL_FILTER = """
sub filter_relay { return ('CONTINUE', 'ok'); }
sub filter_sender { open(my $args, '>', './args'); print $args "@ESMTPArgs"; close($args); return ('CONTINUE', 'ok'); }
sub filter_recipient { return ('CONTINUE', 'ok'); }
sub filter_wrapup { open(my $args, '<', './args'); action_add_header('X-Args', <$args> . '.'); }
1;
"""
OPTIONS = ("-r", "-H", "-s", "-t")
"""With one request to a worker each callback has another process."""


def chain(home: Path, milter: Origin, mux: Origin, worker: Origin) -> Chain:
    source = home / ("site.py" if worker is Origin.OURS else "site.pl")
    source.write_text(FILTER if worker is Origin.OURS else PERL_FILTER)
    mux_options = ("-m", "1", "-x", "3", "-r", "1", "-l")
    return Chain(filter=source, milter=milter, mux=mux, worker=worker, milter_options=OPTIONS, mux_options=mux_options)


def headers_of_two_messages(daemons: Daemons) -> list[dict[str, str]]:
    """What the filter added to each of two messages of one session."""
    plain = next(transaction for transaction in TRANSACTIONS if transaction.name == "plain-text")
    with Milter(daemons.milter_address, timeout_s=ANSWER_LIMIT_S) as milter:
        told = [play_on(milter, plain, b"Q%d" % number) for number in (1, 2)]
    return [{name.decode(): value.decode() for name, value in one.headers} for one in told]


def words(text: str) -> list[str]:
    return [word.partition(":")[0] for word in text.split()]


def test_state_goes_through_any_number_of_workers() -> None:
    with private_home("state-") as home:
        ours = chain(home, Origin.OURS, Origin.OURS, Origin.OURS)
        with running(ours, home=home) as daemons:
            first, second = headers_of_two_messages(daemons)
            assert "state ends with the callback" not in daemons.logs()
    assert words(first["X-Session"]) == ["relay", "helo", "mail", "scan"]
    assert words(second["X-Session"]) == ["relay", "helo", "mail", "scan", "mail", "scan"]
    assert words(first["X-Message"]) == words(second["X-Message"]) == ["mail", "rcpt"]
    processes = [word.partition(":")[2] for word in second["X-Session"].split()]
    assert len({*processes}) == len(processes)


MIXED = [(Origin.DEBIAN, Origin.OURS), (Origin.OURS, Origin.DEBIAN), (Origin.DEBIAN, Origin.DEBIAN)]


@pytest.mark.parametrize(("milter", "mux"), MIXED, ids=lambda origin: origin.value)
def test_with_an_original_in_the_chain_state_ends_with_the_callback_and_the_log_says_so(
    milter: Origin, mux: Origin
) -> None:
    with private_home("state-") as home:
        mixed = chain(home, milter, mux, Origin.OURS)
        with syslog_kept_in(home / "syslog.log"), running(mixed, home=home) as daemons:
            first, second = headers_of_two_messages(daemons)
            wait_until(lambda: "state ends with the callback" in daemons.logs(), "the log does not tell")
    assert words(first["X-Session"]) == words(second["X-Session"]) == ["scan"]
    assert first["X-Message"] == second["X-Message"] == "nothing"


@pytest.mark.parametrize(("milter", "mux"), [(Origin.OURS, Origin.OURS), *MIXED], ids=lambda origin: origin.value)
def test_an_original_worker_never_sees_state(milter: Origin, mux: Origin) -> None:
    with private_home("state-") as home:
        mixed = chain(home, milter, mux, Origin.DEBIAN)
        with running(mixed, home=home) as daemons:
            assert [told["X-Args"] for told in headers_of_two_messages(daemons)] == [".", "."]
