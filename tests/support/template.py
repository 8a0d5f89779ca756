# SPDX-License-Identifier: GPL-3.0-or-later
"""Our worker's template as a program, with the multiplexor's end of its socket in the caller's hands."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from defang_common.wire import template as wire

WAIT_S = 60
# Puts the socket where a multiplexor does.
_LAUNCH = "import os, sys; os.dup2(int(sys.argv[1]), 3); os.execv(sys.argv[2], sys.argv[2:])"


@contextmanager
def template(path: Path) -> Iterator[tuple[socket.socket, subprocess.Popen[bytes]]]:
    """One with the filter at `path`; its socket and process. It has ended when this has."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(WAIT_S)
    words = [sys.executable, "-c", _LAUNCH, str(theirs.fileno()), sys.executable, "-m", "defang_worker"]
    with (
        ours,
        subprocess.Popen(
            [*words, "-f", str(path), "-template"],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        theirs.close()
        try:
            yield ours, process
        finally:
            ours.close()
            process.communicate(timeout=WAIT_S)


def hear(control: socket.socket) -> wire.Said:
    """What the template says next."""
    return wire.decode(control.recv(wire.MAX_PACKET_BYTES))


def fork(control: socket.socket, number: int) -> tuple[int, int, int]:
    """A worker's number, and our ends of its input and output."""
    pipes = [os.pipe() for _ in range(3)]
    theirs = [pipes[0][0], pipes[1][1], pipes[2][1]]
    socket.send_fds(control, [wire.encode_order(number)], theirs)
    said = hear(control)
    for descriptor in (*theirs, pipes[2][0]):
        os.close(descriptor)
    assert isinstance(said, wire.Serving)
    return said.number, pipes[0][1], pipes[1][0]
