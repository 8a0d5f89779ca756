#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# The benchmark, against MIMEDefang as Debian packages it. Arguments go to it; the result goes to benchmarks/results of
# this tree, wherever the daemons run.
set -eu
cd "$(dirname "$0")/.."
. scripts/apt.sh

scripts/system_packages.sh
result=$PWD/benchmarks/results/$(date --utc +%F).md
as_root env PYTHONDONTWRITEBYTECODE=1 PYTHON="${PYTHON:-}" scripts/as_daemons_can.sh \
    .venv/bin/python -m benchmarks --output "$result" "$@"
[ ! -e "$result" ] || as_root chown --reference=benchmarks "$result"
