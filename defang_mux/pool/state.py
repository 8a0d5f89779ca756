# SPDX-License-Identifier: GPL-3.0-or-later
"""What the pool knows, and the words it speaks: slots and their states, tickets, actions.

A slot is a numbered place for one worker process at a time; a ticket is one client's request.
`TRANSITIONS` is the whole life of a slot. Rules are in `policy`, texts for people in `reports`.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final


class State(StrEnum):
    """A slot's state; the value is its letter in `status` and `workers`."""

    STOPPED = "S"
    IDLE = "I"
    BUSY = "B"
    KILLED = "K"


TRANSITIONS: Final = {
    State.STOPPED: frozenset({State.IDLE}),
    State.IDLE: frozenset({State.BUSY, State.KILLED, State.STOPPED}),
    State.BUSY: frozenset({State.IDLE, State.KILLED, State.STOPPED}),
    State.KILLED: frozenset({State.STOPPED}),
}
"""Started; given a request; answered; ended by us; gone. Nothing leads from killed but the end of the process."""


class ImpossibleMove(Exception):  # a broken invariant of ours, named for what happened
    """A slot was asked for a step that `TRANSITIONS` does not have: a bug of the caller."""


class Kind(StrEnum):
    """What a request is to the pool: the four that are counted, and all others."""

    SCAN = "scan"
    RELAYOK = "relayok"
    SENDEROK = "senderok"
    RECIPOK = "recipok"
    OTHER = "other"


COUNTED: Final = (Kind.SCAN, Kind.RELAYOK, Kind.SENDEROK, Kind.RECIPOK)
_KIND_OF_WORD: Final = {kind.value.encode(): kind for kind in COUNTED}


def kind_of(line: bytes) -> Kind:
    """The kind of a request line; a bare word without arguments is none of the four."""
    word, blank, _ = line.partition(b" ")
    return _KIND_OF_WORD.get(word, Kind.OTHER) if blank else Kind.OTHER


@dataclass(slots=True, kw_only=True, eq=False)
class Ticket:
    """One client's request on its way: in the queue, in a slot, or refused; never two of them.

    `refusal` is the reply that ends it without a worker. Only one that `may_wait` is queued. `domain` is the
    recipient's, where its checks are limited.
    """

    line: bytes
    kind: Kind
    came_at: float = 0.0
    may_wait: bool = True
    domain: bytes = b""
    queued_until: float = 0.0
    slot: "Slot | None" = None
    refusal: bytes | None = None


@dataclass(slots=True, kw_only=True, eq=False)
class Slot:
    """A place for one worker process. Times are the pool's `now`; what is None has not happened.

    `requests` and `scans` are what it is done with. `activated` is the serial number of the process
    among all starts. `answered` says that the process has given an answer, `on_demand` that it was
    started for the request it has, `died` that it ended by itself while it had one. `retire` is the
    reason why it must go when its request is done.
    """

    number: int
    changed_at: float
    state: State = State.STOPPED
    pid: int | None = None
    activated: int = 0
    started_at: float = 0.0
    first_request_at: float | None = None
    assigned_at: float = 0.0
    requests: int = 0
    scans: int = 0
    last: Kind | None = None
    ticket: Ticket | None = None
    on_demand: bool = False
    tag: bytes = b""
    answered: bool = False
    died: bool = False
    retire: str | None = None

    def move(self, state: State, now: float) -> None:
        """Takes a step of `TRANSITIONS`; raises `ImpossibleMove` for any other."""
        if state not in TRANSITIONS[self.state]:
            raise ImpossibleMove(f"worker {self.number}: {self.state.name} to {state.name}")
        self.state = state
        self.changed_at = now
        self.tag = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Start a process for this slot."""

    slot: Slot
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Assign:
    """The ticket has got its slot: whoever waits for it may go on."""

    ticket: Ticket


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuse:
    """The ticket has got its refusal: whoever waits for it may go on."""

    ticket: Ticket


@dataclass(frozen=True, slots=True, kw_only=True)
class Retire:
    """End a process that does nothing: end of input first, signals if that does not help."""

    slot: Slot
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """End a process that may hang in a request: signals at once."""

    slot: Slot
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """Tell those who watch that a slot has taken a step. The numbers of workers are those just after it.

    `running` counts every process, those being ended too. `line` and `kind` are of the request that it got or gave up
    by this step, if any; `reason` says why its process is started or ended; `requests` is what the process is done
    with, `age_s` how long it has been there. `unexpected` is a process
    that has ended by itself.
    """

    number: int
    old: State
    new: State
    running: int
    busy: int
    free: int
    line: bytes = b""
    kind: Kind | None = None
    reason: str = ""
    requests: int = 0
    age_s: float = 0.0
    unexpected: bool = False

    def __str__(self) -> str:
        kind = "" if self.kind is None else f" kind={self.kind}"
        reason = f" reason={self.reason!r}" if self.reason else ""
        steps = f"{self.old.name} to {self.new.name}"
        return f"Worker {self.number}: {steps} running={self.running} busy={self.busy} free={self.free}{kind}{reason}"


Action = Start | Assign | Refuse | Retire | Kill | Moved


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The numbers of the settings that the pool goes by."""

    min_workers: int
    max_workers: int
    max_requests: int
    idle_timeout_s: float
    start_interval_s: float
    activation_interval_s: float
    queue_size: int
    queue_timeout_s: float
    max_age_s: float = 0
    """Counted from a worker's first request; 0 for no limit."""
    domain_recipients: int = 0
    """Checks of one domain's recipients at a time; 0 for no limit."""
    autoscale: bool = False


@dataclass(slots=True, kw_only=True)
class Counts:
    """Sums since the start of the program."""

    messages: int = 0
    activations: int = 0
    busy_histogram: list[int] = field(default_factory=list)
    """Entry n - 1: how often n workers were busy just after one had become busy."""
