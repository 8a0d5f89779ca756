# SPDX-License-Identifier: GPL-3.0-or-later
# What tests/fuzz calls of atheris, which has no types of its own.
from collections.abc import Callable
from contextlib import AbstractContextManager

def instrument_imports(*, include: list[str]) -> AbstractContextManager[None]: ...
def Setup(argv: list[str], test_one_input: Callable[[bytes], None]) -> list[str]: ...  # noqa: N802
def Fuzz() -> None: ...  # noqa: N802
