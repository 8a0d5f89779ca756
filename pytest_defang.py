# SPDX-License-Identifier: GPL-3.0-or-later
"""pytest's door to `defang_worker.testing`: the fixtures `run_filter` and `new_message`.

pytest loads this module in every run on a machine that has Defang, so it imports nothing of it before a test asks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from defang_worker.testing import MessageBuilder, Result


def pytest_addoption(parser: pytest.Parser) -> None:
    """The name of the filter that is tested, so that not every test has to say it."""
    parser.addini("defang_filter", "the filter file that run_filter runs if it is given none", default="")


@pytest.fixture
def run_filter(pytestconfig: pytest.Config) -> Callable[..., Result]:
    """`defang_worker.testing.run_filter`; without a filter, that of the setting `defang_filter`."""
    from defang_worker import testing  # noqa: PLC0415

    configured: str = pytestconfig.getini("defang_filter")

    def run(message: MessageBuilder | bytes, filter: object = None, **session: object) -> Result:  # noqa: A002
        if filter is None:
            if not configured:
                pytest.fail(
                    "run_filter needs a filter: as its second argument, or as defang_filter in pytest's settings"
                )
            filter = pytestconfig.rootpath / configured  # noqa: A001
        return testing.run_filter(message, filter, **session)  # type: ignore[arg-type]

    return run


@pytest.fixture
def new_message() -> Callable[[], MessageBuilder]:
    """Gives a new `defang_worker.testing.MessageBuilder` with each call."""
    from defang_worker.testing import MessageBuilder  # noqa: PLC0415

    return MessageBuilder
