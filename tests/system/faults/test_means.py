# SPDX-License-Identifier: GPL-3.0-or-later
"""What the programs need, taken away while a message is at any stage: room on the disk, descriptors, processes."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.daemons import USER
from tests.support.fault_site import ANSWER_LIMIT_S, ASKED, STAGES, Site, is_right, is_tempfail, open_files
from tests.support.process import is_dead
from tests.support.small_disk import full

pytestmark = pytest.mark.system


IN_PROC = {"nofile": "Max open files", "nproc": "Max processes"}


@contextmanager
def limited(pid: int, resource: str, count: int) -> Iterator[None]:
    """While inside, the process can have no more of that. By its own user, for root need not have that right."""
    lines = Path(f"/proc/{pid}/limits").read_text().splitlines()
    before = (
        next(line for line in lines if line.startswith(IN_PROC[resource])).removeprefix(IN_PROC[resource]).split()[0]
    )

    def limit(soft: str) -> None:
        subprocess.run(["prlimit", "--pid", str(pid), f"--{resource}={soft}:"], user=USER, group=USER, check=True)

    limit(str(count))
    try:
        yield
    finally:
        if not is_dead(pid):
            limit(before)


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage != "scan"])
def test_a_disk_that_fills_up_before_the_scan_costs_a_retry(site: Site, stage: str) -> None:
    with site.holding(stage) as (message,), full(site.daemons.spool):
        message.let_go()
        assert is_tempfail(message.result())
    # A message without a directory has no name yet.
    site.wait_logged(rf"^\S+ ({message.queue_id}|NOQUEUE): .*No space left on device")


def test_a_disk_that_fills_up_during_a_scan_does_not_matter_where_nothing_is_written(site: Site) -> None:
    with site.holding("scan") as (message,), full(site.daemons.spool):
        message.let_go()
        assert is_right(message.result())


@pytest.mark.parametrize("spare", [0, 1, 3, 6])
@pytest.mark.parametrize("victim", ["mux", "milter"])
def test_a_daemon_without_descriptors_refuses_for_now_and_serves_when_there_are_some(
    site: Site, victim: str, spare: int
) -> None:
    (pid,) = site.pids(victim, "")
    # The first worker is busy, so that a new one is needed and its pipes with it.
    with site.holding("scan") as (held,), ThreadPoolExecutor(max_workers=1) as pool:
        with limited(pid, "nofile", open_files(pid) + spare):
            outcome = pool.submit(site.play)
            wait([outcome], timeout=1)
        held.let_go()
        assert is_right(held.result())
        answer = outcome.result(ANSWER_LIMIT_S)
        assert is_right(answer) or is_tempfail(answer)


@pytest.mark.parametrize("stage", ASKED)
def test_a_worker_without_descriptors_costs_a_retry_at_most(site: Site, stage: str) -> None:
    with site.holding(stage) as (message,):
        (pid,) = site.pids("worker", stage)
        with limited(pid, "nofile", open_files(pid)):
            message.let_go()
            outcome = message.result()
    # An answer needs none. What comes next on the connection may.
    assert is_right(outcome) or (stage != "scan" and is_tempfail(outcome)), outcome
    if is_tempfail(outcome):
        site.wait_logged(rf"^\S+ {message.queue_id}: .*Too many open files")


def test_a_template_without_descriptors_is_replaced(site: Site) -> None:
    site.kill(site.pids("worker", "between"))
    (template,) = site.pids("template", "")
    with limited(template, "nofile", open_files(template)):
        outcome = site.play()
    assert is_right(outcome) or is_tempfail(outcome)


def test_a_template_that_cannot_fork_costs_a_retry(site: Site) -> None:
    site.kill(site.pids("worker", "between"))
    (template,) = site.pids("template", "")
    with limited(template, "nproc", 1):
        assert is_tempfail(site.play())
    site.wait_logged(r"Worker \d+ not started: Resource temporarily unavailable")
