# SPDX-License-Identifier: GPL-3.0-or-later
"""Pipes for a worker, and starting it or its template as a program (protocol.md, Worker; protocol.md, Template).

posix_spawn, because it costs the same however large the multiplexor has grown, and tells at once
when the program cannot be executed. Working directory and umask are the multiplexor's; so is the environment, but for
what asks workers to confine themselves.
"""

import os
import signal
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from defang_common.wire.confinement import NOT_CONFINED, TOLD, Confinement
from defang_mux.process.rlimits import NO_LIMITS, WorkerLimits

# Whatever the multiplexor was started with (nohup ignores HUP), a worker starts with these at default. SIGPIPE is
# not among them: ignored in the multiplexor, it stays so in workers, as MIMEDefang's expect.
_DEFAULT_SIGNALS: Final = (signal.SIGTERM, signal.SIGCHLD, signal.SIGHUP, signal.SIGINT)

_STANDARD_ERROR: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What to start: the worker program, the site's filter for it, whether it may write status tags, its limits.

    `is_told`: what is missing for its confinement is in the log already.
    """

    path: Path
    rules: Path | None
    status_tags: bool
    limits: WorkerLimits = NO_LIMITS
    confinement: Confinement = NOT_CONFINED
    is_told: bool = False

    @property
    def environment(self) -> dict[str, str]:
        """The multiplexor's own, and what is asked of the worker."""
        told = {TOLD: "1"} if self.is_told else {}
        return {**os.environ, **self.confinement.environment(), **told}

    @property
    def argv(self) -> list[str]:
        """Argument list of a worker."""
        return self._argv("-serveru" if self.status_tags else "-server")

    @property
    def template_argv(self) -> list[str]:
        """Argument list of a template."""
        return self._argv("-template")

    def _argv(self, mode: str) -> list[str]:
        rules = [] if self.rules is None else ["-f", str(self.rules)]
        return [self.path.name, *rules, mode]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipes:
    """The multiplexor's ends of a worker's pipes, non-blocking, and `theirs`: the worker's, by its descriptors."""

    stdin: int
    stdout: int
    stderr: int
    status: int | None
    theirs: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateProcess:
    """A started template and the multiplexor's ends: its socket and its standard error, both non-blocking."""

    pid: int
    control: socket.socket
    stderr: int


def keep_from_workers() -> None:
    """Keeps open files that we were started with out of workers; our own are so from the beginning."""
    for entry in list(Path("/dev/fd").iterdir()):
        descriptor = int(entry.name)
        # The listing's own descriptor has gone.
        if descriptor > _STANDARD_ERROR and entry.exists():
            os.set_inheritable(descriptor, False)


def open_pipes(*, status_tags: bool) -> Pipes:
    """Pipes for one worker; OSError if there are no descriptors for them."""
    ours: list[int] = []
    theirs: list[int] = []
    try:
        for target in range(4 if status_tags else 3):
            read, write = os.pipe()
            ours.append(write if target == 0 else read)
            theirs.append(read if target == 0 else write)
    except BaseException:
        close_all((*ours, *theirs))
        raise
    for end in ours:
        os.set_blocking(end, False)
    stdin, stdout, stderr, *status = ours
    return Pipes(stdin=stdin, stdout=stdout, stderr=stderr, status=status[0] if status else None, theirs=tuple(theirs))


def close_all(descriptors: Sequence[int]) -> None:
    """Closes them."""
    for descriptor in descriptors:
        os.close(descriptor)


def spawn(program: Program, theirs: Sequence[int]) -> int:
    """The process ID of a new worker that leads a process group; OSError if there is no process or program for it."""
    pid = _spawn(program, program.argv, theirs)
    try:
        program.limits.apply(pid)
    except OSError:
        # Without its limits it is not to serve. Nobody knows of it yet who could reap it.
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise
    return pid


def spawn_template(program: Program) -> TemplateProcess:
    """A running template that leads a process group; OSError as above, or if there are no descriptors."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        # It is to tell who speaks, and no packet of a template can claim to be another's.
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        ours.setblocking(False)
        read, write = os.pipe()
        needed = [write]
        try:
            needed.append(nothing := os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
            pid = _spawn(program, program.template_argv, (nothing, write, write, theirs.fileno()))
        except BaseException:
            os.close(read)
            raise
        finally:
            close_all(needed)
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    os.set_blocking(read, False)
    return TemplateProcess(pid=pid, control=ours, stderr=read)


def _spawn(program: Program, argv: list[str], descriptors: Sequence[int]) -> int:
    return os.posix_spawn(
        program.path,
        argv,
        program.environment,
        file_actions=[(os.POSIX_SPAWN_DUP2, end, target) for target, end in enumerate(descriptors)],
        setpgroup=0,
        setsigmask=(),
        setsigdef=_DEFAULT_SIGNALS,
    )
