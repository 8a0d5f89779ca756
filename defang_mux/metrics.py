# SPDX-License-Identifier: GPL-3.0-or-later
"""The pool's records and the ledger for Prometheus, made when they are asked for.

Pure but for the package that writes the format, which is why `supervisor` imports this module only with `--metrics`.
How they are asked for is in `sockets.metrics`.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from defang_mux.pool.ledger import BOUNDS_S, Histogram, Ledger
from defang_mux.pool.poison import PoisonMemory
from defang_mux.pool.policy import Pool
from defang_mux.pool.state import State

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST


class Metrics(Collector):
    """Renders the state of now; `clock` gives the pool's time."""

    def __init__(self, pool: Pool, ledger: Ledger, poison: PoisonMemory, clock: Callable[[], float]) -> None:
        self._pool = pool
        self._ledger = ledger
        self._poison = poison
        self._clock = clock
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def render(self) -> bytes:
        """All of it in Prometheus's text format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """For the registry."""
        yield from self._requests()
        yield from self._workers()
        yield _gauge("defang_queue_requests", "Requests that wait for a worker", self._pool.queued)
        yield _gauge("defang_queue_size", "Requests that may wait", self._pool.limits.queue_size)
        yield _gauge("defang_poison_messages", "Messages remembered for having cost a worker", len(self._poison))
        yield _gauge("defang_uptime_seconds", "Time since the start", self._clock() - self._pool.started_at)

    def _requests(self) -> Iterator[Metric]:
        requests = CounterMetricFamily("defang_requests", "Requests by kind and outcome", labels=["kind", "outcome"])
        for kind, outcomes in self._ledger.counts.items():
            for outcome, count in outcomes.items():
                requests.add_metric([kind.value, outcome.value], count)
        yield requests
        if self._ledger.durations is None:
            return
        work = HistogramMetricFamily("defang_request_seconds", "Time that a worker took", labels=["kind"])
        wait = HistogramMetricFamily("defang_wait_seconds", "Time before a worker had the request", labels=["kind"])
        for kind, durations in self._ledger.durations.items():
            work.add_metric([kind.value], _buckets(durations.work), durations.work.sum_s)
            wait.add_metric([kind.value], _buckets(durations.wait), durations.wait.sum_s)
        yield work
        yield wait

    def _workers(self) -> Iterator[Metric]:
        workers = GaugeMetricFamily("defang_workers", "Workers by state", labels=["state"])
        for state in State:
            workers.add_metric([state.name.lower()], self._pool.in_state(state))
        yield workers
        for name, text, count in (
            ("defang_worker_starts", "Workers started", self._pool.counts.activations),
            ("defang_worker_deaths", "Workers that ended without being told to", self._ledger.deaths),
            ("defang_worker_timeouts", "Workers given up at the busy timeout", self._ledger.timeouts),
        ):
            yield CounterMetricFamily(name, text, value=count)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    """Prometheus counts in each bucket what is in the smaller ones, too."""
    ends: Iterable[str] = [*map(str, BOUNDS_S), "+Inf"]
    return list(zip(ends, map(float, accumulate(histogram.counts)), strict=True))
