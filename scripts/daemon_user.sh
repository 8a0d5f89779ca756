#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# See to it that the user exists whom the daemons run as when root starts them. Debian's mimedefang makes one.
set -eu
cd "$(dirname "$0")/.."
. scripts/apt.sh

user=defang
if ! getent passwd "$user" >/dev/null; then
    echo "defang: creating the system user $user, whom the daemons run as"
    as_root useradd --system --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin "$user"
fi
