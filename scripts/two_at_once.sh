#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# two_at_once.sh PATH PYTEST...: the tests below PATH beside all others, each in a process of its own, for half of what
# tests take is waiting. What the first says comes when the second is done. Fails if either does.
set -eu
path=$1
shift

said=$(mktemp)
"$@" "$path" >"$said" 2>&1 &
beside=$!
# A process in the background does not hear Ctrl-C.
trap '[ -z "$beside" ] || kill "$beside" || :; rm -f "$said"' EXIT
trap 'exit 130' INT TERM

status=0
"$@" --ignore="$path" || status=$?
wait "$beside" || status=$?
beside=
cat "$said"
exit "$status"
