# SPDX-License-Identifier: GPL-3.0-or-later
"""Those who watch a multiplexor read the same of ours and of Debian's: statistics, notifications, and the monitors.

Both get the same requests, one after the other, and the same worker of a few lines.
"""

from __future__ import annotations

import os
import re
import select
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.daemons import MX_CTRL, Chain, Daemons, Origin, make_spool, private_home
from tests.support.process import listens, wait_until

pytestmark = pytest.mark.system

LIMIT_S = 60
MONITOR = Path("/usr/bin/watch-multiple-mimedefangs.tcl")
WORKER = """#!/usr/bin/perl
$| = 1;
while (<STDIN>) {
    if (/^\\S+ die/) { exit 3 }
    if (/^\\S+ hold(\\S*)/) { while (!-e "go$1") { select undef, undef, undef, 0.02 } }
    print /^recipok/ ? "ok 1\\n" : "ok\\n";
}
"""
# The procedures of the monitor that take replies apart, without the windows that show them.
TAKE_APART = """
set script [open [lindex $argv 0]]
set command ""
while {[gets $script line] >= 0} {
    append command $line "\\n"
    if {![info complete $command]} { continue }
    if {[lindex [split $command] 0] eq "proc"} { eval $command }
    set command ""
}
proc schedule_redraw {} {}
set NewStyle 0
mach_populate_data m 0 [gets stdin]
puts "old $Data(m,total_workers) $Data(m,busy_snap) $Data(m,qsize) $Data(m,persec_snap)"
set NewStyle 1
mach_populate_data m 0 [gets stdin]
puts "new $Data(m,total_workers) $Data(m,busy_snap) $Data(m,qsize) $Data(m,numqueued) $Data(m,scanspersec_snap)"
set busy {}
while {[gets stdin line] >= 0 && $line ne "error: Unknown command"} { lappend busy $line }
foreach line [lsort -command compare_workers $busy] {
    puts "busy [lindex [split $line] 0] [lindex [split $line] 3]"
}
"""


class Watched:
    """A multiplexor, what it has told a listener, and its statistics."""

    def __init__(self, origin: Origin, home: Path, options: tuple[str, ...]) -> None:
        spool = home / "spool"
        make_spool(spool)
        self.statistics = spool / "stats"
        self.address = spool / "notify"
        watched = ("-t", str(self.statistics), "-u", "-O", f"unix:{self.address}", *options)
        self.daemons = Daemons(Chain(filter=Path("/dev/null"), mux=origin, mux_options=watched), home, spool)
        worker = home / "worker.pl"
        worker.write_text(WORKER)
        worker.chmod(0o755)
        self.daemons.start_mux(worker=worker)
        wait_until(lambda: listens(self.address), "the notification socket")
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.settimeout(LIMIT_S)
        self._connection.connect(os.fspath(self.address))
        self._told = self._connection.makefile("rwb", buffering=0)
        assert self._told.readline() == b"*OK\n"

    def listen(self, interest: bytes) -> None:
        """From here on the listener is told: what it is interested in is known when it hears of a reread."""
        self._told.write(interest)
        wait_until(self._hears_of_a_reread, "the listener is told")

    def _hears_of_a_reread(self) -> bool:
        self.ask("reread")
        readable, _, _ = select.select([self._connection], [], [], 0.2)
        return bool(readable)

    def told(self) -> list[bytes]:
        """What the listener has heard from the first request on, until the workers were replaced behind the last."""
        self.ask("reread")
        heard: list[bytes] = []
        while not (heard and heard[-1] == b"R\n" and any(b"Busy" in line for line in heard)):
            heard.append(self._told.readline())
        first = next(at for at, line in enumerate(heard) if line.endswith(b"Idle -> Busy\n"))
        last = next(at for at, line in enumerate(heard) if line.endswith(b"Idle -> Killed\n") and at > first)
        return [re.sub(rb"^S \d ", b"S N ", line) for line in heard[first:last]]

    def ask(self, line: str) -> bytes:
        with socket.socket(socket.AF_UNIX) as mux:
            mux.settimeout(LIMIT_S)
            mux.connect(str(self.daemons.mux_socket))
            mux.sendall(line.encode() + b"\n")
            return b"".join(iter(lambda: mux.recv(4096), b""))

    def hold(self, *lines: str) -> dict[str, threading.Thread]:
        """Requests that last until `let_go`, begun one after the other; their second words are `hold` and a name."""
        held = {}
        for count, line in enumerate(lines, start=1):
            held[line.split()[1].removeprefix("hold")] = thread = threading.Thread(
                target=self.ask, args=(line,), daemon=True
            )
            thread.start()
            self.wait_for("B", count)
        return held

    def let_go(self, held: dict[str, threading.Thread]) -> None:
        """Ends them in the same order."""
        for name, thread in held.items():
            (self.daemons.spool / f"go{name}").touch()
            thread.join(LIMIT_S)

    def wait_for(self, state: str, count: int) -> None:
        wait_until(lambda: self.ask("status").split()[0].count(state.encode()) == count, f"{count} times {state}")

    def wait_for_event(self, word: str) -> None:
        wait_until(lambda: word in self.statistics.read_text(), f"a {word}")

    def events(self) -> list[str]:
        """The statistics without times and ages; and without reasons, which each multiplexor words for itself."""
        lines = self.statistics.read_text().splitlines()
        for line in lines:
            assert re.match(r"\d\d/\d\d/\d{4}:\d\d:\d\d:\d\d \d{10}\.\d{3} [A-Z]", line)
        return [re.sub(r'worker=\d |age=\d+ |reason="[^"]+"$', "", line.split(" ", 2)[2]).rstrip() for line in lines]

    def close(self) -> None:
        self._told.close()
        self._connection.close()
        # Debian's leaves it.
        self.address.unlink(missing_ok=True)
        self.daemons.stop()


@contextmanager
def watched(origin: Origin, *options: str) -> Iterator[Watched]:
    with private_home("watched-") as home:
        mux = Watched(origin, home, options)
        try:
            yield mux
        finally:
            mux.close()


def a_day(mux: Watched) -> None:
    """Requests of all kinds, one after the other, and two that fill all workers."""
    for line in ("scan Q1 /d", "relayok a%20b c", "ping", "recipok <a@b> <c@d> x"):
        mux.ask(line)
    mux.let_go(mux.hold("scan hold1 /d", "scan hold2 /e"))
    mux.wait_for("I", 2)


OPTIONS = ("-m", "2", "-x", "2", "-w", "1", "-q", "8")


def test_a_listener_is_told_the_same_of_a_day() -> None:
    told = {}
    for origin in Origin:
        with watched(origin, *OPTIONS) as mux:
            mux.wait_for("I", 2)
            mux.listen(b"?*\n")
            mux.wait_for("I", 2)
            a_day(mux)
            told[origin] = mux.told()
    assert told[Origin.OURS] == told[Origin.DEBIAN]
    assert {line[:1] for line in told[Origin.OURS]} == {b"S", b"F", b"Z", b"Y"}


def test_statistics_tell_the_same_of_a_day_with_a_death_and_a_reread() -> None:
    events = {}
    for origin in Origin:
        with watched(origin, *OPTIONS) as mux:
            mux.wait_for("I", 2)
            a_day(mux)
            assert mux.ask("scan die /d") == b"ERR No response from worker\n"
            mux.wait_for_event("ReapWorker")
            mux.wait_for("I", 2)
            mux.ask("reread")
            mux.wait_for("S", 2)
            mux.wait_for("I", 2)
            events[origin] = mux.events()
    assert events[Origin.OURS] == events[Origin.DEBIAN]
    words = {event.split()[0] for event in events[Origin.OURS]}
    assert words == {"StartWorker", "StartFilter", "EndFilter", "KillWorker", "ReapWorker"}


def test_the_limit_of_recipients_for_a_domain_is_the_same() -> None:
    """protocol.md, Differences from MIMEDefang, `limited-domain`: but for recipients without a domain."""
    replies = {}
    for origin in Origin:
        with watched(origin, "-m", "1", "-x", "3", "-y", "1") as mux:
            mux.wait_for("I", 1)
            held = mux.hold("recipok hold@A.example <s@x> y")
            lines = ("recipok <b@a.EXAMPLE> <s@x> y", "recipok <b@b.example> <s@a.example> y", "scan <b@a.example> /d")
            replies[origin] = [mux.ask(line) for line in lines]
            mux.let_go(held)
    assert replies[Origin.OURS] == replies[Origin.DEBIAN]
    assert replies[Origin.OURS][0].startswith(b"ok -1 Per-domain")


def test_the_monitor_of_many_machines_understands_the_answers(tmp_path: Path) -> None:
    """Its own procedures, in its own language, take apart what the control program says of a busy worker."""
    driver = tmp_path / "driver.tcl"
    driver.write_text(TAKE_APART)
    found = {}
    for origin in Origin:
        with watched(origin, *OPTIONS) as mux:
            mux.wait_for("I", 2)
            held = mux.hold("scan hold1 /d", "recipok hold2 <c@d> x")
            for program in Origin:
                said = subprocess.run(
                    [MX_CTRL[program], "-s", mux.daemons.mux_socket, "-i"],
                    input=b"rawload\nrawload1 60\nbusyslaves\nfoo_no_such_command\n",
                    capture_output=True,
                    timeout=LIMIT_S,
                    check=True,
                )
                shown = subprocess.run(
                    ["tclsh", driver, MONITOR], input=said.stdout, capture_output=True, timeout=LIMIT_S, check=True
                )
                found[origin, program] = shown.stdout.decode().splitlines()
            mux.let_go(held)
    assert len({tuple(lines) for lines in found.values()}) == 1
    assert found[Origin.OURS, Origin.OURS] == [
        "old 2 2 8 0.00",
        "new 2 2 8 0 0.00",
        "busy 0 scan",
        "busy 1 recipok",
    ]
