#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# install.sh install|uninstall DESTDIR [PREFIX [INIT [WHEELS [EXTRAS]]]]: find a Python that every user can run and let
# it do the work. Called by `make install`, on any system; PYTHON=... picks the interpreter.
set -eu
cd "$(dirname "$0")/.."

for candidate in ${PYTHON:-/usr/bin/python3 /usr/local/bin/python3 /usr/bin/python3.11 /usr/local/bin/python3.11 \
    /usr/bin/python3.12 /usr/local/bin/python3.12 /usr/bin/python3.13 /usr/local/bin/python3.13}; do
    reason=$("$candidate" scripts/reachable.py --interpreter 2>&1) || continue
    exec "$candidate" -m scripts.install "$1" --destdir="$2" --prefix="${3:-/usr/local}" --init="${4:-}" \
        --wheels="${5:-}" --extras="${6:-}" --python="$candidate"
done
echo "make $1: no usable Python: ${reason:-PYTHON is empty}" >&2
exit 1
