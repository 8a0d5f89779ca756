#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# The soak: many messages through the chain, and what grows or stays behind. Arguments go to it.
set -eu
cd "$(dirname "$0")/.."
. scripts/apt.sh

as_root env PYTHONDONTWRITEBYTECODE=1 PYTHON="${PYTHON:-}" scripts/as_daemons_can.sh \
    .venv/bin/python -m benchmarks.soak "$@"
