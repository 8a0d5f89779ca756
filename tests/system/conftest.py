# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests with real programs need: root, and failing assertions that show their values."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytest.register_assert_rewrite("tests.support.mail_server_contract", "tests.support.mail_samples")


@pytest.fixture(scope="session", autouse=True)
def _root() -> None:
    """The daemons are started as root and change to a user of their own; mail servers will not start otherwise."""
    if os.geteuid() != 0:
        raise PermissionError("the system tests have to be run as root: make system")


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the packages that an installation with `EXTRAS=clamav` needs, for machines without network."""
    directory = tmp_path_factory.mktemp("wheels")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [*project["project"]["dependencies"], *project["build-system"]["requires"]]
    wanted += project["project"]["optional-dependencies"]["clamav"]
    subprocess.run(
        [sys.executable, "-m", "pip", "--quiet", "wheel", "--wheel-dir", directory, *wanted],
        env={**os.environ, "PIP_CONSTRAINT": str(ROOT / "constraints.txt")}, check=True,
    )  # fmt: skip
    return directory
