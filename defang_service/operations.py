# SPDX-License-Identifier: GPL-3.0-or-later
"""Start, stop, restart, reload, status and check of the service: what each does, in order, and within which time.

Nothing here polls: a daemon's start command returns when its sockets accept connections, and the
kernel tells when a process has ended. Called by `__main__`, which makes exit statuses of it.
"""

import fcntl
import json
import os
import pwd
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any, Final

from defang_service import address, processes, trial
from defang_service.trial import Failed
from defang_service.variables import WORKER, Daemon, Service

# The milter waits 20 s for the multiplexor; a slow disk at boot has as long again for the programs themselves.
_START_LIMIT_S: Final = 60.0
# The milter gives messages in work 30 s (--stop-grace), the multiplexor's ladder has three steps of 10 s.
_STOP_LIMIT_S: Final = 45.0
# After KILL, for the kernel to clean up.
_KILL_LIMIT_S: Final = 10.0
# A worker left by a crash has nobody to answer to.
_STRAY_LIMIT_S: Final = 5.0
# The multiplexor gives a filter its busy timeout to load, and may be at another reread.
_RELOAD_LIMIT_S: Final = 300.0
# A daemon that accepts does so at once.
_PROBE_LIMIT_S: Final = 5.0

# A site's shell is not the daemons' concern: started by hand or at boot, they are to find the same modules.
_KEPT_FROM_DAEMONS: Final = frozenset({"PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "TMPDIR"})


class Status(IntEnum):
    """Exit statuses of `status`, those of the Linux Standard Base."""

    RUNNING = 0
    DEAD = 1
    STOPPED = 3
    UNKNOWN = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Operations:
    """What can be done with a service. `say` gets a line for each thing done."""

    service: Service
    environment: Mapping[str, str]
    say: Callable[[str], None]
    programs: Path = field(default_factory=lambda: Path(sys.executable).parent)

    def start(self) -> None:
        """Starts what does not run; returns when both accept connections, having tried the filter. Raises `Failed`."""
        if self.service.mux not in self._start():
            return
        try:
            self._try()
        except Failed as fault:
            # No failure: the daemons tell mail servers to come back, and take the filter as soon as it can be loaded.
            self.say(
                f"{fault}\nall mail is put off until it can be: mend it, and reload; with other variables, restart"
            )

    def _start(self) -> list[Daemon]:
        """Starts what does not run, the multiplexor first; what was started."""
        started: list[Daemon] = []
        for daemon in (self.service.mux, self.service.milter):
            with _the(daemon) as running:
                if running is not None:
                    self.say(f"{daemon.program} runs already, as process {running.pid}")
                    continue
            try:
                self._launch(daemon)
            except Failed:
                # Half a service would keep the next start from being tried whole.
                for other in reversed(started):
                    self._end(other)
                raise
            started.append(daemon)
        return started

    def stop(self) -> None:
        """Ends both, the milter first; returns when no process and no socket of theirs is left. Raises `Failed`."""
        for daemon in (self.service.milter, self.service.mux):
            self._end(daemon)
        self._end_strays()

    def restart(self) -> None:
        """Stop and start, if options and filter can be used; or else all stays as it is. Raises `Failed`."""
        self._try()
        self.stop()
        self._start()

    def reload(self) -> None:
        """Makes the multiplexor take the changed filter, if that can be used. Raises `Failed`."""
        if not self._health().get("tries_filter"):
            self._trial().filter()
        try:
            done = self._ask_mux("reread", limit_s=_RELOAD_LIMIT_S)
        except (OSError, subprocess.SubprocessError) as error:
            raise Failed(f"whether it is reloaded, the multiplexor's log will tell: {error}") from None
        said = (done.stdout + done.stderr).strip()
        if done.returncode:
            raise Failed(f"not reloaded: {said}")
        self.say(said or "the filter is read anew")

    def _ask_mux(self, word: str, *, limit_s: float) -> subprocess.CompletedProcess[str]:
        path = address.unix_path(self.service.mux.socket)
        command = [self._program("md-mx-ctrl"), "-s", str(path or self.service.mux.socket), word]
        return subprocess.run(
            command, capture_output=True, text=True, errors="backslashreplace", timeout=limit_s, check=False
        )

    def _health(self) -> dict[str, Any]:
        """What the multiplexor says of itself (protocol.md, Health); nothing if it does not."""
        try:
            told = json.loads(self._ask_mux("jsonhealth", limit_s=_PROBE_LIMIT_S).stdout)
        except (OSError, subprocess.SubprocessError, ValueError):
            return {}
        return told if isinstance(told, dict) else {}

    def check(self) -> None:
        """Tries options and filter; says what came of it. Raises `Failed`."""
        self.say(self._try())

    def _try(self) -> str:
        """Tries options and filter, and says what hardly is as it was meant; the worker's own line."""
        found = self._trial().run()
        for remark in found.remarks:
            self.say(f"note: {remark}")
        return found.said

    def _trial(self) -> trial.Trial:
        return trial.Trial(service=self.service, environment=self._environment(), programs=self.programs)

    def status(self) -> Status:
        """Says of each daemon whether it runs and accepts connections, and of the filter if it cannot be loaded."""
        found = [self._state(daemon) for daemon in (self.service.mux, self.service.milter)]
        if found[0] is Status.RUNNING:
            fault = self._health().get("filter_fault")
            if fault is not None:
                self.say(f"all mail is put off: {fault}")
                found[0] = Status.UNKNOWN
        if len(set(found)) == 1:
            return found[0]
        return Status.UNKNOWN if Status.UNKNOWN in found else Status.DEAD

    def runs(self) -> bool:
        """Whether one of the daemons runs. Raises `Failed`."""
        for daemon in (self.service.mux, self.service.milter):
            with _the(daemon) as running:
                if running is not None:
                    return True
        return False

    def replace_by(self, daemon: Daemon) -> None:
        """Becomes the daemon in the foreground: for systemd, which looks after it. Raises `Failed`."""
        program = self._program(daemon.program)
        for remark in self.service.remarks if daemon is self.service.mux else ():
            self.say(f"note: {remark}")
        # A journal takes standard error too, but without priority and facility.
        words = [program, "-D", "--log-to", "syslog", *daemon.options]
        try:
            os.execve(program, words, self._environment())  # noqa: S606  # no shell is wanted
        except OSError as error:
            raise Failed(f"{program}: {error.strerror}") from None

    def _launch(self, daemon: Daemon) -> None:
        command = [self._program(daemon.program), *daemon.options]
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, env=self._environment(), timeout=_START_LIMIT_S, check=False
            )
        except OSError as error:
            raise Failed(f"{command[0]}: {error.strerror}") from None
        except subprocess.TimeoutExpired:
            self._end(daemon)
            raise Failed(f"{daemon.program} was not ready in {_START_LIMIT_S:g} s: see its log") from None
        if done.returncode:
            # It has said why.
            raise Failed(f"{daemon.program} did not start")
        with _the(daemon) as running:
            if running is None:
                raise Failed(f"{daemon.program} started and ended: see its log")
            self.say(f"{daemon.program} started, process {running.pid}, at {daemon.socket}")

    def _end(self, daemon: Daemon) -> None:
        with _the(daemon) as running:
            if running is None:
                self.say(f"{daemon.program} does not run")
            elif not processes.end(running, term_limit_s=_STOP_LIMIT_S, kill_limit_s=_KILL_LIMIT_S):
                raise Failed(f"{daemon.program}, process {running.pid}, does not end, not even by KILL")
            else:
                self.say(f"{daemon.program} stopped")
        with _as_user(trial.account(self.service.user)):
            _remove_left(daemon)

    def _end_strays(self) -> None:
        if not sys.platform.startswith("linux"):
            return
        worker = self.service.worker or WORKER
        strays = processes.stray_workers(worker, uid=trial.account(self.service.user).pw_uid, spool=self.service.spool)
        left = processes.end_all(strays, term_limit_s=_STRAY_LIMIT_S, kill_limit_s=_KILL_LIMIT_S)
        if left:
            raise Failed(f"workers that do not end: {', '.join(map(str, left))}")

    def _state(self, daemon: Daemon) -> Status:
        with _the(daemon) as running:
            if running is None:
                stale = daemon.pid_file.exists() and daemon.pid_file.stat().st_size > 0
                self.say(f"{daemon.program} does not run" + (f"; it left {daemon.pid_file}" if stale else ""))
                return Status.DEAD if stale else Status.STOPPED
            silence = address.why_silent(daemon.socket, limit_s=_PROBE_LIMIT_S)
            self.say(f"{daemon.program} runs as process {running.pid}" + (f", but {silence}" if silence else ""))
            return Status.UNKNOWN if silence else Status.RUNNING

    def _program(self, name: str) -> str:
        return str(self.programs / name)

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in self.environment.items() if name not in _KEPT_FROM_DAEMONS}
        # A date in a header has English names; and programs that a filter starts keep their files at home.
        return {**kept, "HOME": str(self.service.spool), "LC_ALL": "C"}


@contextmanager
def _the(daemon: Daemon) -> Iterator[processes.Held | None]:
    """The daemon's process, held fast. Raises `Failed` if that cannot be found out."""
    try:
        with processes.holding(daemon.lock_file) as running:
            yield running
    except processes.Unclear as error:
        raise Failed(str(error)) from None
    except PermissionError as error:
        raise Failed(f"{daemon.program} may not be ended by you: {error.strerror}") from None


@contextmanager
def _as_user(account: pwd.struct_passwd) -> Iterator[None]:
    """Root does what is inside as that user, in whose directories a link may lead anywhere."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(account.pw_uid)
    try:
        yield
    finally:
        os.seteuid(0)


def _remove_left(daemon: Daemon) -> None:
    """Removes what a daemon that crashed has left: socket, pid file and lock file."""
    try:
        # Made if it is missing, lest somebody starts the daemon meanwhile.
        lock = os.open(daemon.lock_file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Failed(f"{daemon.lock_file}: {error.strerror}") from None
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    else:
        path = address.unix_path(daemon.socket)
        if path is not None and address.why_silent(daemon.socket, limit_s=_PROBE_LIMIT_S) and path.is_socket():
            path.unlink()
        daemon.pid_file.unlink(missing_ok=True)
        daemon.lock_file.unlink(missing_ok=True)
    finally:
        os.close(lock)
