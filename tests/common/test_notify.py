# SPDX-License-Identifier: GPL-3.0-or-later
"""What the service manager hears, and that nothing happens without one."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from defang_common.host import notify

LIMIT_S = 60


@pytest.fixture
def manager(spool: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.settimeout(LIMIT_S)
        listener.bind(str(spool / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(spool / "notify"))
        yield listener


def heard(manager: socket.socket) -> list[str]:
    return manager.recv(4096).decode().split("\n")


def test_manager_hears_of_each_step(manager: socket.socket) -> None:
    assert notify.is_wanted()
    notify.ready()
    assert heard(manager) == ["READY=1"]
    notify.reloading()
    begun, since = heard(manager)
    assert begun == "RELOADING=1"
    assert int(since.removeprefix("MONOTONIC_USEC=")) > 0
    notify.alive()
    assert heard(manager) == ["WATCHDOG=1"]
    notify.stopping()
    assert heard(manager) == ["STOPPING=1"]


def test_status_is_one_line(manager: socket.socket) -> None:
    notify.status("2 busy\nREADY=1")
    assert heard(manager) == ["STATUS=2 busy READY=1"]


def test_abstract_socket_is_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"defang-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.settimeout(LIMIT_S)
        listener.bind("\0" + name)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name)
        notify.alive()
        assert heard(listener) == ["WATCHDOG=1"]


@pytest.mark.parametrize("path", [None, "", "relative", "/no/such/socket"])
def test_manager_that_is_not_there_is_no_error(monkeypatch: pytest.MonkeyPatch, path: str | None) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    if path is not None:
        monkeypatch.setenv("NOTIFY_SOCKET", path)
    notify.ready()
    assert notify.is_wanted() == bool(path)


def test_manager_that_does_not_read_does_not_stop_us(manager: socket.socket) -> None:
    for _ in range(5000):
        notify.status("x" * 200)


@pytest.mark.parametrize(
    ("usec", "pid", "expected"),
    [
        ("30000000", None, 15.0),
        ("30000000", str(os.getpid()), 15.0),
        ("30000000", "1", None),
        ("0", None, None),
        ("soon", None, None),
        (None, None, None),
    ],
)
def test_watchdog_is_fed_twice_in_its_time(
    monkeypatch: pytest.MonkeyPatch, usec: str | None, pid: str | None, expected: float | None
) -> None:
    for name, value in (("WATCHDOG_USEC", usec), ("WATCHDOG_PID", pid)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    assert notify.watchdog_interval_s() == expected
