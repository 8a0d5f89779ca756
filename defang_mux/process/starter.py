# SPDX-License-Identifier: GPL-3.0-or-later
"""How workers come to be: forked by a template, or started as programs (protocol.md, Template).

A start is an order. It waits while there is no template, and goes to the next one if a template
ends before it has carried it out: the worker's pipes, and what a client has written to them, stay.
Called by `crew`, which is told what came of each order.
"""

import ctypes
import os
import signal
import sys
from collections import deque
from dataclasses import replace
from enum import StrEnum
from logging import Logger
from typing import Final, Protocol

import trio

from defang_mux.process.kill import Patience
from defang_mux.process.slot import Worker
from defang_mux.process.spawn import Program, close_all, spawn, spawn_template
from defang_mux.process.template import Order, Template

# prctl(2).
_PR_SET_CHILD_SUBREAPER: Final = 36
# So many at a time: a template forks one after the other, and its socket has room for more.
_MAX_ORDERS_SENT: Final = 16
_ENDING: Final = "the multiplexor is stopping"


class Starting(StrEnum):
    """The values of `--start`: how workers are started."""

    AUTO = "auto"
    FORK = "fork"
    EXEC = "exec"


class Owner(Protocol):
    """Who is told what comes of a start."""

    def born(self, worker: Worker) -> None:
        """It runs."""

    def unborn(self, worker: Worker, reason: str) -> None:
        """There is no process for it, and will be none."""

    def reap(self) -> None:
        """Takes note of children that have ended."""

    def tried(self, fault: str | None, *, by_template: bool) -> None:
        """The filter has been loaded for the workers to come, or why not; or nobody has tried, but they will."""


def become_subreaper() -> bool:
    """Whether the grandchildren of our children become ours, whose parents end (prctl(2)): Linux can."""
    if sys.platform != "linux":
        return False
    return bool(ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)


class Starter:
    """Starts workers. `nursery` is where templates live; loading a filter may take `load_limit_s`."""

    def __init__(
        self,
        program: Program,
        starting: Starting,
        owner: Owner,
        *,
        nursery: trio.Nursery,
        load_limit_s: float,
        patience: Patience,
        log: Logger,
    ) -> None:
        self._program = program
        self._must_fork = starting is Starting.FORK
        self._may_fork = starting is not Starting.EXEC
        self._owner = owner
        self._nursery = nursery
        self._load_limit_s = load_limit_s
        self._patience = patience
        self._log = log
        self._forks = self._may_fork
        """Workers are forked, as far as is known."""
        self._template: Template | None = None
        self._templates: set[Template] = set()
        """Those being tried and being ended included."""
        self._waiting: deque[Order] = deque()
        self._last_number = 0
        self._is_ending = False

    @property
    def has_orders(self) -> bool:
        """Whether there may be workers of which we do not know yet."""
        return any(template.orders for template in self._templates)

    def begin(self) -> None:
        """Starts a template, so that it is there when a worker is wanted."""
        if self._forks and self._template is None:
            try:
                self._template = self._new_template()
            except OSError as error:
                reason = f"{self._program.path}: {error.strerror}"
                self._owner.tried(reason, by_template=True)
                self._give_up(reason)

    def start(self, worker: Worker, theirs: tuple[int, ...]) -> None:
        """Starts a process for the worker, now or as soon as there is a template; owns `theirs`."""
        if not self._forks:
            self._execute(worker, theirs)
            return
        self._last_number += 1
        self._waiting.append(Order(self._last_number, worker, theirs))
        self.begin()
        self._send_orders()

    def cancel(self, worker: Worker) -> bool:
        """Takes an order back; False if it is too late."""
        for order in self._waiting:
            if order.worker is worker:
                self._waiting.remove(order)
                close_all(order.theirs)
                return True
        return False

    async def renew(self) -> str | None:
        """Has the filter loaded anew. None if workers have it from now on; else why not, and nothing has changed.

        Not to be called while it runs.
        """
        # It may name other directories.
        self._program = replace(self._program, is_told=False)
        if not self._may_fork:
            return None
        if self._is_ending:
            # Whoever waited for the one before would have a template left behind.
            return _ENDING
        try:
            template = self._new_template()
        except OSError as error:
            return f"{self._program.path}: {error.strerror}"
        await template.settled.wait()
        if self._is_ending:
            return _ENDING
        if self._is_faulty(template):
            self._end(template)
            if self._template is None and self._forks:
                # There is none that goes on.
                self._owner.tried(template.fault, by_template=True)
            return template.fault
        before, self._template = self._template, template
        if before is not None:
            self._end(before)
        self._forks = True
        self.settled(template)
        return None

    def reap(self) -> None:
        """Takes note of templates that have ended; to be called after SIGCHLD."""
        # The end of one may be the start of the next.
        for template in list(self._templates):
            if not template.exited.is_set():
                self.has_exited(*os.waitpid(template.pid, os.WNOHANG))

    def has_exited(self, pid: int, status: int) -> None:
        """Takes note of the end of a process, if it is a template."""
        for template in list(self._templates):
            if template.pid == pid:
                template.has_exited(status)

    def pids(self) -> list[int]:
        """The templates that run."""
        return [template.pid for template in self._templates if not template.exited.is_set()]

    async def end(self) -> None:
        """Ends all templates; returns when they have ended, or were sent KILL. There are no more starts."""
        self._is_ending = True
        self._template = None
        async with trio.open_nursery() as nursery:
            for template in self._templates:
                nursery.start_soon(template.end, self._patience)

    # Orders

    def _execute(self, worker: Worker, theirs: tuple[int, ...]) -> None:
        try:
            worker.pid = spawn(self._program, theirs)
        except OSError as error:
            self._owner.unborn(worker, f"{self._program.path}: {error.strerror}")
            return
        finally:
            close_all(theirs)
        self._program = replace(self._program, is_told=True)
        self._owner.born(worker)

    def _send_orders(self) -> None:
        template = self._template
        while self._waiting and template is not None and template.forks and len(template.orders) < _MAX_ORDERS_SENT:
            order = self._waiting.popleft()
            try:
                if not template.send(order):
                    self._waiting.appendleft(order)
                    return
            except BrokenPipeError:
                # It has ended, and `_live` is about to find out.
                self._waiting.appendleft(order)
                return
            except OSError as error:
                self.failed(order, f"order not sent: {error.strerror}")

    def serving(self, order: Order, pid: int) -> None:
        """A worker was forked."""
        close_all(order.theirs)
        order.worker.pid = pid
        try:
            self._program.limits.apply(pid)
        except OSError as error:
            # Without its limits it is not to serve; what it may have begun fails with it.
            self._log.error("Limits of process %d not set: %s", pid, error.strerror)
            order.worker.signal(signal.SIGKILL)
        self._owner.born(order.worker)
        # Its end may already have been signaled, or that of something which we then could not tell from a worker.
        self._owner.reap()
        self._send_orders()

    def failed(self, order: Order, reason: str) -> None:
        """A worker could not be forked."""
        close_all(order.theirs)
        self._owner.unborn(order.worker, reason)

    def _give_up(self, reason: str) -> None:
        """No worker can be started now. The pool decides when to try again."""
        orders, self._waiting = self._waiting, deque()
        for order in orders:
            self.failed(order, reason)

    # Templates

    def _new_template(self) -> Template:
        process = spawn_template(self._program)
        template = Template(process, self, load_limit_s=self._load_limit_s, log=self._log)
        self._templates.add(template)
        self._nursery.start_soon(template.stderr.run)
        self._nursery.start_soon(self._live, template)
        return template

    def _is_faulty(self, template: Template) -> bool:
        """Whether there is something wrong with it, rather than that its program knows no templates."""
        return template.fault is not None and (template.speaks or self._must_fork)

    def settled(self, template: Template) -> None:
        """A template has loaded the filter, or not."""
        if template is not self._template:
            return
        fault = template.fault if self._is_faulty(template) else None
        self._owner.tried(fault, by_template=template.speaks)
        if template.forks:
            self._send_orders()
        elif fault is not None:
            self._template = None
            self._end(template)
            self._log.error("Filter not loaded: %s", template.fault)
            self._give_up(f"filter not loaded: {(template.fault or '').partition(chr(10))[0]}")
        else:
            if template.fault is not None:
                self._log.info(
                    "%s forks no workers, they are started as programs: %s", self._program.path, template.fault
                )
            self._execute_from_now_on(template)

    def ends(self, template: Template) -> None:
        """The next one is started at once, if there is hope for it: to bury this one may take a while."""
        if template is self._template and template.served:
            self._template = None
            self._log.error("Template (pid %d) has ended", template.pid)
            self.begin()

    def _execute_from_now_on(self, template: Template) -> None:
        self._template = None
        self._forks = False
        # A filter that cannot be forked is loaded all the same, and has been looked at.
        self._program = replace(self._program, is_told=template.speaks)
        self._end(template)
        self._execute_waiting()

    def _execute_waiting(self) -> None:
        orders, self._waiting = self._waiting, deque()
        for order in orders:
            self._execute(order.worker, order.theirs)

    def _end(self, template: Template) -> None:
        """One that is of no use any more may have a thread that would keep it for ever."""
        self._nursery.start_soon(template.end, self._patience)

    async def _live(self, template: Template) -> None:
        """A template's whole life, and what is to be done when it is over."""
        await template.run()
        left, template.orders = list(template.orders.values()), {}
        if template.is_gone:
            # No process has their pipes, so another template can have them.
            self._waiting.extendleft(reversed(left))
        else:
            for order in left:
                self.failed(order, "its template hangs")
        if template is self._template:
            self._template = None
            self._log.error("Template (pid %d) has ended", template.pid)
            if template.served:
                self.begin()
            else:
                self._give_up("the template has ended")
        elif left and not self._forks:
            self._execute_waiting()
        elif left:
            self.begin()
        self._send_orders()
        await template.exited.wait()
        template.stderr.drain()
        self._templates.discard(template)
