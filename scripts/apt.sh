# SPDX-License-Identifier: GPL-3.0-or-later
# Debian packages for the other scripts, which source this file. Nothing is asked of apt when all is there.

# as_root COMMAND...: run it as root, through sudo where we are not.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        fail "'$1' needs root: run this as root, or install sudo"
    fi
}

fail() {
    echo "defang: $*" >&2
    exit 1
}

# missing_packages PACKAGE...: print those that are not installed.
missing_packages() {
    for package; do
        state=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null) || state=absent
        [ "$state" = installed ] || echo "$package"
    done
}

# apt-get without questions, and silent unless it fails.
apt_get() {
    log=$(mktemp)
    if ! as_root env DEBIAN_FRONTEND=noninteractive apt-get --quiet --assume-yes \
        -o DPkg::Lock::Timeout=120 "$@" >"$log" 2>&1 </dev/null; then
        tail -n 40 "$log" >&2
        rm -f "$log"
        return 1
    fi
    rm -f "$log"
}

# A machine's package lists may be absent or too old to fetch from: a failure is tried again after an update.
fresh_apt_get() {
    apt_get "$@" 2>/dev/null && return
    apt_get update || fail "apt-get update failed"
    apt_get "$@"
}

# need_packages REASON PACKAGE...: install what is missing, and say so in one line.
# No package of the machine is removed for ours; the mail servers, above all, conflict with one another.
need_packages() {
    reason=$1
    shift
    command -v dpkg-query >/dev/null || fail "this is not a Debian system; $reason needs: $*"
    missing=$(missing_packages "$@" | tr '\n' ' ')
    missing=${missing% }
    [ -n "$missing" ] || return 0
    echo "defang: installing Debian packages for $reason: $missing"
    # shellcheck disable=SC2086  # a list of words
    fresh_apt_get install --no-install-recommends --no-remove $missing ||
        fail "could not install: $missing (apt says why; nothing is removed to make room for them)"
    missing=$(missing_packages "$@" | tr '\n' ' ')
    [ -z "$missing" ] || fail "still not installed: $missing"
}
