# SPDX-License-Identifier: GPL-3.0-or-later
"""A whole mail site on one machine: a sending Sendmail, a receiving MTA with our milter, and the sink behind it.

sender (queue) -> receiver -> sink
                     |
                   milter - multiplexor - workers, their spool on a small file system of its own
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tests.support.daemons import Chain, Daemons, make_spool, private_home, running
from tests.support.process import Program, wait_until
from tests.support.sendmail import Sendmail
from tests.support.sink import Sink
from tests.support.small_disk import full, small_file_system
from tests.support.syslog import syslog_kept_in


class Receiver(Protocol):
    """The MTA under test."""

    port: int

    def listening(self) -> AbstractContextManager[Program]:
        """The daemon, running."""

    def held(self) -> str:
        """A listing of quarantined mail."""

    def release(self) -> None:
        """Deliver the quarantined mail."""


# How long the servers wait for a sign of life while a message is scanned, and how often the milter gives one.
SCAN_LIMIT_S = 6
MILTER_OPTIONS = ("-G", "--progress-interval", "1")
# Made from a directory of its own to be, the port of the sink, and the address of the milter.
MakeReceiver = Callable[[Path, int, str], Receiver]


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """The running site."""

    home: Path
    sink: Sink
    daemons: Daemons
    receiver: Receiver
    sender: Sendmail

    def hold_file(self, name: str) -> Path:
        """A file for the filter's X-Hold: a scan waits while it exists, and its worker's ID is in NAME.worker."""
        flags = self.home / "flags"
        make_spool(flags)
        held = flags / name
        held.touch()
        return held

    def waiting_worker(self, held: Path) -> int:
        """The process ID of the worker that waits for this file, once there is one."""
        told = held.with_name(held.name + ".worker")
        wait_until(told.exists, f"no worker waits for {held.name}: {self.daemons.logs()[-2000:]}")
        return int(told.read_text())

    @contextmanager
    def full_spool(self, *, but_bytes: int = 0) -> Iterator[None]:
        """While inside, at most so many bytes can be written below the spool."""
        with full(self.daemons.spool, but_bytes=but_bytes):
            yield

    def unfinished_worker(self) -> Path:
        """A worker program that leaves RESULTS without its end, for `Daemons.start_mux`."""
        source = Path(__file__).with_name("unfinished_worker.py").read_text()
        program = self.home / "unfinished_worker"
        program.write_text(f"#!{sys.executable}\n{source}")
        program.chmod(0o755)
        return program

    def milter_log(self) -> str:
        """All that the milter wrote to its log so far."""
        assert self.daemons.milter
        return self.daemons.milter.log_text()

    def attempt(self) -> str:
        """Let the sending MTA try its queue once; the SMTP replies that it got, a line each."""
        dialog = self.sender.run_queue()
        return "\n".join(re.findall(r"^[2345]\d\d[ -].*$", dialog, re.MULTILINE))


@contextmanager
def mail_site(make_receiver: MakeReceiver, chain: Chain) -> Iterator[Site]:
    """The site, from accepting mail until everything has stopped and nothing is left."""
    with (
        private_home() as home,
        syslog_kept_in(home / "syslog.log"),
        small_file_system(home / "spool") as spool,
        Sink() as sink,
        running(chain, home=home, spool=spool) as daemons,
    ):
        receiver = make_receiver(home / "receiver", sink.port, daemons.milter_address)
        sender = Sendmail(home / "sender", hostname="tx.example.com", deliver_to_port=receiver.port, queue_only=True)
        with receiver.listening():
            yield Site(home=home, sink=sink, daemons=daemons, receiver=receiver, sender=sender)
