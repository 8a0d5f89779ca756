# SPDX-License-Identifier: GPL-3.0-or-later
"""Several addresses of one service: the first that works is asked, and one that is down costs nothing."""

from __future__ import annotations

import time

import pytest

from defang_worker.checks import endpoints as module
from defang_worker.checks.budget import Deadline
from defang_worker.checks.endpoints import Endpoints
from defang_worker.checks.faults import CouldNotTell, ServiceDown, ServiceFault


class Service:
    """Answers at some addresses, and notes who was asked."""

    def __init__(self, **faults: Exception) -> None:
        self.faults = faults
        self.asked: list[str] = []
        self.left_s: list[float] = []

    def __call__(self, address: str, deadline: Deadline) -> str:
        self.asked.append(address)
        self.left_s.append(deadline.left_s())
        if fault := self.faults.get(address):
            raise fault
        return address


def test_first_address_is_asked() -> None:
    service = Service()
    assert Endpoints(["a", "b"]).call(service, Deadline.after(60)) == "a"
    assert service.asked == ["a"]


@pytest.mark.parametrize("fault", [ServiceDown("x"), ServiceFault("x"), TimeoutError("x"), ConnectionResetError("x")])
def test_next_address_is_asked_if_one_fails_and_stays_the_preferred_one(fault: Exception) -> None:
    endpoints, service = Endpoints(["a", "b"]), Service(a=fault)
    assert endpoints.call(service, Deadline.after(60)) == "b"
    assert endpoints.call(service, Deadline.after(60)) == "b"
    assert service.asked == ["a", "b", "b"]


def test_each_address_gets_its_share_of_the_time() -> None:
    service = Service(a=ServiceDown("x"), b=ServiceDown("x"))
    Endpoints(["a", "b", "c"]).call(service, Deadline.after(60))
    assert [round(left) for left in service.left_s] == [20, 30, 60]


def test_what_no_address_betters_ends_the_round() -> None:
    endpoints, service = Endpoints(["a", "b"]), Service(a=CouldNotTell("too large"))
    with pytest.raises(CouldNotTell, match="too large"):
        endpoints.call(service, Deadline.after(60))
    assert service.asked == ["a"]
    assert not endpoints.circuits[0].is_open


def test_error_names_every_address() -> None:
    endpoints = Endpoints(["a", "b"])
    with pytest.raises(ServiceFault, match="a: refused; b: TimeoutError"):
        endpoints.call(Service(a=ServiceDown("refused"), b=TimeoutError()), Deadline.after(60))


def test_address_that_is_down_is_tried_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    endpoints, service = Endpoints("a"), Service(a=ServiceDown("refused"))
    for _ in range(3):
        with pytest.raises(ServiceFault, match="refused"):
            endpoints.call(service, Deadline.after(60))
    assert service.asked == ["a"]
    later = time.monotonic() + 30

    class Clock:
        monotonic = staticmethod(lambda: later)

    monkeypatch.setattr(module, "time", Clock)
    service.faults.clear()
    assert endpoints.call(service, Deadline.after(60)) == "a"
    assert not endpoints.circuits[0].is_open


def test_call_that_was_given_up_counts_as_a_fault() -> None:
    endpoints = Endpoints("a")

    def hang(address: str, deadline: Deadline) -> None:
        for _ in range(3):
            endpoints.gave_up("no answer in time")

    endpoints.call(hang, Deadline.after(60))
    assert [news.partition(":")[0] for news in endpoints.circuits[0].take_news()] == ["a", "a"]


def test_service_without_an_address_is_refused() -> None:
    with pytest.raises(ValueError, match="address"):
        Endpoints([])
