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

apt() {
    log=$(mktemp)
    if ! as_root env DEBIAN_FRONTEND=noninteractive apt-get --quiet --assume-yes \
        -o DPkg::Lock::Timeout=120 "$@" >"$log" 2>&1 </dev/null; then
        tail -n 40 "$log" >&2
        rm -f "$log"
        return 1
    fi
    rm -f "$log"
}

# need_packages REASON PACKAGE...: install what is missing, and say so in one line.
# A machine's package lists may be absent or too old to fetch from, so the first failure is answered by an update.
need_packages() {
    reason=$1
    shift
    command -v dpkg-query >/dev/null || fail "this is not a Debian system: install these yourself: $*"
    missing=$(missing_packages "$@" | tr '\n' ' ')
    missing=${missing% }
    [ -z "$missing" ] && return
    echo "defang: installing Debian packages for $reason: $missing"
    # shellcheck disable=SC2086  # a list of words
    apt install --no-install-recommends $missing 2>/dev/null || {
        apt update || fail "apt-get update failed"
        apt install --no-install-recommends $missing || fail "could not install: $missing"
    }
    missing=$(missing_packages "$@" | tr '\n' ' ')
    [ -z "$missing" ] || fail "still not installed: $missing"
}
