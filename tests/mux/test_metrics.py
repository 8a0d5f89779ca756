# SPDX-License-Identifier: GPL-3.0-or-later
"""What Prometheus is told, and how it may ask."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import trio
import trio.testing
from prometheus_client.parser import text_string_to_metric_families

from defang_common.host.errors import StartFailed
from defang_mux.metrics import CONTENT_TYPE, Metrics
from defang_mux.pool.ledger import Entry, Ledger, Outcome
from defang_mux.pool.poison import Content, PoisonMemory
from defang_mux.pool.policy import Pool
from defang_mux.pool.state import Kind, Limits, Ticket
from defang_mux.sockets.metrics import MetricsDoor, listen_for_metrics, page

LOG = logging.getLogger("defang.mux.test")
GET = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"


def rendered(ledger: Ledger, memory: PoisonMemory | None = None) -> dict[tuple[str, tuple[str, ...]], float]:
    limits = Limits(
        min_workers=1, max_workers=2, max_requests=500, idle_timeout_s=300, start_interval_s=3,
        activation_interval_s=0, queue_size=4, queue_timeout_s=30,
    )  # fmt: skip
    pool = Pool(limits, now=0, epoch_offset_s=0)
    for number in range(3):
        pool.submit(Ticket(line=b"scan Q%d /d" % number, kind=Kind.SCAN), 1)
    text = Metrics(pool, ledger, memory or PoisonMemory(), lambda: 42.0).render().decode()
    families = text_string_to_metric_families(text)
    return {(one.name, tuple(one.labels.values())): one.value for family in families for one in family.samples}


def test_workers_queue_and_sums_are_told() -> None:
    ledger = Ledger()
    ledger.deaths, ledger.timeouts = 3, 2
    memory = PoisonMemory()
    memory.died(Content(1, "a"), "", now=0, scanned=0)
    told = rendered(ledger, memory)
    assert told["defang_workers", ("busy",)] == 2
    assert told["defang_workers", ("stopped",)] == 0
    assert (told["defang_queue_requests", ()], told["defang_queue_size", ()]) == (1, 4)
    assert told["defang_worker_starts_total", ()] == 2
    assert (told["defang_worker_deaths_total", ()], told["defang_worker_timeouts_total", ()]) == (3, 2)
    assert told["defang_poison_messages", ()] == 1
    assert told["defang_uptime_seconds", ()] == 42
    assert not [name for name, _ in told if name.startswith("defang_request_seconds")]


def test_requests_are_counted_by_kind_and_outcome_and_timed() -> None:
    ledger = Ledger(with_durations=True)
    for work_s in (0.02, 0.3):
        ledger.note(Entry(Kind.SCAN, Outcome.ANSWERED, 0, 0.04, 0.04 + work_s, 1, b"scan Q1 /d", b"ok\n", []))
    ledger.note(Entry(Kind.RELAYOK, Outcome.REFUSED, 0, 0, 1, None, b"relayok x", b"error: x\n", []))
    told = rendered(ledger)
    assert told["defang_requests_total", ("scan", "answered")] == 2
    assert told["defang_requests_total", ("relayok", "refused")] == 1
    assert told["defang_request_seconds_count", ("scan",)] == 2
    assert told["defang_request_seconds_sum", ("scan",)] == pytest.approx(0.32)
    assert told["defang_request_seconds_bucket", ("scan", "0.025")] == 1
    assert told["defang_request_seconds_bucket", ("scan", "+Inf")] == 2
    assert told["defang_wait_seconds_bucket", ("scan", "0.05")] == 2
    assert told["defang_request_seconds_count", ("relayok",)] == 0


@pytest.mark.parametrize(
    ("head", "status", "has_body"),
    [
        (GET, b"200 OK", True),
        (b"GET / HTTP/1.0\r\n\r\n", b"200 OK", True),
        (b"GET /metrics?x=1 HTTP/1.1\r\n\r\n", b"200 OK", True),
        (b"HEAD /metrics HTTP/1.1\r\n\r\n", b"200 OK", False),
        (b"GET /etc/passwd HTTP/1.1\r\n\r\n", b"404 Not Found", True),
        (b"POST /metrics HTTP/1.1\r\n\r\n", b"405 Method Not Allowed", True),
        (b"\x16\x03\x01\r\n\r\n", b"405 Method Not Allowed", True),
    ],
)
def test_one_page_is_served_and_nothing_else(head: bytes, status: bytes, *, has_body: bool) -> None:
    reply = page(head, lambda: b"x 1\n", CONTENT_TYPE)
    first, _, body = reply.partition(b"\r\n\r\n")
    assert first.startswith(b"HTTP/1.1 " + status + b"\r\n")
    assert bool(body) == has_body
    if has_body:
        assert b"Content-Length: %d\r\n" % len(body) in first


@pytest.mark.parametrize("address", ["inet_any:9199", "inet6_any:9199", "9199", "example.org:80"])
def test_metrics_do_not_leave_the_host(address: str) -> None:
    with pytest.raises(StartFailed, match="loopback"):
        listen_for_metrics(address, group=False, backlog=5)


async def test_head_in_pieces_is_answered_and_a_slow_one_dropped(spool: Path, nursery: trio.Nursery) -> None:
    listener = listen_for_metrics(f"unix:{spool}/metrics", group=False, backlog=5)

    async def reply(head: bytes) -> bytes:
        return page(head, lambda: b"x 1\n", CONTENT_TYPE)

    door = MetricsDoor(listener, reply, command_timeout_s=2, log=LOG)
    nursery.start_soon(door.serve, nursery)
    async with await trio.open_unix_socket(f"{spool}/metrics") as stream:
        for piece in (GET[:10], GET[10:-1], GET[-1:]):
            await stream.send_all(piece)
            await trio.testing.wait_all_tasks_blocked()
        assert b"".join([piece async for piece in stream]).endswith(b"\r\n\r\nx 1\n")
    async with await trio.open_unix_socket(f"{spool}/metrics") as slow:
        await slow.send_all(GET[:-1])
        assert await slow.receive_some() == b""
    async with await trio.open_unix_socket(f"{spool}/metrics") as endless:
        with pytest.raises(trio.BrokenResourceError):
            await endless.send_all(b"x" * 4 * 1024 * 1024)
    nursery.cancel_scope.cancel()
    listener.close()
