#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# The demonstration. Root's programs run as a user of their own, so that they need a tree which that user can read.
set -eu
cd "$(dirname "$0")/.."

if [ "$(id -u)" -ne 0 ]; then
    exec .venv/bin/python -m demo "$@"
fi
scripts/daemon_user.sh
exec scripts/as_daemons_can.sh .venv/bin/python -m demo "$@"
