#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Build .venv with the package (editable) and all that the tests need from the Python index. Called by `make setup`,
# which sees to it that this runs only when something changed. PYTHON=... picks the interpreter.
set -eu
cd "$(dirname "$0")/.."
. scripts/apt.sh

# The daemons' user has to read what is made here, whatever the caller's umask.
umask 022
stamp=.venv/.ready

# suitable INTERPRETER: can it run the daemons as another user? Prints the reason if not.
suitable() {
    command -v "$1" >/dev/null || { echo "$1: not found"; return 1; }
    "$1" scripts/reachable.py --interpreter
}

# Debian's interpreters come first: one of pyenv in a private home runs for its owner only.
pick_interpreter() {
    if [ -n "${PYTHON:-}" ]; then
        reason=$(suitable "$PYTHON") || fail "PYTHON=$PYTHON cannot be used: $reason"
        echo "$PYTHON"
        return
    fi
    for candidate in /usr/bin/python3.11 /usr/bin/python3.12 /usr/bin/python3.13 \
        /usr/local/bin/python3.11 /usr/local/bin/python3.12 /usr/local/bin/python3.13 python3.11 python3.12 python3.13; do
        if suitable "$candidate" >/dev/null 2>&1; then
            command -v "$candidate"
            return
        fi
    done
}

# One at a time, for two terminals may ask for it.
mkdir -p .cache
exec 9>.cache/setup.lock
flock 9

interpreter=$(pick_interpreter)
if [ -z "$interpreter" ]; then
    need_packages "an interpreter that every user can run" python3.11
    interpreter=/usr/bin/python3.11
fi

# What the environment was made of. The settings of the tools, below that comment, are no part of it.
inputs=$(printf '%s\n' "$PWD" "PYTHON=${PYTHON:-}" "$interpreter"
    sed '/^# Settings of the development tools/,$d' pyproject.toml | cat - constraints.txt scripts/setup.sh | sha256sum)
if [ -x .venv/bin/python ] && [ "$(cat $stamp 2>/dev/null)" = "$inputs" ]; then
    touch $stamp
    exit
fi

# What pymilter is compiled with, and the parts of Python that Debian packages apart.
version=$("$interpreter" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
packages="gcc libc6-dev libmilter-dev"
"$interpreter" -c 'import ensurepip, venv' 2>/dev/null || packages="$packages $version-venv"
header=$("$interpreter" -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h
[ -e "$header" ] || packages="$packages $version-dev"
# The library itself is called differently from one Debian to the next; these programs of its bring it along.
"$interpreter" -c 'import ctypes.util, sys; sys.exit(not ctypes.util.find_library("archive"))' ||
    packages="$packages libarchive-tools"
# shellcheck disable=SC2086  # a list of words
need_packages "the virtual environment (pymilter is compiled against libmilter; libarchive reads archives)" $packages

echo "defang: building .venv with $interpreter"
"$interpreter" -m venv --clear .venv
# Build requirements are held by the constraints too, hence the variable and not the option -c.
# A plain path entry (editable_mode=compat) rather than an import hook: mypy and grimp read the former only.
PIP_CONSTRAINT=$PWD/constraints.txt .venv/bin/python -m pip --quiet --quiet --disable-pip-version-check install \
    --use-pep517 --config-settings editable_mode=compat --editable '.[clamav,spamassassin,dns,spf,dkim,dane,metrics,dev]' </dev/null

if ! reason=$(.venv/bin/python scripts/reachable.py "$PWD" .venv/bin/python); then
    echo "defang: note: $reason; the programs here run for you alone," \
        "so that make system, and make run as root, work on a copy in /var/cache/defang"
fi
echo "$inputs" >$stamp
