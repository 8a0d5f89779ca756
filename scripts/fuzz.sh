#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Fuzz the MIME engine for SECONDS_TO_RUN seconds (60 unless given), then stop. Called by `make fuzz`.
# What is found new is kept in .cache/fuzz, a crash in .cache/fuzz/crashes: see tests/fuzz/README.md.
set -eu
cd "$(dirname "$0")/.."
python=.venv/bin/python

if ! "$python" -c 'import atheris' 2>/dev/null; then
    echo "defang: installing atheris"
    PIP_CONSTRAINT=$PWD/constraints.txt "$python" -m pip --quiet --disable-pip-version-check install atheris </dev/null
fi

mkdir -p .cache/fuzz/corpus .cache/fuzz/crashes
# libFuzzer's own way to a stop; the samples are only read.
exec "$python" -m tests.fuzz -max_total_time="${SECONDS_TO_RUN:-60}" -timeout=10 -rss_limit_mb=2048 -max_len=8192 \
    -print_final_stats=1 -artifact_prefix=.cache/fuzz/crashes/ -dict=tests/fuzz/mime.dict "$@" \
    .cache/fuzz/corpus tests/fuzz/corpus tests/fuzz/crashes
