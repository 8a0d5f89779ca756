# SPDX-License-Identifier: GPL-3.0-or-later
"""Starting and ending a daemon, with real processes.

As root, the daemon becomes `nobody`, as a site's becomes its own user; else it stays who it is.
"""

from __future__ import annotations

import json
import os
import pwd
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.process import wait_until

ROOT = os.geteuid() == 0
USER = "nobody" if ROOT else None
ACCOUNT = pwd.getpwnam(USER) if USER else pwd.getpwuid(os.geteuid())
COMMAND_LIMIT_S = 60
EXIT_STATUS = 7

# What serves in these tests: it writes down what it finds, does what the test wants, and waits for SIGTERM.
CHILD = """
import json, logging, os, signal, subprocess, sys, time
from pathlib import Path
from defang_common.host import logs
from defang_common.host.daemon import DaemonSettings, StartFailed, run

words = json.loads(sys.argv[1])
act = words.pop("act")
logger = words.pop("missing_logger")
logs.missing_logger = lambda path: logger
for name in ("spool", "pid_file", "lock_file"):
    words[name] = words[name] and Path(words[name])

def serve(ready):
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    os.umask(umask := os.umask(0))
    facts = {
        "pid": os.getpid(), "parent": os.getppid(), "session": os.getsid(0), "ids": [*os.getresuid(), *os.getresgid()],
        "groups": os.getgroups(), "umask": umask, "cwd": os.getcwd(), "daemon": "daemon" in sys.modules,
        "files": {fd: str(os.readlink(f"/proc/self/fd/{fd}")) for fd in os.listdir("/proc/self/fd")
                  if os.path.exists(f"/proc/self/fd/{fd}")},
    }
    Path("facts.new").write_text(json.dumps(facts))
    Path("facts.new").rename("facts")
    exec(act)
    return 7 if signal.sigtimedwait([signal.SIGTERM], 30) else 8

try:
    sys.exit(run(DaemonSettings(**words), serve))
except StartFailed as error:
    print(error, file=sys.stderr)
    sys.exit(1)
"""


class Host:
    """Starts daemons over one spool and ends those that a test leaves running."""

    def __init__(self, spool: Path) -> None:
        self.spool = spool
        self.pid_file = spool / "test.pid"
        self.lock_file = spool / "test.pid.lock"
        self._started: set[int] = set()

    def argv(self, act: str, **settings: Any) -> list[str]:
        words = {
            "label": "test",
            "user": USER,
            "spool": str(self.spool),
            "pid_file": str(self.pid_file),
            "lock_file": None,
            "foreground": False,
            "group_access": False,
            "facility": "mail",
            "log_to": "auto",
            "act": act,
            "missing_logger": None,
        }
        return [sys.executable, "-c", CHILD, json.dumps(words | settings)]

    def run(self, act: str = "ready()", **settings: Any) -> subprocess.CompletedProcess[str]:
        """The start command, to its end; what it starts may live on."""
        done = subprocess.run(
            self.argv(act, **settings), capture_output=True, text=True, timeout=COMMAND_LIMIT_S, check=False
        )
        if (self.spool / "facts").exists():
            self._started.add(self.facts()["pid"])
        return done

    def start(self, act: str = "ready()", **settings: Any) -> dict[str, Any]:
        """A daemon that runs; what it found."""
        done = self.run(act, **settings)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        return self.facts()

    def refusal(self, **settings: Any) -> str:
        """What the start command says that fails before anything served."""
        done = self.run(**settings)
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1, done.stderr
        return done.stderr.rstrip("\n")

    def facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = json.loads((self.spool / "facts").read_text())
        return facts

    def stop(self, pid: int) -> None:
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not _runs(pid), f"process {pid} to end")

    def end_all(self) -> None:
        for pid in filter(_runs, self._started):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _runs(pid: int) -> bool:
    """Whether a process of ours, and not a later one of the same number, is alive."""
    try:
        return b"DaemonSettings" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


@pytest.fixture
def host(spool: Path) -> Iterator[Host]:
    os.chown(spool, ACCOUNT.pw_uid, ACCOUNT.pw_gid)
    host = Host(spool)
    yield host
    host.end_all()


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_start_command_waits_until_the_daemon_is_ready(host: Host) -> None:
    act = "for turn in range(1000):\n    if Path('go').exists(): break\n    time.sleep(0.01)\nready()"
    with subprocess.Popen(host.argv(act), stdin=subprocess.DEVNULL) as command:
        wait_until((host.spool / "facts").exists, "the daemon to serve")
        host._started.add(host.facts()["pid"])
        assert command.poll() is None
        (host.spool / "go").touch()
        assert command.wait(COMMAND_LIMIT_S) == 0
    assert _runs(host.facts()["pid"])


def test_daemon_lives_detached_in_the_spool(host: Host) -> None:
    facts = host.start()
    assert facts["cwd"] == str(host.spool)
    assert facts["umask"] == 0o077
    assert facts["session"] not in (os.getsid(0), facts["pid"])
    assert facts["ids"] == [ACCOUNT.pw_uid] * 3 + [ACCOUNT.pw_gid] * 3
    assert set(facts["groups"]) <= {*os.getgrouplist(ACCOUNT.pw_name, ACCOUNT.pw_gid), *os.getgroups()}


def test_daemon_keeps_no_file_of_the_starter(host: Host) -> None:
    with (host.spool / "foreign").open("w") as foreign:
        os.set_inheritable(foreign.fileno(), True)
        done = subprocess.run(
            host.argv("ready()"), timeout=COMMAND_LIMIT_S, check=False, close_fds=False, capture_output=True
        )
    assert done.returncode == 0
    facts = host.facts()
    host._started.add(facts["pid"])
    assert [facts["files"][number] for number in "012"] == ["/dev/null"] * 3
    others = {name for number, name in facts["files"].items() if int(number) > 2 and not name.startswith("pipe:")}
    assert others == {str(host.pid_file), str(host.lock_file)}


def test_children_of_the_daemon_inherit_its_standard_descriptors(host: Host) -> None:
    act = "subprocess.run(['/bin/sh', '-c', 'ls -l /proc/self/fd > children'], timeout=10, check=True); ready()"
    host.start(act)
    listing = (host.spool / "children").read_text()
    assert "0 -> /dev/null" in listing
    assert "2 -> /dev/null" in listing


@pytest.mark.parametrize("closed", [0, 1, 2, "all"])
def test_daemon_starts_where_standard_descriptors_are_closed(host: Host, closed: int | str) -> None:
    which = "<&- >&- 2>&-" if closed == "all" else f"{closed}>&-"
    argv = ["/bin/sh", "-c", f'exec "$@" {which}', "sh", *host.argv("ready()")]
    done = subprocess.run(argv, timeout=COMMAND_LIMIT_S, check=False)
    assert done.returncode == 0
    host._started.add(host.facts()["pid"])
    assert [host.facts()["files"][number] for number in "012"] == ["/dev/null"] * 3


def test_pid_and_lock_file_live_as_long_as_the_daemon(host: Host) -> None:
    umask = os.umask(0o077)
    try:
        pid = host.start()["pid"]
    finally:
        os.umask(umask)
    assert host.pid_file.read_text() == f"{pid}\n"
    assert _mode(host.pid_file) == 0o644
    assert _mode(host.lock_file) == 0o600
    assert host.lock_file.stat().st_uid == ACCOUNT.pw_uid
    host.stop(pid)
    assert not host.pid_file.exists()
    assert not host.lock_file.exists()


def test_second_instance_is_refused_and_harms_nothing(host: Host) -> None:
    pid = host.start()["pid"]
    assert host.refusal() == f"already running: process {pid} holds {host.lock_file}"
    assert host.pid_file.read_text() == f"{pid}\n"
    assert host.facts()["pid"] == pid
    host.stop(pid)
    assert host.start()["pid"] != pid


def test_second_instance_in_the_foreground_is_refused(host: Host) -> None:
    pid = host.start()["pid"]
    assert f"process {pid}" in host.refusal(foreground=True)
    assert host.pid_file.read_text() == f"{pid}\n"


def test_lock_file_of_its_own_refuses_whatever_the_pid_file(host: Host) -> None:
    lock = str(host.spool / "lock")
    host.start(lock_file=lock)
    assert "already running" in host.refusal(lock_file=lock, pid_file=None)
    assert not host.lock_file.exists()


def test_without_pid_and_lock_file_nothing_is_locked(host: Host) -> None:
    first = host.start(pid_file=None)
    second = host.start(pid_file=None)
    assert first["pid"] != second["pid"]
    assert not list(host.spool.glob("*pid*"))


def test_pid_file_of_a_killed_daemon_is_replaced(host: Host) -> None:
    pid = host.start()["pid"]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not _runs(pid), "the killed daemon to be gone")
    assert host.pid_file.exists()
    later = host.start()["pid"]
    assert host.pid_file.read_text() == f"{later}\n"


def test_longer_stale_pid_file_is_replaced_whole(host: Host) -> None:
    host.pid_file.write_text("123456789\nand more\n")
    assert host.pid_file.stat().st_size > 0
    assert host.pid_file.read_text() != f"{host.start()['pid']}\n" + "and more\n"
    assert host.pid_file.read_text() == f"{host.facts()['pid']}\n"


def test_failed_start_is_told_and_leaves_no_file(host: Host) -> None:
    assert host.refusal(act="open('/no/such/file')") == "/no/such/file: No such file or directory"
    assert not host.pid_file.exists()
    assert not host.lock_file.exists()


def test_start_failure_of_the_caller_is_told_in_its_own_words(host: Host) -> None:
    assert host.refusal(act="raise StartFailed('socket is in use')") == "socket is in use"


def test_very_long_error_is_cut_and_told(host: Host) -> None:
    assert host.refusal(act="raise StartFailed('x' * 100_000)").startswith("xxx")


def test_daemon_that_ends_before_it_is_ready_fails_the_start(host: Host) -> None:
    assert "ended before it was ready" in host.refusal(act="os._exit(0)")


def test_daemon_that_returns_before_it_is_ready_fails_the_start(host: Host) -> None:
    assert "ended before it was ready" in host.refusal(act="os.kill(os.getpid(), signal.SIGTERM)")


def test_group_access_opens_the_umask_to_the_group(host: Host) -> None:
    assert host.start(group_access=True)["umask"] == 0o027


def test_foreground_process_stays_and_returns_what_serve_returns(host: Host) -> None:
    act = "ready(); os.kill(os.getpid(), signal.SIGTERM)"
    with subprocess.Popen(host.argv(act, foreground=True)) as command:
        assert command.wait(COMMAND_LIMIT_S) == EXIT_STATUS
    facts = host.facts()
    assert facts["pid"] == command.pid
    assert facts["session"] == os.getsid(0)
    assert not facts["daemon"], "python-daemon is not needed here, and its import takes time"
    assert not host.pid_file.exists()


def test_a_supervisor_of_the_foreground_process_is_told_when_it_serves(host: Host) -> None:
    address = host.spool / "notify.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(str(address))
        address.chmod(0o666)
        supervisor.settimeout(COMMAND_LIMIT_S)
        environment = {**os.environ, "NOTIFY_SOCKET": str(address)}
        with subprocess.Popen(host.argv("ready()", foreground=True), env=environment) as command:
            assert supervisor.recv(100) == b"READY=1"
            command.terminate()
            assert command.wait(COMMAND_LIMIT_S) == EXIT_STATUS


def test_a_supervisor_that_cannot_be_reached_is_logged_and_no_reason_to_end(host: Host) -> None:
    environment = {**os.environ, "NOTIFY_SOCKET": str(host.spool / "nowhere.sock")}
    command = subprocess.run(
        host.argv("ready(); logging.shutdown(); os._exit(7)", foreground=True),
        env=environment, capture_output=True, text=True, timeout=COMMAND_LIMIT_S, check=False,
    )  # fmt: skip
    assert command.returncode == EXIT_STATUS
    assert "nowhere.sock: READY=1 could not be told" in command.stderr


def test_foreground_log_goes_to_standard_error(host: Host) -> None:
    act = (
        "ready(); logging.getLogger('defang.test').info('Q1: %s', 'text'); logging.getLogger('other').debug('no');"
        "os.kill(os.getpid(), signal.SIGTERM)"
    )
    done = host.run(act, foreground=True)
    assert done.stderr == f"test[{host.facts()['pid']}]: Q1: text\n"


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, True),
        ({"foreground": True, "log_to": "syslog"}, True),
        ({"foreground": True}, False),
    ],
)
def test_starter_is_told_that_nobody_reads_the_log(host: Host, settings: dict[str, Any], *, told: bool) -> None:
    act = "ready(); os.kill(os.getpid(), signal.SIGTERM)"
    done = host.run(act, missing_logger="/dev/log: No such file or directory", **settings)
    assert done.returncode == (EXIT_STATUS if settings else 0)
    line = "test: no system logger (/dev/log: No such file or directory), log lines are lost until there is one\n"
    assert done.stderr == (line if told else "")


def test_detached_daemon_can_log_to_the_starters_standard_error(host: Host) -> None:
    log = host.spool / "log"
    with log.open("w") as out:
        argv = host.argv("ready(); logging.getLogger('defang.test').info('here')", log_to="stderr")
        assert subprocess.run(argv, stderr=out, timeout=COMMAND_LIMIT_S, check=False).returncode == 0
    host._started.add(host.facts()["pid"])
    wait_until(lambda: log.read_text() != "", "the line in the log")
    assert log.read_text() == f"test[{host.facts()['pid']}]: here\n"


def test_error_after_ready_is_logged_with_its_traceback(host: Host) -> None:
    done = host.run("ready(); raise ValueError('later')", foreground=True)
    assert done.returncode == 1
    assert "stopped by an error" in done.stderr
    assert "ValueError: later" in done.stderr
    assert not host.pid_file.exists()


def test_error_before_ready_in_the_foreground_ends_with_its_text(host: Host) -> None:
    done = host.run("raise ValueError('early')", foreground=True)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "ValueError: early"


def test_unknown_user_is_named(host: Host) -> None:
    assert host.refusal(user="no-such-user") == "there is no user 'no-such-user'"


def test_root_is_no_user_for_a_daemon(host: Host) -> None:
    assert "root" in host.refusal(user="root")


def test_unknown_facility_is_named(host: Host) -> None:
    assert host.refusal(facility="post") == "unknown syslog facility: post"


def test_missing_spool_is_named(host: Host) -> None:
    missing = host.spool / "missing"
    assert host.refusal(spool=str(missing)) == f"spool {missing} does not exist"


def test_spool_that_is_a_file_is_refused(host: Host) -> None:
    file = host.spool / "file"
    file.touch()
    assert host.refusal(spool=str(file)) == f"spool {file} is not a directory"


@pytest.mark.parametrize("mode", [0o000, 0o500])
def test_spool_that_the_user_cannot_use_is_refused(host: Host, mode: int) -> None:
    inner = host.spool / "inner"
    inner.mkdir()
    os.chown(inner, ACCOUNT.pw_uid, ACCOUNT.pw_gid)
    inner.chmod(mode)
    assert host.refusal(spool=str(inner)).startswith(f"user {ACCOUNT.pw_name!r} cannot ")


def test_spool_that_everybody_can_write_in_is_refused(host: Host) -> None:
    inner = host.spool / "inner"
    inner.mkdir()
    inner.chmod(0o777)
    assert "chmod o-w" in host.refusal(spool=str(inner))


def test_pid_file_in_a_missing_directory_is_refused(host: Host) -> None:
    path = host.spool / "missing" / "pid"
    assert host.refusal(pid_file=str(path)) == f"cannot write pid file {path}: No such file or directory"


def test_lock_file_in_a_missing_directory_is_refused(host: Host) -> None:
    path = host.spool / "missing" / "lock"
    assert host.refusal(lock_file=str(path)) == f"cannot open lock file {path}: No such file or directory"


@pytest.mark.parametrize("name", ["pid_file", "lock_file"])
def test_link_in_place_of_a_file_is_refused_and_its_target_unharmed(host: Host, name: str) -> None:
    target = host.spool / "target"
    target.write_text("precious")
    path = host.spool / "trap"
    path.symlink_to(target)
    assert str(path) in host.refusal(**{name: str(path)})
    path.unlink()
    path.hardlink_to(target)
    assert "not a plain file" in host.refusal(**{name: str(path)})
    assert target.read_text() == "precious"


def test_paths_are_meant_from_where_the_command_was_typed(host: Host) -> None:
    argv = host.argv("ready()", spool="inner", pid_file="inner.pid")
    (host.spool / "inner").mkdir()
    os.chown(host.spool / "inner", ACCOUNT.pw_uid, ACCOUNT.pw_gid)
    assert subprocess.run(argv, cwd=host.spool, timeout=COMMAND_LIMIT_S, check=False).returncode == 0
    facts = json.loads((host.spool / "inner" / "facts").read_text())
    host._started.add(facts["pid"])
    assert facts["cwd"] == str(host.spool / "inner")
    assert (host.spool / "inner.pid").read_text() == f"{facts['pid']}\n"
    host.stop(facts["pid"])
    assert not (host.spool / "inner.pid").exists()


@pytest.mark.system
def test_root_has_to_name_a_user(host: Host) -> None:
    assert "name another user" in host.refusal(user=None)


@pytest.mark.system
def test_daemon_has_the_groups_of_its_user_and_none_of_the_starters(host: Host) -> None:
    expected = os.getgrouplist(ACCOUNT.pw_name, ACCOUNT.pw_gid)
    assert sorted(host.start()["groups"]) == sorted(expected)


@pytest.mark.system
def test_pid_file_that_the_user_cannot_remove_is_left_empty(host: Host, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    pid_file = tmp_path / "test.pid"
    pid = host.start(pid_file=str(pid_file))["pid"]
    assert pid_file.read_text() == f"{pid}\n"
    assert (tmp_path / "test.pid.lock").stat().st_uid == ACCOUNT.pw_uid
    host.stop(pid)
    assert pid_file.read_text() == ""
    assert host.start(pid_file=str(pid_file))["pid"] != pid


@pytest.mark.system
def test_only_root_becomes_another_user(host: Host) -> None:
    argv = host.argv("ready()", user="daemon")
    done = subprocess.run(
        argv, user=ACCOUNT.pw_uid, group=ACCOUNT.pw_gid, extra_groups=[], capture_output=True, text=True, check=False,
        timeout=COMMAND_LIMIT_S,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == "only root can start this as another user ('daemon')\n"
