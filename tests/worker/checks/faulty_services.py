# SPDX-License-Identifier: GPL-3.0-or-later
"""Every service that a check asks, made to fail in every way: what stands behind `test_service_faults.py`.

Each `Rig` is a service with a fault from the start, until it is told to `heal`. What it has to say of the message is
then that nothing was found, but what it sends late, of the message before, is that something was.
"""

from __future__ import annotations

import os
import shlex
import sqlite3
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any, Self

from defang_worker.checks import Check, Clamd, CommandScanner, DomainList, Icap, RateLimit, Rspamd, Spamd, SqliteStore
from defang_worker.checks.budget import Deadline
from defang_worker.checks.dns.resolver import Resolver
from defang_worker.checks.greylist.store import Visit
from defang_worker.checks.viruses import icap_wire
from tests.support import dns_server
from tests.support.dns_server import DnsServer
from tests.support.fake_scanners import OPTIONS, FakeClamd, FakeIcap, blocked
from tests.support.fake_spam_services import FakeRspamd, FakeSpamd
from tests.support.scripted_service import Handler, ScriptedService

SENDER_DOMAIN = "example.com"


class Fault(StrEnum):
    """What a service can do wrong."""

    REFUSED = "refused"
    HANGING = "hanging"
    SLOW = "slow"
    """It says something all the time, and never comes to an end."""
    CLOSING_EARLY = "closing early"
    GARBAGE = "garbage"
    LATE = "late"
    """It answers when the message has been given up, and the next one is there."""


class Rig(ABC):
    """A service with a fault; a context that ends it."""

    def __init__(self, spool: Path, fault: Fault) -> None:
        self.spool = spool
        self.fault = fault
        self.stack = ExitStack()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()

    @abstractmethod
    def start(self) -> None:
        """Makes the service, and the fault."""

    @abstractmethod
    def check(self, name: str, **limits: Any) -> Check[Any, Any]:
        """A check of that name, which asks it."""

    @abstractmethod
    def heal(self) -> None:
        """Ends the fault, and sends what was kept for being late."""

    @property
    def hangs_threads(self) -> bool:
        """Whether what is asked keeps no deadline by itself, as a store of somebody's may not."""
        return False


class StreamRig(Rig):
    """A service that is asked over a connection."""

    def __init__(
        self,
        spool: Path,
        fault: Fault,
        *,
        make: Callable[..., Check[Any, Any]],
        good: Callable[[], Handler],
        late: bytes,
        by_tcp: bool = False,
        prefix: str = "",
        suffix: str = "",
    ) -> None:
        super().__init__(spool, fault)
        self._make = make
        self._good = good
        self._late = late
        self._path = None if by_tcp else spool / "service.sock"
        self._affixes = prefix, suffix
        self._release = threading.Event()
        self._sent = threading.Semaphore(0)
        self._kept = 0

    def start(self) -> None:
        self.service = ScriptedService(self._good(), self._path, is_up=self.fault is not Fault.REFUSED)
        misbehaving: dict[Fault, Handler] = {
            Fault.HANGING: self.service.hang,
            Fault.SLOW: self.service.trickle,
            Fault.CLOSING_EARLY: self.service.close_early,
            Fault.GARBAGE: self.service.talk_garbage,
            Fault.LATE: self._answer_late,
        }
        self.service.handler = misbehaving.get(self.fault, self.service.handler)
        self.stack.enter_context(self.service)
        self.stack.callback(self._release.set)

    def check(self, name: str, **limits: Any) -> Check[Any, Any]:
        prefix, suffix = self._affixes
        return self._make(f"{prefix}{self.service.address}{suffix}", name=name, **limits)

    def heal(self) -> None:
        self.service.handler = self._good()
        if self.fault is Fault.REFUSED:
            self.service.come_up()
        self._release.set()
        for _ in range(self._kept):
            assert self._sent.acquire(timeout=10)

    def _answer_late(self, connected: Any) -> None:
        self._kept += 1
        try:
            self._release.wait()
            with suppress(OSError):  # nobody is there any more
                connected.sendall(self._late)
        finally:
            self._sent.release()


class DnsRig(Rig):
    """A nameserver, asked whether the sender's domain is on a list."""

    _FAULTS = {  # noqa: RUF012  # a table
        Fault.REFUSED: dns_server.Fault.REFUSED,
        Fault.HANGING: dns_server.Fault.SILENT,
        Fault.SLOW: dns_server.Fault.TRICKLE,
        Fault.CLOSING_EARLY: dns_server.Fault.TRUNCATED_ONLY,
        Fault.GARBAGE: dns_server.Fault.GARBAGE,
        Fault.LATE: dns_server.Fault.LATE,
    }

    def start(self) -> None:
        self.server = self.stack.enter_context(DnsServer("bl.example SOA ns.example. x.example. 1 1 1 1 1"))
        name = f"{SENDER_DOMAIN}.bl.example"
        if self.fault is Fault.LATE:
            self.server.add(f"{name} A 127.0.0.2")
        self.server.faults[name] = self._FAULTS[self.fault]

    def check(self, name: str, **limits: Any) -> Check[Any, Any]:
        resolver = Resolver([self.server.address])
        return DomainList(["bl.example"], name=name, resolver=resolver, **limits)

    def heal(self) -> None:
        self.server.faults.clear()
        self.server.release()
        self.server.remove(f"{SENDER_DOMAIN}.bl.example", "A")


class _BlockedStore(SqliteStore):
    """A store that answers when it is released, whatever the deadline."""

    def __init__(self, path: str, release: threading.Event) -> None:
        super().__init__(path)
        self._release = release

    def get(self, key: str, now: float, deadline: Deadline) -> Visit | None:
        if self._release.is_set():
            return super().get(key, now, deadline)
        self._release.wait()
        # So much that the limit was passed long ago.
        return Visit(first_at=now, latest_at=now, count=1_000_000, expires_at=now + 1000)


class StoreRig(Rig):
    """A store of visits: the greylist's."""

    def start(self) -> None:
        self._directory = self.spool / "store"
        self._release = threading.Event()
        self.stack.callback(self._release.set)
        self._locks: list[sqlite3.Connection] = []
        if self.fault is not Fault.REFUSED:
            self._directory.mkdir()

    def check(self, name: str, **limits: Any) -> Check[Any, Any]:
        path = str(self._directory / f"{name}.sqlite")
        store = _BlockedStore(path, self._release) if self.hangs_threads else SqliteStore(path)
        self.stack.callback(store.close)
        match self.fault:
            case Fault.HANGING:
                self._locks.append(_locked(path))
                self.stack.callback(self._locks[-1].close)
            case Fault.GARBAGE:
                Path(path).write_bytes(b"\xff\xfe what?" * 1000)
            case Fault.CLOSING_EARLY:
                made = sqlite3.connect(path)
                made.execute("CREATE TABLE other (x)")
                made.close()
                os.truncate(path, 4096)  # one of its two pages
            case _:
                pass
        return RateLimit(store, name=name, by="sender", limit=100, per_s=3600, **limits)

    def heal(self) -> None:
        self._release.set()
        for lock in self._locks:
            lock.close()
        if self.fault in (Fault.GARBAGE, Fault.CLOSING_EARLY):
            for file in self._directory.iterdir():
                file.unlink()
        self._directory.mkdir(exist_ok=True)

    @property
    def hangs_threads(self) -> bool:
        return self.fault in (Fault.SLOW, Fault.LATE)


def _locked(path: str) -> sqlite3.Connection:
    lock = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    lock.execute("BEGIN EXCLUSIVE")
    return lock


class CommandRig(Rig):
    """A scanner that is a program."""

    def start(self) -> None:
        self._program = self.spool / "scanner"
        released = shlex.quote(str(self.spool / "released"))
        faults = {
            Fault.HANGING: "exec sleep 1000",
            Fault.SLOW: "while sleep 0.01; do echo x; done",
            Fault.CLOSING_EARLY: "kill -KILL $$",
            Fault.GARBAGE: "printf '\\377\\376 FOUND\\0'; exit 77",
            Fault.LATE: f"while [ ! -e {released} ]; do sleep 0.01; done; echo 'x: Test.Virus FOUND'; exit 1",
        }
        if self.fault in faults:
            self._write(faults[self.fault])

    def _write(self, script: str) -> None:
        # Replaced, not overwritten: one that runs still reads it.
        new = self.spool / "new"
        new.write_text(f"#!/bin/sh\n{script}\n")
        new.chmod(0o700)
        new.rename(self._program)

    def check(self, name: str, **limits: Any) -> Check[Any, Any]:
        return CommandScanner([str(self._program)], name=name, **limits)

    def heal(self) -> None:
        self._write("exit 0")
        (self.spool / "released").touch()


_CLAMD_LATE = b"1: fd[1]: Test.Virus FOUND\n"
_ICAP_LATE = OPTIONS % b"" + blocked(b"X-Infection-Found: Type=0; Resolution=2; Threat=Test.Virus;\r\n")


def _icap_with_options(url: str, **more: Any) -> Icap:
    check = Icap(url, **more)
    check._options[url] = (float("inf"), icap_wire.Options(preview_bytes=4, ttl_s=100, service=""))
    return check


def _stream(make: Callable[..., Check[Any, Any]], good: Callable[[], Handler], late: bytes, **more: Any) -> Any:
    return partial(StreamRig, make=make, good=good, late=late, **more)


def _no_spam() -> FakeSpamd:
    return FakeSpamd(spam=b"False ; 0.0 / 5.0")


def _no_action() -> FakeRspamd:
    return FakeRspamd(action="no action")


RIGS: dict[str, Callable[[Path, Fault], Rig]] = {
    "clamd": _stream(Clamd, FakeClamd, _CLAMD_LATE),
    "clamd by TCP": _stream(Clamd, FakeClamd, _CLAMD_LATE, by_tcp=True),
    "ICAP": _stream(Icap, FakeIcap, _ICAP_LATE, by_tcp=True, prefix="icap://", suffix="/avscan"),
    "ICAP after OPTIONS": _stream(
        _icap_with_options, FakeIcap, _ICAP_LATE, by_tcp=True, prefix="icap://", suffix="/avscan"
    ),
    "spamd": _stream(Spamd, _no_spam, FakeSpamd().answer),
    "spamd by TCP": _stream(Spamd, _no_spam, FakeSpamd().answer, by_tcp=True),
    "rspamd": _stream(Rspamd, _no_action, FakeRspamd().answer),
    "rspamd by TCP": _stream(Rspamd, _no_action, FakeRspamd().answer, by_tcp=True),
    "DNS": DnsRig,
    "store": StoreRig,
    "command": CommandRig,
}
STREAMS: Sequence[str] = [name for name, rig in RIGS.items() if isinstance(rig, partial)]
