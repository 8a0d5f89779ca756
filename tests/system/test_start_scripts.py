# SPDX-License-Identifier: GPL-3.0-or-later
"""The start scripts run for real: start, status, reload, restart under load, stop, and what a crash leaves.

Those of OpenRC and FreeBSD are run by a shell with stand-ins for the few functions of their frameworks.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import start_scripts
from tests.support.daemons import OUR_PROGRAMS, USER, make_spool, private_home
from tests.support.mail_samples import plain
from tests.support.mta import Milter, MilterError, Outcome, Verdict
from tests.support.process import Program, accepts_connections, descendants, is_dead, wait_until

pytestmark = pytest.mark.system

INIT = Path(__file__).parents[2] / "init"
FILTER = Path(__file__).parents[1] / "support/filters/verdicts.py"
# `stop` is bounded by 55 s for each daemon.
COMMAND_LIMIT_S = 110
NOT_RUNNING = 3
BROKEN = "import nothing_of_that_name\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """A start script whose variables name a private spool, and the shell that runs it."""

    home: Path
    path: Path
    kind: str
    shell: str

    def run(self, word: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            start_scripts.argv(self.shell, self.path, self.kind, word), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=COMMAND_LIMIT_S, check=False, cwd="/",
        )  # fmt: skip

    def ask(self, word: str, status: int = 0) -> str:
        done = self.run(word)
        assert done.returncode == status, done.stdout
        return done.stdout

    @property
    def spool(self) -> Path:
        return self.home / "spool"

    @property
    def filter(self) -> Path:
        return self.home / "filter.py"

    @property
    def milter(self) -> str:
        return f"unix:{self.spool}/mimedefang.sock"

    def pid(self, program: str) -> int:
        return int((self.spool / f"{program}.pid").read_text())

    def processes(self) -> list[int]:
        daemons = [self.pid("defang-mux"), self.pid("defang-milter")]
        return [*daemons, *(child for pid in daemons for child in descendants(pid))]

    def send(self, subject: str) -> Outcome:
        with Milter(self.milter) as milter:
            return milter.send(plain("to", subject))


def _installed(home: Path, kind: str, shell: str) -> Script:
    path = start_scripts.copy(kind, home, defaults=home / "defaults", service=OUR_PROGRAMS / "defang-service")
    script = Script(home=home, path=path, kind=kind, shell=shell)
    make_spool(script.spool)
    shutil.copy(FILTER, script.filter)
    script.filter.chmod(0o644)
    (home / "defaults").write_text(
        f"SPOOLDIR={script.spool}\nSUBFILTER={script.filter}\nSOCKET=unix:$SPOOLDIR/mimedefang.sock\n"
        f"MX_USER={USER}\nMX_MINIMUM=2\nMX_MAXIMUM=4\nMX_QUEUE_SIZE=20\nMX_LOG=yes\n"
    )
    return script


def _private(kind: str, shell: str) -> Iterator[Script]:
    with private_home("scripts-") as home:
        script = _installed(home, kind, shell)
        try:
            yield script
        finally:
            script.run("stop")


@pytest.fixture(
    params=[("sysv", "dash"), ("sysv", "bash"), ("slackware", "bash"), ("slackware", "sh"), ("openrc", "sh"),
            ("freebsd", "sh")],
    ids="-".join,
)  # fmt: skip
def script(request: pytest.FixtureRequest) -> Iterator[Script]:
    yield from _private(*request.param)


@pytest.fixture(params=["sysv", "openrc"])
def any_of_two(request: pytest.FixtureRequest) -> Iterator[Script]:
    """The script that hands the word `restart` on, and the one whose framework makes stop and start of it."""
    yield from _private(request.param, "sh")


@pytest.fixture
def sysv() -> Iterator[Script]:
    yield from _private("sysv", "sh")


def test_a_service_starts_tells_its_state_and_stops(script: Script) -> None:
    script.ask("status", NOT_RUNNING)
    script.ask("start")
    # At once, without waiting for anything.
    assert accepts_connections(script.milter)
    assert script.send("hello").verdict is Verdict.ACCEPT
    assert "runs as process" in script.ask("status")
    before = script.processes()
    assert "runs already" in script.ask("start")
    # The daemons, for workers are still being started.
    assert script.processes()[:2] == before[:2]
    script.ask("reload")
    assert script.send("reject").verdict is Verdict.REJECT
    script.ask("stop")
    assert [pid for pid in before if not is_dead(pid)] == []
    assert list(script.spool.iterdir()) == []
    script.ask("status", NOT_RUNNING)
    script.ask("stop")


def test_mail_during_a_restart_is_filtered_or_put_off(script: Script) -> None:
    script.ask("start")
    passed: list[Outcome] = []
    put_off: list[str] = []
    finished = threading.Event()

    def load() -> None:
        number = 0
        while not finished.is_set():
            number += 1
            try:
                passed.append(script.send("mark"))
            except MilterError as error:
                # Sendmail and Postfix answer with a temporary failure, as they are told to.
                put_off.append(str(error))

    senders = [threading.Thread(target=load) for _ in range(3)]
    for sender in senders:
        sender.start()
    try:
        wait_until(lambda: len(passed) > 5, "mail passes")
        old = script.pid("defang-mux")
        for _ in range(2):
            script.ask("restart")
        since = len(passed)
        wait_until(lambda: len(passed) > since + 5, "mail passes again")
    finally:
        finished.set()
        for sender in senders:
            sender.join()
    assert script.pid("defang-mux") != old
    assert is_dead(old)
    for outcome in passed:
        if outcome.verdict is Verdict.ACCEPT:
            assert outcome.message is not None
            assert outcome.message.values(b"X-Queue-ID") == [b"Q0000001"]
        else:
            assert 400 <= outcome.code < 500
    script.ask("stop")
    assert list(script.spool.iterdir()) == []


def test_a_restart_with_a_filter_that_cannot_be_loaded_changes_nothing(any_of_two: Script) -> None:
    any_of_two.ask("start")
    before = any_of_two.processes()[:2]
    any_of_two.filter.write_text(BROKEN)
    for word in ("restart", "reload", "check"):
        assert "nothing_of_that_name" in any_of_two.ask(word, 1)
    assert any_of_two.processes()[:2] == before
    assert any_of_two.send("hello").verdict is Verdict.ACCEPT


@pytest.mark.parametrize("extra", ["MX_EXTRA=--no-such-option", "MD_EXTRA=--no-such-option"])
def test_a_restart_with_options_that_a_daemon_refuses_changes_nothing(any_of_two: Script, extra: str) -> None:
    any_of_two.ask("start")
    before = any_of_two.processes()[:2]
    defaults = any_of_two.home / "defaults"
    good = defaults.read_text()
    defaults.write_text(f"{good}{extra}\n")
    for word in ("restart", "check"):
        assert "no-such-option" in any_of_two.ask(word, 1)
    assert any_of_two.processes()[:2] == before
    assert any_of_two.send("hello").verdict is Verdict.ACCEPT
    defaults.write_text(good)
    assert "the filter can be used" in any_of_two.ask("check")


def test_a_start_with_a_filter_that_cannot_be_loaded_says_so_and_puts_mail_off(sysv: Script) -> None:
    good = sysv.filter.read_text()
    sysv.filter.write_text(BROKEN)
    said = sysv.ask("start")
    assert "nothing_of_that_name" in said
    assert "all mail is put off" in said
    assert sysv.send("hello").verdict is Verdict.TEMPFAIL
    assert "nothing_of_that_name" in sysv.ask("status", 4)
    sysv.filter.write_text(f"open({str(sysv.home / 'loads')!r}, 'a').write('x')\n{good}")
    (sysv.home / "loads").touch()
    (sysv.home / "loads").chmod(0o666)
    sysv.ask("reload")
    assert (sysv.home / "loads").read_text() == "x"
    sysv.ask("status")
    assert sysv.send("hello").verdict is Verdict.ACCEPT


def test_what_a_crash_leaves_is_started_again_and_cleaned_up(sysv: Script) -> None:
    sysv.ask("start")
    milter, mux = sysv.pid("defang-milter"), sysv.pid("defang-mux")
    workers = descendants(mux)
    os.kill(mux, signal.SIGKILL)
    wait_until(lambda: is_dead(mux), "the multiplexor ends")
    # Number and file are still there; whose number it is by now does not matter.
    (sysv.spool / "defang-mux.pid").write_text(f"{os.getpid()}\n")
    assert "defang-mux does not run; it left" in sysv.ask("status", 1)
    sysv.ask("start")
    assert sysv.pid("defang-milter") == milter
    assert sysv.send("hello").verdict is Verdict.ACCEPT
    for pid in (sysv.pid("defang-mux"), milter):
        os.kill(pid, signal.SIGKILL)
    sysv.ask("stop")
    wait_until(lambda: all(is_dead(pid) for pid in workers), "workers of the first multiplexor end")
    assert list(sysv.spool.iterdir()) == []


def test_a_worker_that_outlives_its_multiplexor_is_ended_by_the_stop(sysv: Script) -> None:
    sysv.ask("start")
    held = sysv.home / "flags" / "held"
    make_spool(held.parent)
    held.touch()
    sender = threading.Thread(target=_send_held, args=(sysv, held), daemon=True)
    sender.start()
    told = held.with_name("held.worker")
    wait_until(told.exists, "a worker waits")
    worker = int(told.read_text())
    os.kill(sysv.pid("defang-mux"), signal.SIGKILL)
    sysv.ask("stop")
    assert is_dead(worker)
    sender.join(COMMAND_LIMIT_S)


def _send_held(script: Script, held: Path) -> None:
    with Milter(script.milter) as milter:
        milter.send(b"Subject: held\r\nX-Hold: %s\r\n\r\nbody\r\n" % bytes(held))


# The service in Python, with less patience.
HASTY = f"""#!{sys.executable}
import sys
from defang_service import operations
from defang_service.__main__ import main
operations._STOP_LIMIT_S = 5
sys.exit(main())
"""


def test_a_daemon_that_does_not_hear_is_killed_in_the_end(sysv: Script) -> None:
    sysv.ask("start")
    hasty = sysv.home / "hasty"
    hasty.write_text(HASTY)
    hasty.chmod(0o755)
    sysv.path.write_text(re.sub(r"^SERVICE=.*$", f"SERVICE={hasty}", sysv.path.read_text(), flags=re.MULTILINE))
    milter = sysv.pid("defang-milter")
    os.kill(milter, signal.SIGSTOP)
    sysv.ask("stop")
    assert is_dead(milter)
    assert list(sysv.spool.iterdir()) == []


def test_nothing_is_left_running_by_a_start_that_fails(sysv: Script) -> None:
    (sysv.home / "defaults").write_text((sysv.home / "defaults").read_text() + "MD_EXTRA=--no-such-option\n")
    assert "defang-milter did not start" in sysv.ask("start", 1)
    sysv.ask("status", NOT_RUNNING)
    assert list(sysv.spool.iterdir()) == []


def test_systemd_understands_the_units(tmp_path: Path) -> None:
    units = sorted((INIT / "systemd").iterdir())
    assert len(units) == 2
    for unit in units:
        # The program has to exist; here any does.
        (tmp_path / unit.name).write_text(unit.read_text().replace("/usr/local/bin/defang-service", "/bin/true"))
    argv: list[str | Path] = ["systemd-analyze", "verify", *(tmp_path / unit.name for unit in units)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=COMMAND_LIMIT_S, check=False)
    assert (done.returncode, done.stderr) == (0, "")


class Unit:
    """A unit of ours as systemd runs it, as far as user, capabilities, environment and notification go."""

    def __init__(self, name: str, script: Script) -> None:
        text = (INIT / "systemd" / f"{name}.service").read_text()
        self._values = dict(re.findall(r"^([A-Za-z]+)=(.*)$", text, re.MULTILINE))
        self._name = name
        self._notify = script.home / f"{name}.notify"
        self._log = script.home / f"{name}.log"
        lines = (script.home / "defaults").read_text().splitlines()
        # systemd takes the values as they stand.
        self._environment = dict(line.split("=", 1) for line in lines) | {"NOTIFY_SOCKET": str(self._notify)}
        self.program: Program | None = None

    def start(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
            supervisor.bind(str(self._notify))
            self._notify.chmod(0o666)
            supervisor.settimeout(COMMAND_LIMIT_S)
            self.program = Program(self._name, self.argv("ExecStart"), log=self._log, env=self._environment)
            while not supervisor.recv(4096).startswith(b"READY=1"):
                pass

    def argv(self, key: str) -> list[str | Path]:
        kept = [f"+{name.removeprefix('CAP_').lower()}" for name in self._values["CapabilityBoundingSet"].split()]
        argv: list[str | Path] = ["setpriv", f"--bounding-set={','.join(['-all', *kept])}"]
        if "User" in self._values:
            argv += [f"--reuid={USER}", f"--regid={USER}", "--init-groups"]
        if self._values.get("NoNewPrivileges") == "yes":
            argv.append("--no-new-privs")
        word = self._values[key].rpartition(" ")[2]
        return [*argv, OUR_PROGRAMS / "defang-service", word]

    def reload(self) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.argv("ExecReload"), env={**os.environ, **self._environment}, capture_output=True, text=True,
            timeout=COMMAND_LIMIT_S, check=False,
        )  # fmt: skip


def test_the_daemons_serve_with_the_privileges_that_their_units_leave(sysv: Script) -> None:
    mux, milter = Unit("defang-mux", sysv), Unit("defang-milter", sysv)
    started = []
    try:
        for unit in (mux, milter):
            unit.start()
            assert unit.program is not None
            started.append(unit.program)
        assert accepts_connections(sysv.milter)
        assert sysv.send("hello").verdict is Verdict.ACCEPT
        sysv.ask("status")
        done = mux.reload()
        assert done.returncode == 0, done.stdout + done.stderr
        sysv.filter.write_text(BROKEN)
        done = mux.reload()
        assert done.returncode == 1
        assert "nothing_of_that_name" in done.stderr
    finally:
        for program in reversed(started):
            assert program.stop() == 0
    assert list(sysv.spool.iterdir()) == []


def test_a_stop_by_somebody_who_may_not_says_so(sysv: Script) -> None:
    sysv.ask("start")
    environment = {
        **os.environ,
        **dict(line.split("=", 1) for line in (sysv.home / "defaults").read_text().splitlines()),
    }
    argv: list[str | Path] = ["setpriv", "--reuid=nobody", "--clear-groups", OUR_PROGRAMS / "defang-service", "stop"]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=COMMAND_LIMIT_S, check=False)
    assert done.returncode == 1
    assert "Permission denied" in done.stderr
    assert "Traceback" not in done.stderr
    argv = ["setpriv", "--bounding-set=-kill", OUR_PROGRAMS / "defang-service", "stop"]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=COMMAND_LIMIT_S, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert "may not be ended" in done.stderr
    sysv.ask("status")
