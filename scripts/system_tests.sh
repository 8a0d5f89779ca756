#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# The tests marked `system`: real programs and mail servers, started as root and run as users of their own.
# Arguments go to pytest.
set -eu
cd "$(dirname "$0")/.."
. scripts/apt.sh

scripts/system_packages.sh
pytest=".venv/bin/python -m pytest -p no:cacheprovider -m system"
if [ $# -eq 0 ]; then
    # shellcheck disable=SC2086  # words
    set -- scripts/two_at_once.sh tests/system/test_interoperability.py $pytest
else
    # shellcheck disable=SC2086
    set -- $pytest "$@"
fi
# Nothing that root writes is left in a tree that may be somebody else's.
as_root env PYTHONDONTWRITEBYTECODE=1 PYTHON="${PYTHON:-}" scripts/as_daemons_can.sh "$@"
