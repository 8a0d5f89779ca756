# SPDX-License-Identifier: GPL-3.0-or-later
"""Packages that only some checks need: whoever uses such a check without its package is told which extra brings it."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import metadata

import pytest

# The package that is not there, a name that needs it, and the extra.
CASES = [
    ("clamd", "Clamd", "clamav"),
    ("aiospamc", "Spamd", "spamassassin"),
    ("dns.exception", "DnsList", "dns"),
    ("spf", "Spf", "spf"),
    ("dkim", "Dkim", "dkim"),
    ("dkim", "DkimSigner", "dkim"),
    ("cryptography", "tls.trust_anchor.anchor_of", "dane"),
]
# Those of other programs, and for work on this one.
OTHERS = {"metrics", "dev", "fuzz"}


@pytest.mark.parametrize(("package", "name", "extra"), CASES)
def test_missing_package_is_told_with_the_extra_that_brings_it(package: str, name: str, extra: str) -> None:
    module, _, member = f"defang_worker.checks.{name}".rpartition(".")
    program = f"import sys; sys.modules[{package!r}] = None; from {module} import {member}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert f"make install EXTRAS={extra}" in done.stderr


def test_every_extra_of_a_check_is_needed_by_one() -> None:
    declared = metadata.metadata("defang").get_all("Provides-Extra") or []
    assert {extra for _, _, extra in CASES} == set(declared) - OTHERS


def test_client_of_clamd_does_without_what_its_package_loads() -> None:
    """pkg_resources takes a tenth of a second and some megabytes."""
    program = "import sys; from defang_worker.checks import Clamd; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert re.search(r"\bclamd\b", done.stdout)
    assert "pkg_resources" not in done.stdout
