# SPDX-License-Identifier: GPL-3.0-or-later
"""Large messages, which are written into files of earlier ones: each is its own, and nothing of them stays."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from defang_milter import spool_stock
from defang_worker.trial.mta_message import Message
from tests.support.daemons import USER, Chain, Daemons, private_home, running
from tests.support.milter_connection import MilterConnection
from tests.support.mta import Milter, Outcome, Verdict
from tests.support.process import wait_until

pytestmark = pytest.mark.system

# Tells what it finds; who is named in X-Keep reads it once more, as a process that outlives the message.
FILTER = """
import hashlib, os, subprocess
from defang_worker import Filter

READER = 'exec <"$1"; echo >"$2.open"; while [ ! -e "$3" ]; do sleep 0.1; done; sha256sum >"$2.part"; mv "$2.part" "$2"'

class Site(Filter):
    def filter_wrapup(self, message):
        path = message.raw_path
        message.headers.add("X-Digest", hashlib.sha256(path.read_bytes()).hexdigest())
        message.headers.add("X-Inode", str(path.stat().st_ino))
        keep = message.headers.get("X-Keep")
        if keep:
            out = os.path.join("OUT", keep)
            subprocess.Popen(["sh", "-c", READER, "sh", path, out, "OUT/go"], start_new_session=True,
                             stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            while not os.path.exists(out + ".open"):
                pass
"""
SESSIONS = 4
MESSAGES_PER_SESSION = 8
# Of each session one message is kept open.
KEPT = 3
MIB = 1024 * 1024
CHUNK = b"0123456789abcde\n" * 3000
WAIT_S = 60


class Site:
    """A chain on a spool of its own, and what the filter's children leave."""

    def __init__(self, daemons: Daemons, out: Path) -> None:
        self.daemons = daemons
        self.out = out

    def send(self, milter: Milter, name: str, size_bytes: int, *, keep: bool = False) -> tuple[str, Outcome]:
        """The digest of a message's INPUTMSG as it has to be, and what became of the message."""
        kept = f"X-Keep: {name}\n" if keep else ""
        line = hashlib.sha256(name.encode()).hexdigest() + "\n"
        lines = f"Subject: {name}\n{kept}\n{line * (size_bytes // len(line))}".encode()
        outcome = milter.send(Message.parse(lines.replace(b"\n", b"\r\n")), queue_id=name.encode())
        return hashlib.sha256(lines).hexdigest(), outcome

    def milter(self) -> Milter:
        return Milter(self.daemons.milter_address, timeout_s=WAIT_S)


def field(outcome: Outcome, name: bytes) -> str:
    assert outcome.verdict is Verdict.ACCEPT
    assert outcome.message is not None
    (value,) = (header.value for header in outcome.message.headers if header.name == name)
    return value.decode()


@pytest.fixture(params=["in memory", "on disk"])
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    with (
        private_home("stock-") as home,
        tempfile.TemporaryDirectory(dir="/dev/shm") as memory,
    ):
        Path(memory).chmod(0o755)
        out = home / "out"
        out.mkdir()
        shutil.chown(out, USER)
        (home / "site.py").write_text(FILTER.replace("OUT", str(out)))
        spool = Path(memory) / "spool" if request.param == "in memory" else home / "spool"
        chain = Chain(
            filter=home / "site.py",
            milter_options=("--stop-grace", "0.5"),
            mux_options=("-x", str(SESSIONS), "-l"),
        )
        with running(chain, home=home, spool=spool) as daemons:
            try:
                yield Site(daemons, out)
            finally:
                (out / "go").touch()


def test_each_message_is_its_own_and_who_has_one_open_keeps_it(site: Site) -> None:
    failures: list[str] = []
    inodes: list[str] = []
    digests: dict[str, str] = {}

    def session(number: int) -> None:
        with site.milter() as milter:
            for serial in range(MESSAGES_PER_SESSION):
                name = f"S{number}{serial}"
                size_bytes = MIB + (number * 7 + serial * 5) % 11 * MIB // 2
                wanted, outcome = site.send(milter, name, size_bytes, keep=serial == KEPT)
                if field(outcome, b"X-Digest") != wanted:
                    failures.append(f"{name}: {size_bytes} bytes are not what was sent")
                inodes.append(field(outcome, b"X-Inode"))
                if serial == KEPT:
                    digests[name] = wanted

    sessions = [threading.Thread(target=session, args=(number,)) for number in range(SESSIONS)]
    for thread in sessions:
        thread.start()
    for thread in sessions:
        thread.join()
    assert failures == []
    assert len(inodes) == SESSIONS * MESSAGES_PER_SESSION, site.daemons.logs()[-3000:]
    if spool_stock.stock_in(site.daemons.spool) is not None:
        assert site.daemons.stock() != []
    (site.out / "go").touch()
    for name, wanted in digests.items():
        found = site.out / name
        wait_until(found.exists, f"the reader of {name} has done", WAIT_S)
        assert found.read_text().split()[0] == wanted


def test_files_are_used_again_and_go_when_nobody_wants_them(site: Site) -> None:
    if spool_stock.stock_in(site.daemons.spool) is None:
        assert "shm" not in site.daemons.spool.parts
        return
    with site.milter() as milter:
        inodes = [field(site.send(milter, f"U{size}", size * MIB)[1], b"X-Inode") for size in (4, 2, 5)]
    assert len(set(inodes)) == 1
    wait_until(lambda: [path for path in site.daemons.stock() if path.is_file()] == [], "the stock is empty", WAIT_S)


def test_a_killed_front_ends_stock_goes_with_the_next_start(site: Site) -> None:
    with site.milter() as milter:
        wanted, outcome = site.send(milter, "K1", 3 * MIB)
        assert field(outcome, b"X-Digest") == wanted
    assert site.daemons.milter is not None
    site.daemons.milter.kill()
    site.daemons.start_milter()
    wait_until(lambda: left(site.daemons) == [], "nothing is left", WAIT_S)
    with site.milter() as milter:
        wanted, outcome = site.send(milter, "K2", 2 * MIB)
        assert field(outcome, b"X-Digest") == wanted


@pytest.mark.parametrize("end", ["kill", "stop"])
def test_a_message_that_its_front_end_does_not_outlive_leaves_nothing(site: Site, end: str) -> None:
    daemons = site.daemons
    assert daemons.milter is not None
    with site.milter() as milter:
        wanted, outcome = site.send(milter, "L1", 4 * MIB)
        assert field(outcome, b"X-Digest") == wanted
    with closing(MilterConnection(daemons.milter_address, timeout_s=WAIT_S)) as connection:
        connection.connect()
        connection.helo(b"helo.example.com")
        connection.mail(b"<a@example.com>")
        connection.rcpt(b"<b@example.com>")
        connection.header(b"Subject", b"not the end")
        connection.eoh()
        for _ in range(2 * MIB // len(CHUNK)):
            connection.body(CHUNK)
        wait_until(lambda: is_begun(daemons), "the message is on the disk", WAIT_S)
        if end == "kill":
            daemons.milter.kill()
            assert daemons.work_dirs() != []
            daemons.start_milter()
        else:
            assert daemons.milter.stop() == 0
            assert left(daemons) == []
        # The socket is there before the spool is looked through.
        wait_until(lambda: left(daemons) == [], "nothing is left", WAIT_S)


def is_begun(daemons: Daemons) -> bool:
    """Whether some of the message that does not come to its end has been written."""
    files = [*daemons.spool.glob("mdefang-*/INPUTMSG"), *(path for path in daemons.stock() if path.is_file())]
    return any(path.read_bytes().startswith(b"Subject: not the end\n") for path in files)


def left(daemons: Daemons) -> list[Path]:
    """What there is of messages in the spool."""
    return daemons.work_dirs() + daemons.stock()
