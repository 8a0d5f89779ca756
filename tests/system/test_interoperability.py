# SPDX-License-Identifier: GPL-3.0-or-later
"""Each of our three programs can stand in for MIMEDefang's: the MTA is told the same, whoever is who.

The reference is the all-original chain, run beside each of the seven others with the same transactions and an equal
filter. What is meant to differ stands in `interop/differences.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from defang_worker.trial.mta_message import Message
from tests.support.daemons import Chain, Daemons, Origin, all_chains, private_home, running
from tests.support.mta import POSTFIX, SENDMAIL, Habits, Milter, Stage, Verdict
from tests.system.interop import differences
from tests.system.interop.messages import SCANNED_BY, TRANSACTIONS, Transaction
from tests.system.interop.told import ANSWER_LIMIT_S, Told, play, play_on

pytestmark = pytest.mark.system

INTEROP = Path(__file__).parent / "interop"
PROTOCOL = Path(__file__).parents[2] / "protocol.md"
MILTER_OPTIONS = ("-r", "-H", "-s", "-t", "-x", "scanned")
MUX_OPTIONS = ("-m", "1", "-x", "2", "-w", "1")
# A message on which the filter dies is played in several tests, and again where chance deferred another one.
OUR_MUX_OPTIONS = (*MUX_OPTIONS, "--poison", "none")

CHAINS = [
    Chain(
        filter=chain.filter,
        milter=chain.milter,
        mux=chain.mux,
        worker=chain.worker,
        milter_options=MILTER_OPTIONS,
        mux_options=OUR_MUX_OPTIONS if chain.mux is Origin.OURS else MUX_OPTIONS,
    )
    for chain in all_chains(INTEROP / "filter.py", INTEROP / "filter.pl")
]
ORIGINAL = Chain(
    filter=INTEROP / "filter.pl",
    milter=Origin.DEBIAN,
    mux=Origin.DEBIAN,
    worker=Origin.DEBIAN,
    milter_options=MILTER_OPTIONS,
    mux_options=MUX_OPTIONS,
)
OTHERS = [chain for chain in CHAINS if chain != ORIGINAL]


class Player:
    """A running chain that plays each transaction once, and remembers what the MTA was told."""

    def __init__(self, daemons: Daemons) -> None:
        self.daemons = daemons
        self.chain = daemons.chain
        self._told: dict[str, tuple[Told, float]] = {}
        self._plays = 0
        self._sessions = 0
        # A Perl worker that a filter has just killed may be given the next request while it dies, and the original's
        # multiplexor gives it even to a dead one. An MTA would come back, and so does this one; not so with ours.
        is_ours = Origin.DEBIAN not in (self.chain.mux, self.chain.worker)
        self._tries = 1 if is_ours else 3

    def told(self, transaction: Transaction) -> Told:
        return self._played(transaction)[0]

    def seconds(self, transaction: Transaction) -> float:
        return self._played(transaction)[1]

    def _played(self, transaction: Transaction) -> tuple[Told, float]:
        if transaction.name in self._told:
            return self._told[transaction.name]
        for _ in range(self._tries):
            self._plays += 1
            told, seconds = play(self.daemons.milter_address, transaction, b"Q%07d" % self._plays)
            self._told[transaction.name] = told, seconds
            if not deferred_by_chance(told, transaction):
                break
        return self._told[transaction.name]

    def told_in_one_session(self, transactions: Sequence[Transaction]) -> list[Told]:
        told: list[Told] = []
        for _ in range(self._tries):
            told = self._session(transactions)
            if not any(map(deferred_by_chance, told, transactions)):
                break
        return told

    def _session(self, transactions: Sequence[Transaction]) -> list[Told]:
        self._sessions += 1
        with Milter(self.daemons.milter_address, timeout_s=ANSWER_LIMIT_S) as milter:
            return [
                play_on(milter, transaction, b"S%dx%d" % (self._sessions, number))
                for number, transaction in enumerate(transactions)
            ]


# What the original always gets wrong is not by chance.
ERRING = frozenset().union(*(entry.transactions for entry in differences.DIFFERENCES if entry.original_errs))


def deferred_by_chance(told: Told, transaction: Transaction) -> bool:
    """Whether it was told to come back although the filter says otherwise."""
    if transaction.name in ERRING:
        return False
    return told.verdict is Verdict.TEMPFAIL and transaction.verdict is not Verdict.TEMPFAIL


@contextmanager
def playing(chain: Chain) -> Iterator[Player]:
    with private_home("interop-") as home, running(chain, home=home) as daemons:
        yield Player(daemons)


@pytest.fixture(scope="module")
def original() -> Iterator[Player]:
    with playing(ORIGINAL) as player:
        yield player


@pytest.fixture(scope="module", params=OTHERS, ids=str)
def other(request: pytest.FixtureRequest) -> Iterator[Player]:
    with playing(request.param) as player:
        yield player


# One SMTP session with what may leave traces in it: refusals at every stage, changes, a filter that fails.
SESSION = (
    "plain-text",
    "end-rejects",
    "part-dropped",
    "mail-reject",
    "some-recipients-refused",
    "rcpt-die",
    "end-dies",
    "second-content-type",
    "end-discards",
    "all-recipients-refused",
    "header-from-recipient-hook",
    "plain-text",
)


@pytest.mark.parametrize("habits", [SENDMAIL, POSTFIX], ids=["Sendmail", "Postfix"])
def test_messages_of_one_session_do_not_disturb_one_another(original: Player, other: Player, habits: Habits) -> None:
    named = {transaction.name: transaction for transaction in TRANSACTIONS}
    session = [replace(named[name], habits=habits) for name in SESSION]
    theirs, ours = original.told_in_one_session(session), other.told_in_one_session(session)
    for transaction, reference, told in zip(session, theirs, ours, strict=True):
        expected = differences.expected(reference, other.chain, transaction)
        assert differences.common_form(told, other.chain, transaction) == expected, transaction.name


each_transaction = pytest.mark.parametrize("transaction", TRANSACTIONS, ids=lambda transaction: transaction.name)


@each_transaction
def test_the_mta_is_told_what_the_original_tells_it(original: Player, other: Player, transaction: Transaction) -> None:
    expected = differences.expected(original.told(transaction), other.chain, transaction)
    told = other.told(transaction)
    assert differences.common_form(told, other.chain, transaction) == expected
    assert other.seconds(transaction) >= transaction.least_delay_s
    if any(entry.original_errs for entry in differences.concerning(other.chain, transaction)):
        assert complaints(told, transaction) == []


@each_transaction
def test_the_original_does_what_the_transaction_asks_for(original: Player, transaction: Transaction) -> None:
    """Without this a filter that does nothing at all would be found equal to another such one."""
    told = original.told(transaction)
    assert original.seconds(transaction) >= transaction.least_delay_s
    errs = any(entry.original_errs and transaction.name in entry.transactions for entry in differences.DIFFERENCES)
    assert (complaints(told, transaction) != []) == errs


def complaints(told: Told, transaction: Transaction) -> list[str]:
    """What the filters were told to do with the transaction and the MTA was not told."""
    found = []
    if (told.verdict, told.stage) != (transaction.verdict, transaction.stage):
        found.append(f"{told.verdict} at {told.stage.name}")
    if transaction.reply and (told.reply is None or transaction.reply not in told.reply.text):
        found.append(f"the reply is {told.reply}")
    filtered = told.verdict is Verdict.ACCEPT and told.stage is Stage.EOM
    edits = list(told.changes)
    if filtered:
        if SCANNED_BY not in edits:
            return [*found, f"no X-Scanned-By among {edits}"]
        edits.remove(SCANNED_BY)
    if transaction.edited != bool(edits):
        found.append(f"the edits are {edits}")
    if told.body is not None and told.body != Message.parse(transaction.message).body:
        found.append(f"the body is {told.body[:200]!r}")
    if transaction.rebuilt != (told.verdict is Verdict.ACCEPT and told.body is None):
        found.append("the body was rebuilt" if told.body is None else "the body was not rebuilt")
    return found


@pytest.mark.parametrize("entry", differences.DIFFERENCES, ids=lambda entry: entry.name)
def test_every_difference_stands_in_the_protocol(entry: differences.Difference) -> None:
    section = re.search(
        r"^## Differences from MIMEDefang$(.*?)(?=^## |\Z)", PROTOCOL.read_text(), re.MULTILINE | re.DOTALL
    )
    assert section is not None
    assert f"`{entry.name}`" in section[1]


@pytest.mark.parametrize("entry", differences.DIFFERENCES, ids=lambda entry: entry.name)
def test_every_difference_is_one(original: Player, entry: differences.Difference) -> None:
    """An entry that changes nothing any more would hide the next thing that does."""
    assert entry.transactions <= {transaction.name for transaction in TRANSACTIONS}
    for transaction in TRANSACTIONS:
        if transaction.name in entry.transactions:
            told = original.told(transaction)
            with_it = [differences.expected(told, chain, transaction) for chain in OTHERS]
            without = [differences.expected(told, chain, transaction, leave_out=entry) for chain in OTHERS]
            assert with_it != without, transaction.name
