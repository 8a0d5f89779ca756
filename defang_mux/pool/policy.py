# SPDX-License-Identifier: GPL-3.0-or-later
"""Who serves, when to queue, refuse, start, retire and throttle (protocol.md, Multiplexor).

Each method takes what happened and `now`, changes the pool's records, and returns the actions
that follow from it, to be carried out in order. `process.crew` is the only caller. One class, and so
a long module, because every rule acts on the same lists of slots.
"""

from collections import deque
from collections.abc import Iterator
from typing import Final

from defang_mux.pool.age import why_too_old
from defang_mux.pool.autoscale import Autoscale, Step
from defang_mux.pool.choice import choose
from defang_mux.pool.domains import is_one_too_many
from defang_mux.pool.history import History
from defang_mux.pool.pacing import Pacing
from defang_mux.pool.state import (
    Action,
    Assign,
    Counts,
    Kill,
    Kind,
    Limits,
    Moved,
    Refuse,
    Retire,
    Slot,
    Start,
    State,
    Ticket,
)

NO_FREE_WORKERS: Final = b"error: No free workers\n"
QUEUE_TIMED_OUT: Final = b"error: Queued request timed out\n"
NO_ACTIVATION: Final = b"error: Unable to activate worker\n"
STOPPING: Final = b"error: Multiplexor is stopping\n"
DOMAIN_LIMIT: Final = b"ok -1 Per-domain%20recipok%20limit%20hit;%20please%20try%20again%20later\n"

# While requests wait, a worker may go on beyond its limit of requests: replacing it costs them more than its
# leaks do. The factor is MIMEDefang's.
_OVERTIME: Final = 3

_REREAD: Final = "Forced reread of filter rules"
_STOP: Final = "Multiplexor is stopping"


class Pool:
    """All slots, the queue, and the rules. Single-threaded; `now` never goes back.

    If it is `watched`, each step of a slot is told among the actions.
    """

    def __init__(self, limits: Limits, *, now: float, epoch_offset_s: float, watched: bool = False) -> None:
        self.limits = limits
        self.started_at = now
        self.slots = tuple(Slot(number=number, changed_at=now) for number in range(limits.max_workers))
        self.counts = Counts(busy_histogram=[0] * limits.max_workers)
        self.history = History(epoch_offset_s)
        # Both are stacks: who came last is at the end.
        self._idle: list[Slot] = []
        self._stopped = list(reversed(self.slots))
        self._busy = 0
        self._queue: deque[Ticket] = deque()
        self._next_fill_at: float | None = now
        self._next_idle_check_at = now + limits.idle_timeout_s
        self._pacing = Pacing(limits.activation_interval_s, free_deaths=limits.max_workers, now=now)
        self.autoscale = Autoscale(enabled=limits.autoscale, now=now)
        self._last_start_at: float | None = None
        self._watched = watched
        # Ended by us with nothing wrong about them: their places are free in a moment.
        self._leaving: set[Slot] = set()
        self._stopping = False

    # Facts for reports

    @property
    def free(self) -> int:
        """Workers that are idle or could be started; 0 while stopping."""
        return 0 if self._stopping else len(self._idle) + len(self._stopped)

    @property
    def free_soon(self) -> int:
        """How many requests would be served now or, in place of workers that are being replaced, in a moment."""
        return 0 if self._stopping else self.free + max(0, len(self._leaving) - len(self._queue))

    @property
    def running(self) -> int:
        """Workers that have a process, those being ended included."""
        return len(self.slots) - len(self._stopped)

    @property
    def queued(self) -> int:
        """Requests that wait for a worker."""
        return len(self._queue)

    def in_state(self, state: State) -> int:
        """How many slots are in this state."""
        return sum(slot.state is state for slot in self.slots)

    def start_delay_s(self, now: float) -> float:
        """How long no worker will be started, in seconds; 0 when one may be."""
        return max(0.0, self._pacing.not_before - now)

    @property
    def delayed_starts(self) -> int:
        """How many starts in a row were delayed because workers died before their first answer."""
        return self._pacing.delays

    def wake_at(self) -> float:
        """When `wake` wants to be called, if nothing else happens before."""
        at = min(self._next_idle_check_at, self.autoscale.next_check_at)
        if self._next_fill_at is not None:
            at = min(at, max(self._next_fill_at, self._pacing.not_before))
        if self._queue:
            at = min(at, self._queue[0].queued_until)
            if self._stopped:
                at = min(at, self._pacing.not_before)
        return at

    # What happens

    def submit(self, ticket: Ticket, now: float) -> list[Action]:
        """A request has come in: it gets a worker, a place in the queue, or a refusal."""
        actions: list[Action] = []
        if self._stopping:
            self._refuse(ticket, STOPPING, actions)
        elif self.limits.domain_recipients and is_one_too_many(ticket, self._tickets(), self.limits.domain_recipients):
            self._refuse(ticket, DOMAIN_LIMIT, actions)
        elif self._queue or not self._hand_over(ticket, now, actions):
            self._enqueue(ticket, now, actions, in_front=False)
        return actions

    def finished(self, slot: Slot, now: float, *, unfit: str | None = None) -> list[Action]:
        """The worker has answered. `unfit` is a reason not to give it another request."""
        ticket = self._account(slot, now)
        slot.answered = True
        self._pacing.answered()
        must_go = unfit or slot.retire
        actions: list[Action] = []
        slot.move(State.IDLE, now)
        self._idle.append(slot)
        if self._watched:
            self._tell(slot, State.BUSY, now, actions, ticket=ticket)
        if must_go is None and self._queue and slot.requests < _OVERTIME * self.limits.max_requests:
            self._serve_queue(now, actions)
        if must_go is None and slot.requests >= self.limits.max_requests:
            must_go = f"Worker has processed {slot.requests} requests"
        must_go = must_go or why_too_old(slot, now, self.limits.max_age_s)
        if must_go is not None and slot.state is State.IDLE:
            self._retire(slot, must_go, now, actions)
        return actions

    def broken(self, slot: Slot, now: float, *, reason: str, died: bool) -> list[Action]:
        """The worker failed its request: it `died`, hung, or talked nonsense. The client has its answer."""
        ticket = self._account(slot, now)
        slot.died = died
        slot.move(State.KILLED, now)
        actions: list[Action] = []
        if self._watched:
            self._tell(slot, State.BUSY, now, actions, ticket=ticket, reason=reason)
        actions.append(Kill(slot=slot, reason=reason))
        return actions

    def withdraw(self, ticket: Ticket) -> None:
        """Nobody waits for the request any more; it was in the queue."""
        self._queue.remove(ticket)

    def given_back(self, slot: Slot, now: float, *, reason: str, died: bool) -> list[Action]:
        """The worker was found unfit before it saw the request, which therefore may go to another one."""
        ticket = slot.ticket
        assert ticket is not None
        self._busy -= 1
        slot.ticket = ticket.slot = None
        slot.died = died
        slot.move(State.KILLED, now)
        actions: list[Action] = []
        if self._watched:
            self._tell(slot, State.BUSY, now, actions, ticket=ticket, reason=reason)
        actions.append(Retire(slot=slot, reason=reason))
        if self._stopping:
            self._refuse(ticket, STOPPING, actions)
        elif not self._hand_over(ticket, now, actions):
            self._enqueue(ticket, now, actions, in_front=True)
        return actions

    def start_failed(self, slot: Slot, now: float) -> list[Action]:
        """No process could be started for the slot; its request, if it had one already, is refused."""
        actions: list[Action] = []
        if slot.state is State.IDLE:
            self._idle.remove(slot)
        elif slot.ticket is not None:
            self._busy -= 1
            ticket, slot.ticket = slot.ticket, None
            ticket.slot = None
            self._refuse(ticket, NO_ACTIVATION, actions)
        self._stop_slot(slot, now, actions)
        self._pacing.not_started(now)
        self._plan_fill(now)
        self._serve_queue(now, actions)
        return actions

    def reaped(self, slot: Slot, now: float) -> list[Action]:
        """The slot's process is gone, by our will or not. A request must have been ended before."""
        early = not slot.answered and (slot.state is State.IDLE or slot.died)
        if slot.state is State.IDLE:
            self._idle.remove(slot)
        actions: list[Action] = []
        self._stop_slot(slot, now, actions)
        self.history.reaped(now)
        if early:
            self._pacing.died_early(now)
        self._plan_fill(now)
        self._serve_queue(now, actions)
        return actions

    def wake(self, now: float) -> list[Action]:
        """Time has passed: requests leave the queue, workers come up to the minimum, idle ones go."""
        actions: list[Action] = []
        while self._queue and self._queue[0].queued_until <= now:
            self._refuse(self._queue.popleft(), QUEUE_TIMED_OUT, actions)
        self._serve_queue(now, actions)
        self._fill(now, actions)
        self._retire_idle(now, actions)
        self._scale(now, actions)
        return actions

    def reread(self, now: float) -> list[Action]:
        """Every worker of now goes, so that the filter is read anew: idle ones at once, busy ones when done."""
        self._pacing.forgive(now, starts=self.running)
        for slot in self.slots:
            if slot.state is State.BUSY:
                slot.retire = _REREAD
        actions: list[Action] = []
        for slot in reversed(self._idle.copy()):
            self._retire(slot, _REREAD, now, actions)
        self._plan_fill(now)
        self._serve_queue(now, actions)
        return actions

    def stop(self, now: float) -> list[Action]:
        """No more starts, no more requests: the queue is refused, idle workers go, busy ones when done."""
        self._stopping = True
        self._next_fill_at = None
        self._next_idle_check_at = self.autoscale.next_check_at = float("inf")
        actions: list[Action] = []
        while self._queue:
            self._refuse(self._queue.popleft(), STOPPING, actions)
        for slot in self.slots:
            if slot.state is State.BUSY:
                slot.retire = _STOP
        for slot in self._idle.copy():
            self._retire(slot, _STOP, now, actions)
        return actions

    # Steps

    def _hand_over(self, ticket: Ticket, now: float, actions: list[Action]) -> bool:
        """Gives the request to the best idle worker, or to a new one; False if there is neither."""
        if self._idle:
            slot = choose(self._idle, ticket.kind)
            self._idle.remove(slot)
            slot.on_demand = False
        elif self._stopped and self._pacing.may_start(now):
            slot = self._start(f"{ticket.kind.value} request, no worker idle", now, actions)
            self._idle.pop()
            slot.on_demand = True
        else:
            return False
        slot.move(State.BUSY, now)
        slot.assigned_at = now
        if slot.first_request_at is None:
            slot.first_request_at = now
        if ticket.kind is not Kind.OTHER:
            slot.last = ticket.kind
        slot.ticket, ticket.slot = ticket, slot
        self._busy += 1
        self.counts.busy_histogram[self._busy - 1] += 1
        if self._watched:
            self._tell(slot, State.IDLE, now, actions, ticket=ticket)
        actions.append(Assign(ticket=ticket))
        return True

    def _enqueue(self, ticket: Ticket, now: float, actions: list[Action], *, in_front: bool) -> None:
        # Where there is no queue, or not for this request, it may still wait for a worker that is being replaced.
        room = len(self._leaving) + (self.limits.queue_size if ticket.may_wait else 0)
        if len(self._queue) >= room:
            self._refuse(ticket, NO_ACTIVATION if self._stopped else NO_FREE_WORKERS, actions)
            return
        ticket.queued_until = now + self.limits.queue_timeout_s
        if in_front:
            # Deadlines never fall from front to back: `wake` looks at the front alone.
            if self._queue:
                ticket.queued_until = min(ticket.queued_until, self._queue[0].queued_until)
            self._queue.appendleft(ticket)
        else:
            self._queue.append(ticket)

    def _serve_queue(self, now: float, actions: list[Action]) -> None:
        while self._queue and self._hand_over(self._queue[0], now, actions):
            self._queue.popleft()

    def _tickets(self) -> Iterator[Ticket]:
        """All requests that wait or run."""
        yield from self._queue
        yield from (slot.ticket for slot in self.slots if slot.ticket is not None)

    def _refuse(self, ticket: Ticket, reply: bytes, actions: list[Action]) -> None:
        ticket.refusal = reply
        actions.append(Refuse(ticket=ticket))

    def _account(self, slot: Slot, now: float) -> Ticket:
        ticket = slot.ticket
        assert ticket is not None
        kind = ticket.kind
        slot.requests += 1
        if kind is Kind.SCAN:
            slot.scans += 1
            self.counts.messages += 1
        self.history.finished(kind, now=now, busy=self._busy, seconds=now - slot.assigned_at)
        self._busy -= 1
        slot.ticket = ticket.slot = None
        return ticket

    def _start(self, reason: str, now: float, actions: list[Action]) -> Slot:
        slot = self._stopped.pop()
        slot.move(State.IDLE, now)
        slot.activated = self.counts.activations
        slot.started_at = now
        slot.first_request_at = slot.last = slot.retire = None
        slot.requests = slot.scans = 0
        slot.answered = slot.died = False
        self.counts.activations += 1
        self.history.activated(now)
        self._pacing.started(now)
        self._last_start_at = now
        self._idle.append(slot)
        if self._watched:
            self._tell(slot, State.STOPPED, now, actions, reason=reason)
        actions.append(Start(slot=slot, reason=reason))
        return slot

    def _stop_slot(self, slot: Slot, now: float, actions: list[Action]) -> None:
        old = slot.state
        slot.move(State.STOPPED, now)
        slot.pid = None
        self._stopped.append(slot)
        self._leaving.discard(slot)
        if self._watched:
            self._tell(slot, old, now, actions)

    def _retire(self, slot: Slot, reason: str, now: float, actions: list[Action]) -> None:
        self._idle.remove(slot)
        slot.move(State.KILLED, now)
        self._leaving.add(slot)
        if self._watched:
            self._tell(slot, State.IDLE, now, actions, reason=reason)
        actions.append(Retire(slot=slot, reason=reason))

    def _plan_fill(self, now: float) -> None:
        if self.running >= self.limits.min_workers or self._stopping:
            self._next_fill_at = None
        elif self._next_fill_at is None:
            self._next_fill_at = now + self.limits.start_interval_s

    def _fill(self, now: float, actions: list[Action]) -> None:
        due = self._next_fill_at is not None and max(self._next_fill_at, self._pacing.not_before) <= now
        if not due:
            return
        if self.running < self.limits.min_workers:
            self._start(f"Bringing workers up to minWorkers ({self.limits.min_workers})", now, actions)
        self._next_fill_at = None
        self._plan_fill(now)

    def _retire_idle(self, now: float, actions: list[Action]) -> None:
        if now < self._next_idle_check_at:
            return
        self._next_idle_check_at = now + self.limits.idle_timeout_s
        for slot in self._idle.copy():
            reason = why_too_old(slot, now, self.limits.max_age_s)
            if reason is not None:
                self._retire(slot, reason, now, actions)
        excess = self.running - self.limits.min_workers
        weary = [slot for slot in self._idle if now - slot.changed_at >= self.limits.idle_timeout_s]
        for slot in weary[: max(excess, 0)]:
            self._retire(slot, "Idle timeout", now, actions)

    def _scale(self, now: float, actions: list[Action]) -> None:
        if now < self.autoscale.next_check_at:
            return
        step = self.autoscale.check(
            now,
            busy=self._busy,
            running=self.running,
            least=self.limits.min_workers,
            most=self.limits.max_workers,
            last_start_at=self._last_start_at,
        )
        if step is Step.START and self._stopped and self._pacing.may_start(now):
            self._start(f"Autoscale: workers are busy ({self.autoscale.ema_busy:.2f})", now, actions)
        elif step is Step.END and self._idle:
            self.autoscale.ended_one(now)
            self._retire(self._idle[-1], f"Autoscale: workers are idle ({self.autoscale.ema_busy:.2f})", now, actions)

    def _tell(
        self,
        slot: Slot,
        old: State,
        now: float,
        actions: list[Action],
        *,
        ticket: Ticket | None = None,
        reason: str = "",
    ) -> None:
        actions.append(
            Moved(
                number=slot.number,
                old=old,
                new=slot.state,
                running=self.running,
                busy=self._busy,
                free=self.free,
                line=b"" if ticket is None else ticket.line,
                kind=None if ticket is None else ticket.kind,
                reason=reason,
                requests=slot.requests,
                age_s=now - slot.started_at,
                unexpected=slot.died or (slot.state is State.STOPPED and old is not State.KILLED),
            )
        )
