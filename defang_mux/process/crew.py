# SPDX-License-Identifier: GPL-3.0-or-later
"""The living workers: carries out the pool's actions on them, and takes clients' requests through them.

Tells the pool what happened (answered, died, too late), does what it says in return, and wakes
it when its time has come. The only caller of `pool.policy`. One class, and so a long module, because a
client's task, the pool's actions and the ends of processes meet in the same workers, in any order.
"""

import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from logging import Logger
from resource import struct_rusage
from typing import Final, assert_never

import trio

from defang_common.host import notify
from defang_common.shown import shown
from defang_common.wire import percent
from defang_mux.log_prefix import log_prefix
from defang_mux.pool.events import Event, RereadForced, Tagged, TimeoutHit, Watch
from defang_mux.pool.ledger import Entry, Ledger, Outcome, outcome_of_answer
from defang_mux.pool.policy import Pool
from defang_mux.pool.state import Action, Assign, Kill, Kind, Moved, Refuse, Retire, Slot, Start, State, Ticket, kind_of
from defang_mux.process.deadlines import Deadlines
from defang_mux.process.exchange import NO_RESPONSE, Exchanged, Fault, TimedOut, Unborn, Unseen
from defang_mux.process.kill import Patience, end_worker
from defang_mux.process.merged import Merged
from defang_mux.process.poison_guard import PoisonGuard, PoisonOrders
from defang_mux.process.slot import Worker
from defang_mux.process.spawn import Program, open_pipes
from defang_mux.process.stack import hear_out
from defang_mux.process.starter import Starter, Starting
from defang_mux.process.stateful import ask

TIMED_OUT: Final = b"ERR Filter timed out - check filter rules or system load\n"
OVERLOADED: Final = b"ERR Filter timed out - system may be overloaded (consider increasing busy timeout)\n"
# With more busy workers than this, a timeout is blamed on the load. MIMEDefang's number.
_OVERLOAD_WORKERS: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """What the crew needs of the settings. `verbose`: log starts and ends of workers; `log_choices`: who gets what."""

    program: Program
    starting: Starting
    busy_timeout_s: float
    patience: Patience
    verbose: bool
    poison: PoisonOrders
    log_choices: bool = False


class Crew:
    """Workers by slot number, and the clients that wait for one. `nursery` outlives all clients.

    `watches` are told what happens; with any, the pool has to be one that is watched.
    """

    def __init__(
        self,
        pool: Pool,
        orders: Orders,
        nursery: trio.Nursery,
        log: Logger,
        watches: Sequence[Watch] = (),
        *,
        ledger: Ledger,
    ) -> None:
        self._pool = pool
        self._ledger = ledger
        self.guard = PoisonGuard(orders.poison, lambda: ledger.scanned, log)
        self._orders = orders
        self._nursery = nursery
        self._log = log
        self._watches = watches
        self._workers: dict[int, Worker] = {}
        self._waiting: dict[Ticket, trio.lowlevel.Task] = {}
        self._deadlines = Deadlines(orders.busy_timeout_s)
        self._alarm = trio.CancelScope()
        self._changed = trio.Event()
        self.reread: Merged[str | None] = Merged(self._reread, nursery)
        """Has the filter read anew and replaces every worker; or says why not, and all stay."""
        self._starter = Starter(
            orders.program,
            orders.starting,
            self,
            nursery=nursery,
            load_limit_s=orders.busy_timeout_s,
            patience=orders.patience,
            log=log,
        )

    # For clients

    async def answer(self, line: bytes, *, may_wait: bool = True) -> bytes:
        """The reply to a request line: a worker's answer, or an error line. One that `may_wait` may be queued."""
        ticket = Ticket(line=line, kind=kind_of(line), came_at=trio.current_time(), may_wait=may_wait)
        if ticket.kind is Kind.SCAN and self.guard.memory:
            reply = await self.guard.refusal(line)
            if reply is not None:
                self._note(ticket, Outcome.POISON, ticket.came_at, None, reply)
                return reply
        self._perform(self._pool.submit(ticket, trio.current_time()))
        while ticket.refusal is None:
            slot = ticket.slot
            if slot is None:
                if self._orders.verbose:
                    queued = self._pool.queued
                    self._log.info("%sNo worker is free: %d in the queue", log_prefix(line), queued)
                await self._turn(ticket)
                continue
            reply = await self._ask(self._workers[slot.number], ticket)
            if reply is not None:
                return reply
        self._log.warning("%s%s", log_prefix(line), shown(percent.decode(ticket.refusal).strip()))
        self._note(ticket, Outcome.REFUSED, ticket.came_at, None, ticket.refusal)
        return ticket.refusal

    async def _turn(self, ticket: Ticket) -> None:
        """Until it has a slot or a refusal."""

        def give_up(_: object) -> trio.lowlevel.Abort:
            del self._waiting[ticket]
            self._pool.withdraw(ticket)
            return trio.lowlevel.Abort.SUCCEEDED

        self._waiting[ticket] = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(give_up)

    async def _ask(self, worker: Worker, ticket: Ticket) -> bytes | None:
        """The reply of this worker or about its failure; None if the request has to go to another one."""
        worker.takes(ticket.line)
        slot = worker.slot
        began_at = slot.assigned_at
        if self._orders.log_choices:
            how = "new" if slot.on_demand else "idle"
            self._log.info(
                "%sScheduling %s worker %d for %s", worker.log_prefix(), how, slot.number, shown(worker.line)
            )
        try:
            done = await self._in_time(worker, ticket.line)
        except Unborn:
            # The pool ends the request.
            self._forget(worker)
            return None
        except (Unseen, Fault, TimedOut) as failure:
            reply = self._not_answered(worker, failure)
            if reply is not None:
                self._note(ticket, Outcome.FAILED, began_at, worker, reply)
                if ticket.kind is Kind.SCAN:
                    await self.guard.look_into(worker, failure)
            return reply
        except trio.Cancelled:
            self._failed(worker, b"", "Request given up", died=False)
            raise
        except BaseException as error:
            self._failed(worker, b"", f"Request given up: {error!r}", died=False)
            raise
        self._note(ticket, outcome_of_answer(done.answer), began_at, worker, done.answer)
        self._finished(worker, done)
        return done.answer

    async def _in_time(self, worker: Worker, line: bytes) -> Exchanged:
        self._deadlines.begin(worker, worker.slot.assigned_at)
        try:
            return await ask(worker, line)
        finally:
            self._deadlines.end(worker)

    def _note(self, ticket: Ticket, outcome: Outcome, began_at: float, worker: Worker | None, reply: bytes) -> None:
        number, said = (None, []) if worker is None else (worker.slot.number, worker.said)
        now = trio.current_time()
        self._ledger.note(Entry(ticket.kind, outcome, ticket.came_at, began_at, now, number, ticket.line, reply, said))

    def _finished(self, worker: Worker, done: Exchanged) -> None:
        unfit = done.unfit or ("It ended after its answer" if worker.exited.is_set() else None)
        if done.unfit is not None:
            self._log.warning("%sWorker %d: %s", worker.log_prefix(), worker.slot.number, done.unfit)
        self._perform(self._pool.finished(worker.slot, trio.current_time(), unfit=unfit))

    def _not_answered(self, worker: Worker, failure: Unseen | Fault | TimedOut) -> bytes | None:
        match failure:
            case Unseen():
                return self._found_unfit(worker, failure)
            case Fault():
                return self._failed(worker, failure.reply, failure.reason, died=failure.died)
            case TimedOut():
                self._tell(TimeoutHit(number=worker.slot.number))
                self._ledger.timeouts += 1
                worker.timed_out = True
                busy = self._pool.in_state(State.BUSY)
                reply = OVERLOADED if busy > _OVERLOAD_WORKERS else TIMED_OUT
                return self._failed(worker, reply, "Busy timeout", died=False)
            case _:
                assert_never(failure)

    def _found_unfit(self, worker: Worker, error: Unseen) -> bytes | None:
        slot = worker.slot
        self._log.warning("%sWorker %d did not get the request: %s", worker.log_prefix(), slot.number, error.reason)
        if slot.on_demand:
            # Started for this very request: the next one would fare no better.
            return self._failed(worker, NO_RESPONSE, error.reason, died=error.died)
        self._perform(self._pool.given_back(slot, trio.current_time(), reason=error.reason, died=error.died))
        return None

    def _failed(self, worker: Worker, reply: bytes, reason: str, *, died: bool) -> bytes:
        self._log.error("%sWorker %d failed: %s", worker.log_prefix(), worker.slot.number, reason)
        self._perform(self._pool.broken(worker.slot, trio.current_time(), reason=reason, died=died))
        return reply

    # For the supervisor

    async def keep_time(self) -> None:
        """Wakes the pool whenever it asked for it, and ends the wait for workers that take too long; for ever."""
        async with trio.open_nursery() as timers:
            timers.start_soon(self._deadlines.keep)
            timers.start_soon(self._wake_pool)

    async def _wake_pool(self) -> None:
        while True:
            with trio.CancelScope(deadline=self._pool.wake_at()) as self._alarm:
                await trio.sleep_forever()
            self._perform(self._pool.wake(trio.current_time()))

    def begin(self) -> None:
        """Prepares for starts of workers."""
        self._starter.begin()

    async def _reread(self) -> str | None:
        """Idle workers go at once, busy ones after their request."""
        notify.reloading()
        try:
            fault = await self._starter.renew()
        finally:
            notify.ready()
        self._ledger.reread_fault = fault
        if fault is not None:
            self._log.error("Filter not reread, nothing has changed: %s", fault)
            return fault
        self._log.info("Rereading the filter: idle workers go at once, busy ones after their request")
        self.guard.memory.forget()
        self._perform(self._pool.reread(trio.current_time()))
        self._tell(RereadForced())
        return None

    def stop(self) -> None:
        """Refuses what is queued and what comes; workers go as they become idle."""
        self._perform(self._pool.stop(trio.current_time()))

    def abandon(self) -> None:
        """Gives up the requests in work; their clients are told so."""
        for worker in self._workers.values():
            worker.abandoned = True
            worker.interrupt()

    async def wait_gone(self) -> None:
        """Returns when no process is left."""
        while self._workers:
            await self._changed.wait()
        await self._starter.end()

    def pids(self) -> list[int]:
        """The processes that are left."""
        return [worker.pid for worker in self._workers.values() if worker.pid is not None] + self._starter.pids()

    def reap(self) -> None:
        """Takes note of every process that has ended; to be called after SIGCHLD."""
        for worker in list(self._workers.values()):
            self._look_at(worker)
        self._starter.reap()
        # What workers leave behind is our child, for we are their subreaper.
        while not self._starter.has_orders and self._reap_stray():
            pass

    def _look_at(self, worker: Worker) -> None:
        if worker.pid is None or worker.exited.is_set():
            return
        try:
            pid, status, usage = os.wait4(worker.pid, os.WNOHANG)
        except ChildProcessError:
            # Its parent is still the process that forked it; that one's end makes another SIGCHLD.
            return
        if pid:
            self._has_exited(worker, status, usage)

    def _reap_stray(self) -> bool:
        """Whether there was one more child that had ended."""
        try:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return False
        for worker in self._workers.values():
            # It ended just after it was looked at.
            if worker.pid == pid and not worker.exited.is_set():
                self._has_exited(worker, status, usage)
                break
        else:
            self._starter.has_exited(pid, status)
        return pid != 0

    def _has_exited(self, worker: Worker, status: int, usage: struct_rusage) -> None:
        worker.exit_status = status
        worker.usage = usage
        worker.ended_by_itself = worker.reason is None
        worker.exited.set()
        if worker.slot.ticket is None:
            self._bury(worker)
        else:
            # Its answer may still be in the pipe. The client's task looks, and ends the worker in the pool.
            worker.interrupt()

    # The pool's actions

    def _perform(self, actions: list[Action]) -> None:
        if self._watches:
            # First, for what is done may fail, and the steps that follow from that are to be told behind these.
            for action in actions:
                if isinstance(action, Moved):
                    self._tell(action)
        for action in actions:
            match action:
                case Assign(ticket=ticket) | Refuse(ticket=ticket):
                    task = self._waiting.pop(ticket, None)
                    if task is not None:
                        trio.lowlevel.reschedule(task)
                case Start(slot=slot, reason=reason):
                    self._start(slot, reason)
                case Retire(slot=slot, reason=reason):
                    self._end(slot, reason, busy=False)
                case Kill(slot=slot, reason=reason):
                    self._end(slot, reason, busy=True)
                case Moved():
                    # Told already.
                    pass
                case _:
                    assert_never(action)
        at = self._pool.wake_at()
        # Not put off, nor set to what it is: to set it costs as much as a wait, and to be woken too early nothing.
        if at < self._alarm.deadline:  # noqa: PLR1730  # see above
            self._alarm.deadline = at

    def _tell(self, event: Event) -> None:
        for watch in self._watches:
            watch(event)

    def _start(self, slot: Slot, reason: str) -> None:
        try:
            pipes = open_pipes(status_tags=self._orders.program.status_tags)
        except OSError as error:
            self._log.error("Worker %d not started: %s", slot.number, error.strerror)
            self._perform(self._pool.start_failed(slot, trio.current_time()))
            return
        worker = self._workers[slot.number] = Worker(slot, pipes, self._log, self._tell_tag if self._watches else None)
        worker.wanted_for = reason
        for reader in worker.readers:
            self._nursery.start_soon(reader.run)
        self._starter.start(worker, pipes.theirs)

    def born(self, worker: Worker) -> None:
        """It runs; requests and ends that came before it are waiting in its pipes."""
        slot = worker.slot
        slot.pid = worker.pid
        if self._orders.verbose:
            self._log.info(
                "Starting worker %d (pid %d) (%d running): %s",
                slot.number, worker.pid, self._pool.running, worker.wanted_for,
            )  # fmt: skip
        if worker.reason is not None:
            worker.signal(signal.SIGTERM)

    def tried(self, fault: str | None, *, by_template: bool) -> None:
        """The filter was loaded, or why not."""
        self._ledger.filter_fault = fault
        self._ledger.tries_filter = by_template

    def unborn(self, worker: Worker, reason: str) -> None:
        """There is no process for it; its request is refused."""
        worker.unborn_because = reason
        self._log.error("Worker %d not started: %s", worker.slot.number, reason)
        if worker.is_asked:
            # The client's task does it, which is waiting at the worker's pipes.
            worker.interrupt()
        else:
            self._forget(worker)

    def _forget(self, worker: Worker) -> None:
        worker.close()
        worker.exited.set()
        del self._workers[worker.slot.number]
        self._perform(self._pool.start_failed(worker.slot, trio.current_time()))
        self._has_changed()

    def _tell_tag(self, number: int, tag: bytes) -> None:
        self._tell(Tagged(number=number, tag=tag))

    def _end(self, slot: Slot, reason: str, *, busy: bool) -> None:
        worker = self._workers[slot.number]
        worker.reason = reason
        if worker.pid is None and self._starter.cancel(worker):
            worker.exited.set()
        if worker.exited.is_set():
            self._bury(worker)
            return
        if (self._orders.verbose or busy) and not slot.died:
            self._log.info(
                "%sKilling %s worker %d (pid %s) req=%d age=%d: %s",
                worker.log_prefix() if busy else "",
                "busy" if busy else "idle",
                slot.number,
                "none yet" if worker.pid is None else worker.pid,
                slot.requests,
                trio.current_time() - slot.started_at,
                reason,
            )
        self._nursery.start_soon(self._climb_down, worker, busy)

    async def _climb_down(self, worker: Worker, busy: bool) -> None:  # noqa: FBT001  # start_soon has no keywords
        if worker.timed_out:
            if worker.pid is not None:
                await hear_out(worker.pid, lambda: worker.lines_heard)
            worker.stack_heard.set()
        await end_worker(
            send=worker.signal, hang_up=worker.hang_up, gone=worker.exited, busy=busy, patience=self._orders.patience
        )

    def _bury(self, worker: Worker) -> None:
        """The last of a process that is gone: what it said, a line in the log, and its slot is free."""
        slot = worker.slot
        worker.close()
        del self._workers[slot.number]
        unexpected = worker.ended_by_itself or slot.died
        # One that was idle has not failed the message that it had last.
        early, prefix = not slot.answered, worker.log_prefix() if slot.died else ""
        # Which may start another one in the slot.
        actions = self._pool.reaped(slot, trio.current_time())
        if unexpected:
            self._mourn(worker, prefix, early=early)
        elif self._orders.verbose and worker.pid is not None:
            self._log.debug("Reap: worker %d (pid %d) %s", slot.number, worker.pid, worker.how_it_ended())
        if self._orders.verbose and worker.usage is not None:
            self._log.info("Worker %d resource usage: %s", slot.number, worker.what_it_took(worker.usage))
        self._perform(actions)
        self._has_changed()

    def _has_changed(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    def _mourn(self, worker: Worker, prefix: str, *, early: bool) -> None:
        self._ledger.deaths += 1
        number, ending = worker.slot.number, worker.how_it_ended()
        self._log.error("%sReap: worker %d (pid %d) %s (WORKER DIED UNEXPECTEDLY)", prefix, number, worker.pid, ending)
        if early and self._pool.delayed_starts:
            delay_s = self._pool.start_delay_s(trio.current_time())
            if self._pool.delayed_starts == 1:
                why = worker.last_words or ending
                self._log.error("Workers die before their first answer, check the filter: %s", why)
            self._log.warning("Next start of a worker in %.0f s at the earliest", delay_s)
