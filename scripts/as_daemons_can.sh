#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# as_daemons_can.sh COMMAND...: run it in a tree that the daemons' user can read: this one, or else a copy of it.
# A tree in a private home (/root is 0700, and so are Debian's new homes) is closed to that user, whatever its own modes.
# The copy lies in /var/cache/defang, where root alone writes; it has an environment of its own and is brought up to date
# each time. Run as root.
set -eu
cd "$(dirname "$0")/.."
. scripts/apt.sh

umask 022
[ "$(id -u)" -eq 0 ] || fail "$0 is for root"

# Unreadable files in a reachable tree count too: a clone made under umask 077 looks like that.
reason=$(.venv/bin/python scripts/reachable.py "$PWD" .venv/bin/python pyproject.toml defang_*/*.py) && exec "$@"

copy=/var/cache/defang/$(printf %s "$PWD" | sha256sum | cut -c 1-12)
echo "defang: $reason; working on a copy in $copy"
mkdir -p "$copy"
find "$copy" -mindepth 1 -maxdepth 1 ! -name .venv ! -name '*.egg-info' -exec rm -rf {} +
tar --create --exclude=./.venv --exclude=./.git --exclude=__pycache__ --exclude='./.*_cache' . |
    tar --extract --no-same-owner --mode=u=rwX,go=rX --directory "$copy"
cd "$copy"
make setup
exec "$@"
