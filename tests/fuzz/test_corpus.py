# SPDX-License-Identifier: GPL-3.0-or-later
"""What the fuzzer began with, and what it once broke, by the same checks."""

from pathlib import Path

import pytest

from tests.fuzz.target import CHECKS, check

HERE = Path(__file__).parent
INPUTS = sorted(path for folder in ("corpus", "crashes") for path in (HERE / folder).iterdir())
SAMPLES = sorted((HERE.parent / "worker" / "mime" / "corpus").glob("*.eml"))


@pytest.mark.parametrize("path", INPUTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_an_input_of_the_fuzzer_holds(path: Path) -> None:
    check(path.read_bytes())


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_a_sample_message_holds(path: Path) -> None:
    for number in range(len(CHECKS)):
        check(bytes([number]) + path.read_bytes())
