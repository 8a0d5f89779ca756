# SPDX-License-Identifier: GPL-3.0-or-later
"""The fuzzer: `python -m tests.fuzz [options of libFuzzer] [corpus directories]`. `make fuzz` starts it."""

import sys

import atheris

with atheris.instrument_imports(include=["defang_worker.mime", "defang_worker.structure"]):
    from tests.fuzz.target import check

atheris.Setup(sys.argv, check)
atheris.Fuzz()
