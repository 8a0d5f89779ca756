# SPDX-License-Identifier: GPL-3.0-or-later
"""The program itself, with the real libmilter: what only it can show. The multiplexor is a fake.

As root, it becomes `nobody`, as a site's becomes its own user; else it stays who it is.
"""

from __future__ import annotations

import os
import pwd
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from defang_worker.trial.mta_message import AddHeader
from tests.milter.conftest import directory_of, scan_giving
from tests.support.milter_packets import Offer
from tests.support.mta import Client, Milter, MilterClosedError, Stage, Verdict
from tests.support.process import Program, is_dead, wait_until
from tests.support.service_manager import ServiceManager, in_environment

if TYPE_CHECKING:
    from tests.milter.conftest import FakeMux

USER = "nobody" if os.geteuid() == 0 else None
AS_USER = ["-U", USER] if USER else []
COMMAND_LIMIT_S = 60
MESSAGE = b"From: a@example.com\r\nSubject: test\r\nX-Odd: \xe9\xff\r\n\r\nbody \xe9\r\n"


class Front:
    """A front end in the foreground, at a socket in the spool."""

    def __init__(self, spool: Path, mux: FakeMux, *options: str) -> None:
        self.path = spool / "milter.sock"
        self.address = f"unix:{self.path}"
        self.program = Program(
            "milter",
            [*_argv(spool, mux.path, self.address), "-D", "-X", *options],
            log=spool / "milter.log",
        )
        # Not before its last word on the start: a signal may else find it before it listens for signals.
        self.program.wait_log("started: ")
        self.program.wait_ready(self.address)
        self._spool = spool

    def milter(self, offer: Offer | None = None) -> Milter:
        return Milter(self.address, timeout_s=COMMAND_LIMIT_S, offer=offer or Offer())

    def directories(self) -> list[Path]:
        return sorted(self._spool.glob("mdefang-*"))


def _argv(spool: Path, mux: Path, address: str) -> list[str | Path]:
    return [sys.executable, "-m", "defang_milter", *AS_USER, "-z", spool, "-m", mux, "-p", address]


@pytest.fixture
def spool(spool: Path) -> Path:
    """The spool, with the program's user for owner."""
    if USER:
        account = pwd.getpwnam(USER)
        os.chown(spool, account.pw_uid, account.pw_gid)
    return spool


@pytest.fixture
def mux(mux: FakeMux) -> FakeMux:
    """The multiplexor, which finds nothing wrong and lets the program's user in."""
    mux.path.chmod(0o777)
    mux.answers[b"scan"] = scan_giving(b"F\n")
    return mux


@pytest.fixture
def front(spool: Path, mux: FakeMux) -> Iterator[Front]:
    running = Front(spool, mux)
    yield running
    if running.program.running():
        assert running.program.stop() == 0
    assert not running.path.exists()
    assert running.directories() == []


class _HeldScan:
    """A scan that is in work until it is let go."""

    def __init__(self, mux: FakeMux) -> None:
        self.begun = threading.Event()
        self.go_on = threading.Event()
        mux.answers[b"scan"] = self._scan

    def _scan(self, request: bytes) -> bytes:
        self.begun.set()
        self.go_on.wait(COMMAND_LIMIT_S)
        # The front end may have given up on the message meanwhile.
        with suppress(FileNotFoundError):
            return scan_giving(b"HX-Late yes\nHX-B c\nF\n")(request)
        return b"error: too late\n"


def test_a_message_goes_through_byte_for_byte(front: Front, mux: FakeMux) -> None:
    inputs: list[bytes] = []

    def scan(request: bytes) -> bytes:
        inputs.append((directory_of(request) / "INPUTMSG").read_bytes())
        return scan_giving(b"HX-A caf%C3%A9\nC\nF\n", NEWBODY=b"new \xff body\n" * 200_000)(request)

    mux.answers[b"scan"] = scan
    with front.milter() as milter:
        outcome = milter.send(MESSAGE)
    assert outcome.verdict is Verdict.ACCEPT
    assert inputs == [MESSAGE.replace(b"\r\n", b"\n")]
    assert outcome.changes[0] == AddHeader(name=b"X-A", value="café".encode())
    assert outcome.message is not None
    assert outcome.message.body.replace(b"\r\n", b"\n") == b"new \xff body\n" * 200_000
    assert front.directories() == []


def test_a_connection_serves_many_messages_and_sessions(front: Front, mux: FakeMux) -> None:
    with front.milter() as milter:
        for session in range(3):
            for number in range(3):
                assert milter.send(MESSAGE, queue_id=b"Q%d%d" % (session, number)).delivered
            milter.quit_nc()
    assert [line for line in mux.requests if line.startswith(b"free")] == [b"free\n"] * 4


def test_service_manager_hears_of_start_and_stop(spool: Path, mux: FakeMux) -> None:
    with ServiceManager(spool, watchdog_s=1) as manager:
        with in_environment(manager):
            front = Front(spool, mux)
        manager.wait_for("READY=1")
        manager.wait_for("STATUS=0 messages in work")
        manager.wait_for("WATCHDOG=1")
        assert front.program.stop() == 0
        manager.wait_for("STOPPING=1")


def test_answers_are_spared_where_the_mta_agrees(front: Front) -> None:
    with front.milter() as milter:
        assert milter.steps == 0x80 | 0x80000 | 0x40000 | 0x8000 | 0x2000 | 0x200 | 0x100 | 0x800
        assert milter.actions == 0x1FF


@pytest.mark.parametrize(("version", "actions", "steps"), [(2, 0x3F, 0x7F), (6, 0x1FF, 0x7FF), (6, 0x1FF, 0)])
def test_an_older_mta_gets_every_answer(front: Front, version: int, actions: int, steps: int) -> None:
    with front.milter(Offer(version=version, actions=actions, steps=steps)) as milter:
        assert milter.send(MESSAGE).delivered
        assert milter.send(MESSAGE, queue_id=b"Q2").delivered


def test_macro_lists_reach_the_mta(spool: Path, mux: FakeMux) -> None:
    front = Front(spool, mux, "-y", "-a", "extra")
    with front.milter() as milter:
        assert set(milter.macro_lists) == {
            *(Stage.CONNECT, Stage.HELO, Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.EOM, Stage.EOH)
        }
        assert {b"i", b"{rcpt_addr}", b"{extra}"} <= milter.macro_lists[Stage.MAIL]
    assert front.program.stop() == 0


@pytest.mark.parametrize("offer", [Offer(), Offer(version=2, actions=0x3F, steps=0x7F)], ids=["new", "old"])
def test_a_header_name_that_is_not_utf_8_does_not_pass_unseen(front: Front, mux: FakeMux, offer: Offer) -> None:
    with front.milter(offer) as milter:
        milter.connect()
        milter.mail(b"<a@example.com>", macros={b"i": b"Q1"})
        milter.rcpt(b"<b@example.org>")
        milter.header(b"X-\xff", b"hidden")
        milter.header(b"Subject", b"test")
        milter.eoh()
        assert milter.eom()[0].verdict is Verdict.TEMPFAIL
        milter.mail(b"<a@example.com>", macros={b"i": b"Q2"})
        milter.rcpt(b"<b@example.org>")
        milter.eoh()
        assert milter.eom()[0].verdict is Verdict.CONTINUE
    assert not [line for line in mux.requests if line.startswith(b"scan Q1 ")]
    front.program.wait_log(re.escape("Q1: header: a name is not UTF-8: X-\\xff"))


def test_a_helo_that_is_not_utf_8_reaches_the_filter(spool: Path, mux: FakeMux) -> None:
    mux.answers[b"helook"] = b"ok 0 strange 550 5.7.1 0\n"
    front = Front(spool, mux, "-H")
    with front.milter() as milter:
        outcome = milter.send(MESSAGE, client=Client(helo=b"hel\xe9"))
    assert (outcome.stage, outcome.verdict) == (Stage.MAIL, Verdict.REJECT)
    assert mux.requests[-1].split()[3] == b"hel%E9"
    assert front.program.stop() == 0


def test_a_host_name_that_is_not_utf_8_gets_no_mail_through(front: Front) -> None:
    with front.milter() as milter:
        outcome = milter.send(MESSAGE, client=Client(hostname=b"h\xff"))
    assert outcome.verdict is Verdict.TEMPFAIL
    front.program.wait_log("NOQUEUE: connect: not UTF-8")


def test_a_long_scan_keeps_the_mta_waiting_with_progress(spool: Path, mux: FakeMux) -> None:
    mux.delay_s = 0.3
    front = Front(spool, mux, "-q", "--progress-interval", "0.05")
    with front.milter() as milter:
        outcome = milter.send(MESSAGE)
    assert outcome.delivered
    assert outcome.progress_packets > 0
    assert front.program.stop() == 0


def test_an_mta_that_dies_leaves_no_directory(front: Front) -> None:
    milter = front.milter()
    milter.connect()
    milter.mail(b"<a@example.com>", macros={b"i": b"Q1"})
    assert len(front.directories()) == 1
    milter.close()
    wait_until(lambda: front.directories() == [], "the directory is gone")


def test_many_sessions_at_once_leave_no_descriptor(front: Front) -> None:
    descriptors = Path(f"/proc/{front.program.pid}/fd")
    with front.milter() as milter:
        assert milter.send(MESSAGE).delivered
    wait_until(lambda: len(list(descriptors.iterdir())) < 20, "the first connection is closed")
    before = len(list(descriptors.iterdir()))
    milters = [front.milter() for _ in range(50)]
    for number, milter in enumerate(milters):
        assert milter.send(MESSAGE, queue_id=b"Q%d" % number).delivered
    for milter in milters:
        milter.quit()
    wait_until(lambda: len(list(descriptors.iterdir())) <= before, "all connections are closed")


# -- start


@pytest.mark.parametrize(("options", "mode"), [((), 0o700), (("-G",), 0o770)])
def test_the_sockets_mode_leaves_out_the_others(spool: Path, mux: FakeMux, options: tuple[str, ...], mode: int) -> None:
    front = Front(spool, mux, *options)
    assert stat.S_IMODE(front.path.stat().st_mode) == mode
    assert front.program.stop() == 0


def _start(spool: Path, mux: Path, *options: str, address: str = "") -> subprocess.CompletedProcess[str]:
    argv = _argv(spool, mux, address or f"unix:{spool / 'milter.sock'}")
    return subprocess.run(
        [*argv, *options], capture_output=True, text=True, timeout=COMMAND_LIMIT_S, check=False, cwd="/"
    )


def test_a_live_socket_is_refused_and_not_harmed(front: Front, spool: Path, mux: FakeMux) -> None:
    second = _start(spool, mux.path, "-D")
    assert second.returncode == 1
    assert second.stderr.endswith("another milter listens there\n")
    with front.milter() as milter:
        assert milter.send(MESSAGE).delivered


def test_a_stale_socket_is_replaced(front: Front, spool: Path, mux: FakeMux) -> None:
    front.program.kill()
    assert front.path.exists()
    again = Front(spool, mux)
    with again.milter() as milter:
        assert milter.send(MESSAGE).delivered
    assert again.program.stop() == 0


@pytest.mark.parametrize("options", [("-D",), ()], ids=["foreground", "detached"])
def test_without_a_multiplexor_the_start_fails_and_leaves_no_socket(spool: Path, options: tuple[str, ...]) -> None:
    failed = _start(spool, spool / "mux.sock", "--mux-start-timeout", "0.5", *options)
    assert failed.returncode == 1
    assert "no answer from the multiplexor in 0.5 s" in failed.stderr
    assert "mux.sock: No such file or directory" in failed.stderr
    assert list(spool.iterdir()) == []


def test_a_start_that_waits_for_the_multiplexor_can_be_stopped(spool: Path) -> None:
    log = spool / "milter.log"
    program = Program("milter", [*_argv(spool, spool / "mux.sock", f"unix:{spool / 'm.sock'}"), "-D"], log=log)
    wait_until((spool / "m.sock").exists, "the milter listens")
    assert program.stop() == 1
    assert not (spool / "m.sock").exists()


@pytest.mark.parametrize("options", [("-D",), ()], ids=["foreground", "detached"])
def test_a_multiplexor_that_takes_requests_and_never_answers_fails_the_start(
    spool: Path, mux: FakeMux, options: tuple[str, ...]
) -> None:
    mux.answers[b"free"] = b""
    mux.hold_open.clear()
    failed = _start(spool, mux.path, "--mux-start-timeout", "0.5", *options)
    assert failed.returncode == 1
    assert "no answer from the multiplexor in 0.5 s" in failed.stderr
    assert not (spool / "milter.sock").exists()


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("unix:/nonexistent/m.sock", "No such file or directory"),
        ("unix:closed/m.sock", "Permission denied"),
        ("inet:25123@192.0.2.1", "Cannot assign requested address"),
    ],
)
def test_a_socket_that_cannot_be_made_is_told_with_the_reason(
    spool: Path, mux: FakeMux, address: str, reason: str
) -> None:
    (spool / "closed").mkdir(mode=0o555)
    failed = _start(spool, mux.path, "-D", address=address)
    assert failed.returncode == 1
    assert failed.stderr.endswith(f"cannot listen on {address}: {reason}\n")


def test_a_port_in_use_is_told(spool: Path, mux: FakeMux) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        failed = _start(spool, mux.path, "-D", address=f"inet:{taken.getsockname()[1]}@127.0.0.1")
    assert failed.returncode == 1
    assert "cannot listen on inet:" in failed.stderr
    assert failed.stderr.endswith(": Address already in use\n")


def test_the_start_command_returns_when_mail_can_come(spool: Path, mux: FakeMux) -> None:
    pid_file = spool / "pid"
    started = _start(spool, mux.path, "-P", str(pid_file))
    pid = int(pid_file.read_text())
    try:
        assert (started.returncode, started.stdout) == (0, "")
        with Milter(f"unix:{spool / 'milter.sock'}", timeout_s=10) as milter:
            assert milter.send(MESSAGE).delivered
    finally:
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: is_dead(pid), "the daemon has ended")
    assert not (spool / "milter.sock").exists()
    assert not pid_file.exists()


def test_abilities_are_told_for_the_one_word() -> None:
    told = subprocess.run(
        [sys.executable, "-m", "defang_milter", "prcap"],
        capture_output=True, text=True, timeout=COMMAND_LIMIT_S, check=True,
    )  # fmt: skip
    assert told.stdout.startswith("libmilter 1.")
    assert "QUARANTINE   yes" in told.stdout


# -- stop


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_at_once_if_no_message_is_in_work(front: Front, number: signal.Signals) -> None:
    with front.milter() as milter:
        assert milter.send(MESSAGE).delivered
        front.program.send(number)
        wait_until(lambda: not front.program.running(), "the program has ended")
    assert "stopped" in front.program.log_text()
    assert front.program.stop() == 0


def test_a_message_in_work_is_finished_before_the_end(front: Front, mux: FakeMux) -> None:
    scan = _HeldScan(mux)
    with front.milter() as working, front.milter() as idle:
        idle.connect()
        outcomes: list[object] = []
        thread = threading.Thread(target=lambda: outcomes.append(working.send(MESSAGE).changes))
        thread.start()
        assert scan.begun.wait(COMMAND_LIMIT_S)
        front.program.send(signal.SIGTERM)
        wait_until(lambda: not front.path.exists(), "the socket is gone")
        refused = idle.mail(b"<a@example.com>", macros={b"i": b"Q2"})
        scan.go_on.set()
        thread.join(COMMAND_LIMIT_S)
    assert refused.reply is not None
    assert refused.reply.text == b"The mail filter is being stopped, please try again later"
    assert outcomes == [(AddHeader(name=b"X-Late", value=b"yes"), AddHeader(name=b"X-B", value=b"c"))]
    wait_until(lambda: not front.program.running(), "the program has ended")
    assert front.program.stop() == 0


def test_a_message_that_takes_too_long_is_given_up(spool: Path, mux: FakeMux) -> None:
    front = Front(spool, mux, "--stop-grace", "0.2")
    scan = _HeldScan(mux)
    with front.milter() as milter:
        milter.connect()
        milter.mail(b"<a@example.com>", macros={b"i": b"Q1"})
        milter.rcpt(b"<b@example.org>")
        milter.eoh()
        ended: list[type[Exception]] = []

        def wait_for_the_answer() -> None:
            try:
                milter.eom()
            except MilterClosedError as error:
                ended.append(type(error))

        thread = threading.Thread(target=wait_for_the_answer)
        thread.start()
        assert scan.begun.wait(COMMAND_LIMIT_S)
        front.program.send(signal.SIGTERM)
        thread.join(COMMAND_LIMIT_S)
    assert ended == [MilterClosedError]
    scan.go_on.set()
    wait_until(lambda: not front.program.running(), "the program has ended")
    assert "Q1: stopped: the message was still in work" in front.program.log_text()
    assert front.directories() == []


@pytest.mark.slow
def test_a_second_signal_ends_the_wait_for_messages_in_work(spool: Path, mux: FakeMux) -> None:
    front = Front(spool, mux, "--stop-grace", "1000")
    milter = front.milter()
    milter.connect()
    milter.mail(b"<a@example.com>", macros={b"i": b"Q1"})
    front.program.send(signal.SIGTERM)
    wait_until(lambda: not front.path.exists(), "the first signal is taken")
    front.program.send(signal.SIGTERM)
    # libmilter looks for it every 5 s.
    wait_until(lambda: not front.program.running(), "the program has ended")
    milter.close()
    assert front.program.stop() == 0
    assert front.directories() == []


def test_a_successors_socket_is_not_removed(front: Front) -> None:
    front.path.unlink()
    with socket.socket(socket.AF_UNIX) as successor:
        successor.bind(str(front.path))
        assert front.program.stop() == 0
        assert front.path.exists()
    front.path.unlink()
