# SPDX-License-Identifier: GPL-3.0-or-later
"""The classes of the example filters, each loaded from its file, so that a test can change an attribute."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from defang_worker import Filter

FILTERS = Path(__file__).parents[2] / "docs" / "filters"
Example = Callable[[str], type[Filter]]


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Example:
    """Loads an example by its file's name, and gives its only filter."""

    def load(name: str) -> type[Filter]:
        spec = importlib.util.spec_from_file_location(f"example_{name}", FILTERS / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, module.__name__, module)
        spec.loader.exec_module(module)
        (found,) = (
            value
            for value in vars(module).values()
            if isinstance(value, type) and issubclass(value, Filter) and value is not Filter
        )
        return found

    return load
