# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages that kill their workers, through crew and pool, with workers in memory and real working directories."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import trio

from defang_common.wire.results import AddHeader, Bounce, Quarantine, Tempfail, decode
from defang_mux.pool.ledger import Ledger
from defang_mux.pool.ledger import Outcome as Ending
from defang_mux.pool.policy import Pool
from defang_mux.pool.state import Kind, Limits, Slot
from defang_mux.process.crew import Crew, Orders
from defang_mux.process.exchange import NO_RESPONSE
from defang_mux.process.kill import Patience
from defang_mux.process.poison_guard import Outcome, PoisonOrders
from defang_mux.process.spawn import Program
from defang_mux.process.starter import Starting
from tests.mux.conftest import FakeKernel

LOG = logging.getLogger("defang.mux.test")
SEGV = 11
KILL = 9
_PAUSE_S = 0.005

Make = Callable[..., Crew]


@pytest.fixture
async def make(kernel: FakeKernel, nursery: trio.Nursery, tmp_path: Path) -> AsyncIterator[Make]:
    def make_crew(outcome: Outcome = Outcome.TEMPFAIL, *, busy_timeout_s: float = 120, grace_s: float = 10) -> Crew:
        limits = Limits(
            min_workers=1, max_workers=4, max_requests=500, idle_timeout_s=300, start_interval_s=3,
            activation_interval_s=0, queue_size=10, queue_timeout_s=30,
        )  # fmt: skip
        orders = Orders(
            program=Program(path=Path("/worker"), rules=None, status_tags=False),
            starting=Starting.EXEC,
            busy_timeout_s=busy_timeout_s,
            patience=Patience(stop_grace_s=grace_s, kill_grace_s=grace_s),
            verbose=False,
            poison=PoisonOrders(outcome=outcome, store=tmp_path / "poison"),
        )
        crew = Crew(Pool(limits, now=trio.current_time(), epoch_offset_s=0), orders, nursery, LOG, ledger=Ledger())
        nursery.start_soon(crew.keep_time)
        return crew

    yield make_crew
    nursery.cancel_scope.cancel()


class Mail:
    """Working directories as a front end makes them, a new one for each attempt, and what becomes of the scan."""

    def __init__(self, crew: Crew, kernel: FakeKernel, base: Path) -> None:
        self._crew = crew
        self._kernel = kernel
        self._base = base
        self.directory = base

    def arrive(self, content: bytes) -> bytes:
        number = len(list(self._base.glob("mdefang-*")))
        self.directory = self._base / f"mdefang-{number}"
        self.directory.mkdir()
        (self.directory / "INPUTMSG").write_bytes(content)
        (self.directory / "COMMANDS").write_bytes(b"Q%d\nF\n" % number)
        return b"scan Q%d %b" % (number, str(self.directory).encode())

    def _busy(self) -> list[Slot]:
        return [slot for slot in self._crew._pool.slots if slot.ticket is not None]

    async def scan(self, content: bytes, *, ends: int | None = None, says: bytes = b"") -> bytes:
        """The reply; the worker dies by the signal `ends`, or answers well."""
        return await self.ask(self.arrive(content), ends=ends, says=says)

    async def ask(self, line: bytes, *, ends: int | None = None, says: bytes = b"") -> bytes:
        """As `scan`, of a message that has arrived."""
        replies: list[bytes] = []

        async def wait_for_reply() -> None:
            replies.append(await self._crew.answer(line))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait_for_reply)
            # Files are read in a thread, which is no task that could be waited for.
            while not (busy := self._busy()) and not replies:  # noqa: ASYNC110
                await trio.sleep(_PAUSE_S)
            if busy:
                assert busy[0].pid is not None
                process = self._kernel.process(busy[0].pid)
                assert await process.read_line() == line
                if ends is None:
                    process.say(b"ok\n")
                else:
                    process.complain(says)
                    process.exit()
                    process.exit_status = ends
                    self._crew.reap()
        return replies[0]


@pytest.fixture
def mail_of(kernel: FakeKernel, tmp_path: Path) -> Callable[[Crew], Mail]:
    return lambda crew: Mail(crew, kernel, tmp_path)


MailOf = Callable[[Crew], Mail]


@pytest.mark.parametrize("outcome", [Outcome.TEMPFAIL, Outcome.QUARANTINE, Outcome.REJECT])
async def test_message_that_cost_two_workers_is_not_given_a_third(
    make: Make, mail_of: MailOf, outcome: Outcome, caplog: pytest.LogCaptureFixture
) -> None:
    crew = make(outcome)
    mail = mail_of(crew)
    assert await mail.scan(b"poison", ends=SEGV) == NO_RESPONSE
    assert await mail.scan(b"innocent") == b"ok\n"
    assert await mail.scan(b"poison", ends=SEGV) == NO_RESPONSE
    assert await mail.scan(b"poison") == b"ok\n"
    told = decode((mail.directory / "RESULTS").read_bytes())
    match outcome:
        case Outcome.TEMPFAIL:
            assert isinstance(told.verdict, Tempfail)
        case Outcome.REJECT:
            assert isinstance(told.verdict, Bounce)
        case _:
            assert told.verdict is None
            assert [type(change) for change in told.changes] == [Quarantine, AddHeader]
    assert crew._ledger.counts[Kind.SCAN][Ending.POISON] == 1
    assert crew.guard.refused == 1
    assert any(
        record.getMessage().startswith(f"Q3: Poison message: {outcome}, without a worker: it has cost 2 before")
        and record.getMessage().endswith("ended by signal 11")
        for record in caplog.records
    )


async def test_messages_that_lose_their_workers_at_once_are_all_kept(
    make: Make, mail_of: MailOf, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    crew = make()
    mail = mail_of(crew)
    lines = [mail.arrive(b"%d" % number * 1_000_000) for number in range(8)]
    async with trio.open_nursery() as at_once:
        for line in lines:
            at_once.start_soon(crew.guard._remember, line, "did not answer in time", [])
    bundles = [{file.name for file in bundle.iterdir()} for bundle in (tmp_path / "poison").iterdir()]
    assert bundles == [{"COMMANDS", "INPUTMSG", "DEATHS"}] * len(lines)
    assert not [text for text in caplog.messages if "not kept" in text]


async def test_other_content_of_the_same_size_gets_its_worker(make: Make, mail_of: MailOf) -> None:
    mail = mail_of(make())
    await mail.scan(b"innocent")
    await mail.scan(b"poison", ends=SEGV)
    await mail.scan(b"innocent")
    await mail.scan(b"poison", ends=SEGV)
    assert await mail.scan(b"potion") == b"ok\n"
    assert not (mail.directory / "RESULTS").exists()


async def test_first_death_keeps_the_message_and_what_was_said(
    make: Make, mail_of: MailOf, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    mail = mail_of(make())
    await mail.scan(b"poison", ends=SEGV, says=b"Fatal Python error\n  File x in filter_begin\n")
    (bundle,) = (tmp_path / "poison").iterdir()
    assert (bundle / "INPUTMSG").read_bytes() == b"poison"
    deaths = (bundle / "DEATHS").read_text().splitlines()
    assert deaths[0].endswith("ended by signal 11")
    assert " Q0: worker 0 (pid 40000000)" in deaths[0]
    assert deaths[1:] == ["Fatal Python error", "  File x in filter_begin"]
    assert f"defang-worker test-mail {bundle}" in caplog.text


async def test_worker_killed_from_outside_is_no_fault_of_the_message(
    make: Make, mail_of: MailOf, tmp_path: Path
) -> None:
    crew = make()
    mail = mail_of(crew)
    for _ in range(3):
        await mail.scan(b"innocent", ends=KILL)
    assert not crew.guard.memory
    assert not (tmp_path / "poison").exists()


async def test_broken_filter_condemns_no_message(make: Make, mail_of: MailOf, caplog: pytest.LogCaptureFixture) -> None:
    crew = make(Outcome.REJECT)
    mail = mail_of(crew)
    await mail.scan(b"fine")
    for content in (b"a1", b"a2", b"a3", b"a4"):
        await mail.scan(content, ends=SEGV)
    assert "none is blamed" in caplog.text
    await mail.scan(b"a1", ends=SEGV)
    await mail.scan(b"fine")
    assert await mail.scan(b"a1") == b"ok\n"
    assert not (mail.directory / "RESULTS").exists()


async def test_new_filter_is_given_every_message_again(make: Make, mail_of: MailOf) -> None:
    crew = make(Outcome.REJECT)
    mail = mail_of(crew)
    await mail.scan(b"poison", ends=SEGV)
    await mail.scan(b"fine")
    await mail.scan(b"poison", ends=SEGV)
    await crew.reread()
    assert await mail.scan(b"poison") == b"ok\n"
    assert not (mail.directory / "RESULTS").exists()


async def test_nothing_is_remembered_where_it_is_switched_off(make: Make, mail_of: MailOf, tmp_path: Path) -> None:
    crew = make(Outcome.NONE)
    mail = mail_of(crew)
    await mail.scan(b"poison", ends=SEGV)
    assert not crew.guard.memory
    assert not (tmp_path / "poison").exists()


async def test_message_that_cannot_be_read_is_left_to_workers(
    make: Make, mail_of: MailOf, caplog: pytest.LogCaptureFixture
) -> None:
    crew = make()
    mail = mail_of(crew)
    await mail.scan(b"poison", ends=SEGV)
    line = mail.arrive(b"x")
    (mail.directory / "INPUTMSG").unlink()
    assert await mail.ask(line) == b"ok\n"
    assert "Q1: not compared with messages that killed workers" in caplog.text


async def test_message_that_times_out_is_remembered_too(make: Make, mail_of: MailOf, tmp_path: Path) -> None:
    crew = make(busy_timeout_s=0.05, grace_s=0.05)
    reply = await crew.answer(mail_of(crew).arrive(b"endless"))
    assert reply.startswith(b"ERR Filter timed out")
    (bundle,) = (tmp_path / "poison").iterdir()
    assert "did not answer in time" in (bundle / "DEATHS").read_text()
