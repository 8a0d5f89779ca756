# SPDX-License-Identifier: GPL-3.0-or-later
"""The nurseries, the signals, and the order of stopping (docs/architecture.md, Stopping).

Workers outlive clients, clients outlive listeners: the order of the nurseries is the order in
which things end. Called by `__main__` in the daemon.
"""

import logging
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

import trio

from defang_common import __version__
from defang_common.host import notify
from defang_common.wire.confinement import Confinement
from defang_mux.pool.events import Watch
from defang_mux.pool.ledger import Ledger
from defang_mux.pool.policy import Pool
from defang_mux.pool.state import Limits
from defang_mux.process.adopted import children, end_adopted
from defang_mux.process.crew import Crew, Orders
from defang_mux.process.kill import Patience
from defang_mux.process.poison_guard import Outcome, PoisonOrders
from defang_mux.process.protections import Protection
from defang_mux.process.protections import report as protection_report
from defang_mux.process.rlimits import WorkerLimits
from defang_mux.process.spawn import Program
from defang_mux.process.starter import Starting
from defang_mux.reports import status_line
from defang_mux.service_manager import keep_informed
from defang_mux.settings import Settings
from defang_mux.sockets.control import Control, reread_reply
from defang_mux.sockets.listen import Listener, listen_for_all, listen_for_own, listen_for_owner
from defang_mux.sockets.maps import MapDoor
from defang_mux.sockets.metrics import MetricsDoor, listen_for_metrics, page
from defang_mux.sockets.notify import NotifyDoor
from defang_mux.sockets.requests import Door
from defang_mux.statistics import Statistics
from defang_mux.ticks import log_status, tick

_log: Final = logging.getLogger("defang.mux")

# The signal numbers that mean something to us; the rest keep their defaults.
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
# For sending replies and log lines when the requests in work have just been given up.
_LAST_WORDS_S: Final = 1.0
# MIMEDefang's limit on the open socket: connections that have not said anything yet.
_MAX_SILENT_UNPRIVILEGED: Final = 20
_KIB: Final = 1024


class StopRequested(Exception):  # a request, not an error
    """Ends listeners and timers, and with them begins the stop."""


async def supervise(
    settings: Settings,
    ready: Callable[[], None],
    protections: tuple[Protection, ...],
    unread: Callable[[], str | None],
) -> int:
    """Serves until SIGTERM; the exit status. Calls `ready` when the sockets accept connections.

    `protections` are those of the workers, for whoever asks; `unread` says what a reread leaves to the next start.
    """
    now = trio.current_time()
    stop = trio.Event()
    # Of whoever became this process, such as a shell by exec.
    spared = children()
    with _signals() as signals, _listeners(settings) as listeners, _statistics(settings) as statistics:
        async with trio.open_nursery() as workers:
            watches, notify_doors = _watches(settings, listeners, statistics)
            pool = Pool(_limits(settings), now=now, epoch_offset_s=time.time() - now, watched=bool(watches))
            ledger = Ledger(with_durations=settings.metrics is not None)
            crew = Crew(pool, _orders(settings), workers, _log, watches, ledger=ledger)
            reread = partial(_reread, crew, unread)
            workers.start_soon(_heed_signals, signals, partial(workers.start_soon, reread), crew, stop, statistics)
            workers.start_soon(crew.keep_time)
            crew.begin()
            control = Control(
                pool, ledger, version=__version__, clock=trio.current_time, protections=protection_report(protections)
            )
            doors = [*_doors(settings, listeners, control, crew, reread), *notify_doors]
            doors += _metrics_doors(settings, listeners, pool, ledger, crew)
            if settings.status_interval_s:
                report = partial(status_line, pool)
                workers.start_soon(partial(log_status, report, interval_s=settings.status_interval_s, log=_log))
            if notify.is_wanted():
                workers.start_soon(keep_informed, pool, ledger)
            _log.info(
                "started; version=%s workers=%d-%d socket=%s",
                __version__, settings.min_workers, settings.max_workers, settings.socket,
            )  # fmt: skip
            ready()
            await _serve_clients(settings, crew, doors, stop)
            await _wait_for_workers(settings, crew, spared)
            workers.cancel_scope.cancel()
    _log.info("stopped")
    return 0


async def _serve_clients(settings: Settings, crew: Crew, doors: list[Door], stop: trio.Event) -> None:
    """Until the stop, and then until every request in work is answered or given up."""
    async with trio.open_nursery() as around:
        async with trio.open_nursery() as clients:
            try:
                async with trio.open_nursery() as listening:
                    for door in doors:
                        listening.start_soon(door.serve, clients)
                    _start_ticks(settings, crew, listening, clients)
                    listening.start_soon(_raise_at, stop)
            except* StopRequested:
                notify.stopping()
                _log.info("stopping")
            for door in doors:
                door.close()
            crew.stop()
            around.start_soon(_press, settings.answer_grace_s, crew, clients.cancel_scope)
        around.cancel_scope.cancel()


def _start_ticks(settings: Settings, crew: Crew, listening: trio.Nursery, clients: trio.Nursery) -> None:
    if not settings.tick_interval_s:
        return
    ask = partial(crew.answer, may_wait=False)
    for kind in range(settings.tick_kinds):
        listening.start_soon(
            partial(tick, kind, interval_s=settings.tick_interval_s, ask=ask, clients=clients, log=_log)
        )


async def _raise_at(stop: trio.Event) -> None:
    await stop.wait()
    raise StopRequested


async def _press(grace_s: float, crew: Crew, clients: trio.CancelScope) -> None:
    """Gives requests up that take too long, and then clients that do not even take their reply."""
    await trio.sleep(grace_s)
    crew.abandon()
    await trio.sleep(_LAST_WORDS_S)
    clients.cancel()


async def _wait_for_workers(settings: Settings, crew: Crew, spared: list[int]) -> None:
    """Until nothing is left of them, nor of what they have left themselves; bounded."""
    # The ladder's time, and some for the system to clean up behind a KILL.
    with trio.move_on_after(settings.stop_grace_s + settings.kill_grace_s + _LAST_WORDS_S):
        await crew.wait_gone()
    left = crew.pids()
    if left:
        _log.error("workers that could not be ended: %s", left)
    left = await end_adopted(spared=spared)
    if left:
        _log.error("processes that workers have left, and that could not be ended: %s", left)


async def _reread(crew: Crew, unread: Callable[[], str | None]) -> bytes:
    """The reply to `reread`."""
    fault = await crew.reread()
    note = unread()
    if note is not None:
        _log.warning("%s", note)
    return reread_reply(fault, note)


async def _heed_signals(
    signals: AsyncIterator[int],
    reread: Callable[[], object],
    crew: Crew,
    stop: trio.Event,
    statistics: Statistics | None,
) -> None:
    async for number in signals:
        if number == signal.SIGCHLD:
            crew.reap()
        elif number == signal.SIGTERM:
            stop.set()
        elif not stop.is_set():
            if number == signal.SIGHUP and statistics is not None:
                statistics.reopen()
            reread()


@contextmanager
def _signals() -> Iterator[AsyncIterator[int]]:
    """Our signals as they come, none lost at the beginning; and ignored once we have stopped.

    Somebody impatient may send a second TERM, which must not find us without a handler while files are removed.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    for number in _SIGNALS:
        signal.signal(number, lambda _number, _frame: None)
    with trio.open_signal_receiver(*_SIGNALS) as signals:
        # Also what whoever started us had blocked, for we inherit that: it would keep us from stopping.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        yield signals
    for number in _SIGNALS:
        # Unlike a handler in Python, this outlives the interpreter's own end.
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def _statistics(settings: Settings) -> Iterator[Statistics | None]:
    if settings.statistics_file is None and not settings.log_statistics:
        yield None
        return
    statistics = Statistics(
        settings.statistics_file, to_log=settings.log_statistics, flush=settings.flush_statistics, log=_log
    )
    with closing(statistics):
        yield statistics


@dataclass(frozen=True, slots=True, kw_only=True)
class _Listeners:
    """The request socket and those that were asked for."""

    private: Listener
    public: Listener | None
    maps: Listener | None
    notify: Listener | None
    metrics: Listener | None


def _watches(
    settings: Settings, listeners: _Listeners, statistics: Statistics | None
) -> tuple[list[Watch], list[NotifyDoor]]:
    """Who is to be told of each step of a worker; in most services nobody."""
    watches: list[Watch] = []
    doors: list[NotifyDoor] = []
    if settings.log_events:
        watches.append(partial(_log.info, "%s"))
    if statistics is not None:
        watches.append(statistics.note)
    if listeners.notify is not None:
        # Before the first start all workers are free.
        door = NotifyDoor(
            listeners.notify, free=settings.max_workers, command_timeout_s=settings.command_timeout_s, log=_log
        )
        doors.append(door)
        watches.append(door.note)
    return watches, doors


@contextmanager
def _listeners(settings: Settings) -> Iterator[_Listeners]:
    """All sockets, which are removed in the end."""
    own = partial(listen_for_own, group=settings.group_access, backlog=settings.backlog)
    with ExitStack() as opened:
        private = listen_for_owner(settings.socket, group=settings.group_access, backlog=settings.backlog)
        opened.callback(private.close)
        public = maps = notify = metrics = None
        if settings.unprivileged_socket is not None:
            public = listen_for_all(settings.unprivileged_socket, backlog=settings.backlog)
            opened.callback(public.close)
        if settings.map_socket is not None:
            maps = own(settings.map_socket)
            opened.callback(maps.close)
        if settings.notify_socket is not None:
            notify = own(settings.notify_socket)
            opened.callback(notify.close)
        if settings.metrics is not None:
            metrics = listen_for_metrics(settings.metrics, group=settings.group_access, backlog=settings.backlog)
            opened.callback(metrics.close)
        yield _Listeners(private=private, public=public, maps=maps, notify=notify, metrics=metrics)


def _doors(
    settings: Settings, listeners: _Listeners, control: Control, crew: Crew, reread: Callable[[], Awaitable[bytes]]
) -> list[Door]:
    async def reply(line: bytes) -> bytes:
        if line == b"reread":
            return await reread()
        own = control.reply(line, privileged=True)
        return await crew.answer(line) if own is None else own

    async def reply_to_all(line: bytes) -> bytes:
        return control.reply(line, privileged=False) or b""

    make = partial(Door, command_timeout_s=settings.command_timeout_s, log=_log)
    doors = [make(listeners.private, reply)]
    if listeners.public is not None:
        doors.append(make(listeners.public, reply_to_all, max_silent=_MAX_SILENT_UNPRIVILEGED))
    if listeners.maps is not None:
        look_up = partial(crew.answer, may_wait=False)
        doors.append(MapDoor(listeners.maps, look_up, command_timeout_s=settings.command_timeout_s, log=_log))
    return doors


def _metrics_doors(settings: Settings, listeners: _Listeners, pool: Pool, ledger: Ledger, crew: Crew) -> list[Door]:
    if listeners.metrics is None:
        return []
    # A package that a service without metrics need not have.
    from defang_mux.metrics import CONTENT_TYPE, Metrics  # noqa: PLC0415

    metrics = Metrics(pool, ledger, crew.guard.memory, trio.current_time)

    async def reply(head: bytes) -> bytes:
        return page(head, metrics.render, CONTENT_TYPE)

    timeout_s = settings.command_timeout_s
    return [
        MetricsDoor(
            listeners.metrics, reply, command_timeout_s=timeout_s, log=_log, max_silent=_MAX_SILENT_UNPRIVILEGED
        )
    ]


def _limits(settings: Settings) -> Limits:
    return Limits(
        min_workers=settings.min_workers,
        max_workers=settings.max_workers,
        max_requests=settings.max_requests,
        idle_timeout_s=settings.idle_timeout_s,
        start_interval_s=settings.start_interval_s,
        activation_interval_s=settings.activation_interval_s,
        queue_size=settings.queue_size,
        queue_timeout_s=settings.queue_timeout_s,
        max_age_s=settings.max_age_s,
        domain_recipients=settings.domain_recipients,
        autoscale=settings.autoscale,
    )


def worker_limits(settings: Settings) -> WorkerLimits:
    """The limits of each worker."""
    return WorkerLimits(
        total_bytes=settings.memory_limit_kb * _KIB,
        resident_bytes=settings.resident_limit_kb * _KIB,
        open_files=settings.open_files_limit,
        file_bytes=settings.file_size_limit_kb * _KIB,
    )


def confinement(settings: Settings) -> Confinement:
    """What is asked of each worker."""
    named = (directory for directory in (settings.writable_dirs or "").split(":") if directory)
    return Confinement(
        cpu_limit_s=settings.cpu_limit_s,
        writable=(str(settings.spool), *named) if settings.landlock else None,
        deny_calls=settings.deny_system_calls,
    )


def _orders(settings: Settings) -> Orders:
    return Orders(
        program=Program(
            path=settings.worker,
            rules=settings.rules,
            status_tags=settings.status_tags,
            limits=worker_limits(settings),
            confinement=confinement(settings),
        ),
        starting=Starting(settings.start),
        busy_timeout_s=settings.busy_timeout_s,
        patience=Patience(stop_grace_s=settings.stop_grace_s, kill_grace_s=settings.kill_grace_s),
        verbose=settings.verbose,
        log_choices=settings.log_choices,
        poison=PoisonOrders(outcome=Outcome(settings.poison), store=settings.poison_dir),
    )
