# SPDX-License-Identifier: GPL-3.0-or-later
"""What every test may want: a spool directory, and a limit after which a test that hangs is ended.

Nothing of the domain lives here: a package's fakes are in that package's conftest.py, longer ones in tests/support/.
"""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import hypothesis
import pytest

# Many times what the slowest test takes: continuous integration may be slow, and busy.
UNIT_LIMIT_S = 120
SYSTEM_LIMIT_S = 300

# No deadline for one example: the machine may be busy. In CI the examples are always the same ones, so that chance
# does not decide whether a change goes in.
hypothesis.settings.register_profile("defang", deadline=None, derandomize="CI" in os.environ)
hypothesis.settings.load_profile("defang")


def pytest_configure() -> None:
    """Started in the background, pytest and its children would ignore SIGINT: limits of tests would have no effect."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def spool() -> Iterator[Path]:
    """A directory for working directories and sockets, as a site has it: its owner's alone.

    Not tmp_path: that lies below a directory that the daemons' user may not pass, and its long name leaves little of
    the 108 bytes that a socket's path may have.
    """
    with tempfile.TemporaryDirectory(prefix="defang-") as name:
        yield Path(name)


def _limit_s(item: pytest.Item) -> float:
    mark = item.get_closest_marker("time_limit")
    if mark is not None:
        return float(mark.args[0])
    return SYSTEM_LIMIT_S if item.get_closest_marker("system") else UNIT_LIMIT_S


@contextmanager
def _deadline(item: pytest.Item, phase: str) -> Iterator[None]:
    """End what is inside as Ctrl-C does, the one interruption that trio's loop survives, and fail the test."""
    limit_s = _limit_s(item)
    expired = False

    def give_up(_signal: int, _frame: object) -> None:
        nonlocal expired
        expired = True
        signal.raise_signal(signal.SIGINT)

    previous = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        yield
    except BaseException as error:
        if not expired:
            raise
        raise TimeoutError(f"{phase} took longer than {limit_s:g} s") from error
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None]:
    with _deadline(item, "setting up"):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    with _deadline(item, "the test"):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None]:
    with _deadline(item, "cleaning up"):
        return (yield)
