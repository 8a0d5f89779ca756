# SPDX-License-Identifier: GPL-3.0-or-later
"""What a multiplexor itself takes for a request: its workers answer at once, and nobody else is in the way.

Clients connect, ask and read the answer as a front end does. The two have their rounds in turn.
"""

from __future__ import annotations

import socket
import textwrap
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

from benchmarks.contestants import FILTERS, ORIGINS, pool_options
from benchmarks.load import LoadFailed
from benchmarks.processes import read_own_cpu_s
from benchmarks.report import RequestCost
from tests.support.daemons import Chain, Daemons, make_spool, private_home
from tests.support.process import wait_until

WORKERS = 4
CLIENTS = 4
# Of each round. The clock of the scheduler, unlike that of `stat`, does not come in ticks.
REQUESTS = 400
_WARM_UP_ROUNDS = 2
_WAIT_S = 30.0
_ANSWER = b"ok\n"
# Serves any multiplexor; a message's worker would take its time beside.
_WORKER = """\
    #!/usr/bin/python3 -IS
    import os
    import sys

    if "-features" in sys.argv:
        sys.exit()
    while os.read(0, 8192):
        os.write(1, b"ok\\n")
    """


def measured(names: Sequence[str], rounds: int) -> list[RequestCost]:
    """One for each contestant. LoadFailed if an answer is not the worker's."""
    with ExitStack() as stack:
        running = {name: stack.enter_context(_running(name)) for name in names}
        found: dict[str, list[float]] = {name: [] for name in names}
        for number in range(_WARM_UP_ROUNDS + rounds):
            for name, daemons in running.items():
                cost_s = _round(daemons)
                if number >= _WARM_UP_ROUNDS:
                    found[name].append(cost_s)
    return [RequestCost(contestant=name, rounds_s=tuple(costs_s)) for name, costs_s in found.items()]


@contextmanager
def _running(name: str) -> Iterator[Daemons]:
    with private_home(f"bench-{name}-") as home:
        worker = home / "worker"
        worker.write_text(textwrap.dedent(_WORKER))
        worker.chmod(0o755)
        spool = home / "spool"
        make_spool(spool)
        chain = Chain(filter=FILTERS / "filter.py", mux=ORIGINS[name], mux_options=pool_options(WORKERS))
        daemons = Daemons(chain, home, spool)
        try:
            daemons.start_mux(worker=worker)
            wait_until(lambda: len(daemons.workers()) >= WORKERS, f"{WORKERS} workers of {name}", _WAIT_S)
            yield daemons
        finally:
            daemons.stop()


def _round(daemons: Daemons) -> float:
    """CPU seconds of the multiplexor for each request of a round."""
    assert daemons.mux is not None
    before_s = read_own_cpu_s(daemons.mux.pid)
    with ThreadPoolExecutor(CLIENTS) as clients:
        for client in [clients.submit(_ask, str(daemons.mux_socket)) for _ in range(CLIENTS)]:
            client.result()
    return (read_own_cpu_s(daemons.mux.pid) - before_s) / REQUESTS


def _ask(path: str) -> None:
    for number in range(REQUESTS // CLIENTS):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_WAIT_S)
            connection.connect(path)
            connection.sendall(b"scan 4AB%06d /var/spool/MIMEDefang/mdefang-%06d\n" % (number, number))
            answer = b""
            while data := connection.recv(4096):
                answer += data
        if answer != _ANSWER:
            raise LoadFailed(f"a request is answered {answer!r}")
