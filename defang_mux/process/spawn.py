# SPDX-License-Identifier: GPL-3.0-or-later
"""Starting a worker process with its pipes (protocol.md, Worker).

posix_spawn, because it costs the same however large the multiplexor has grown, and tells at once
when the program cannot be executed. Working directory, umask and environment are the multiplexor's.
"""

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from defang_mux.process.rlimits import NO_LIMITS, MemoryLimits

# Whatever the multiplexor was started with (nohup ignores HUP), a worker starts with these at default. SIGPIPE is
# not among them: ignored in the multiplexor, it stays so in workers, as MIMEDefang's expect.
_DEFAULT_SIGNALS: Final = (signal.SIGTERM, signal.SIGCHLD, signal.SIGHUP, signal.SIGINT)

_STANDARD_ERROR: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What to start: the worker program, the site's filter for it, whether it may write status tags, its limits."""

    path: Path
    rules: Path | None
    status_tags: bool
    memory: MemoryLimits = NO_LIMITS

    @property
    def argv(self) -> list[str]:
        """Argument list of a worker."""
        rules = [] if self.rules is None else ["-f", str(self.rules)]
        return [self.path.name, *rules, "-serveru" if self.status_tags else "-server"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A started process and the multiplexor's ends of its pipes, non-blocking. It leads a process group."""

    pid: int
    stdin: int
    stdout: int
    stderr: int
    status: int | None


def keep_from_workers() -> None:
    """Keeps open files that we were started with out of workers; our own are so from the beginning."""
    for entry in list(Path("/dev/fd").iterdir()):
        descriptor = int(entry.name)
        # The listing's own descriptor has gone.
        if descriptor > _STANDARD_ERROR and entry.exists():
            os.set_inheritable(descriptor, False)


def spawn(program: Program) -> Child:
    """A running worker; OSError if there is no process, descriptor or executable program for it."""
    ours: list[int] = []
    theirs: list[int] = []
    try:
        for target in range(4 if program.status_tags else 3):
            read, write = os.pipe()
            ours.append(write if target == 0 else read)
            theirs.append(read if target == 0 else write)
        pid = os.posix_spawn(
            program.path,
            program.argv,
            os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, end, target) for target, end in enumerate(theirs)],
            setpgroup=0,
            setsigmask=(),
            setsigdef=_DEFAULT_SIGNALS,
        )
        _restrict(pid, program.memory)
    except BaseException:
        for end in ours:
            os.close(end)
        raise
    finally:
        for end in theirs:
            os.close(end)
    for end in ours:
        os.set_blocking(end, False)
    stdin, stdout, stderr, *status = ours
    return Child(pid=pid, stdin=stdin, stdout=stdout, stderr=stderr, status=status[0] if status else None)


def _restrict(pid: int, memory: MemoryLimits) -> None:
    try:
        memory.apply(pid)
    except OSError:
        # Without its limits it is not to serve. Nobody knows of it yet who could reap it.
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise
