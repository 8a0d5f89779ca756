#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Install what the system tests and the benchmark run against: Sendmail, MIMEDefang, the daemons of ClamAV, SpamAssassin
# and rspamd, and Postfix, which is unpacked into .cache/postfix because its package conflicts with Sendmail's. No service
# is started.
set -eu
cd "$(dirname "$0")/.."
. scripts/apt.sh
umask 022

policy=/usr/sbin/policy-rc.d
made_policy=

remove_policy() {
    [ -z "$made_policy" ] || as_root rm -f "$policy"
}
trap remove_policy EXIT
trap 'exit 1' INT TERM HUP

# Debian's package scripts start services unless this file says 101, "action forbidden by policy".
# One that is there already is the administrator's, and stays.
# Of systemd only the checker of units is used, and Tcl is what MIMEDefang's monitors are written in. mimedefang.pl of
# 3.3 cannot be loaded without Net::DNS, which its package merely recommends, and looks into zips with Archive::Zip.
packages="sendmail-bin sendmail-base sendmail-cf m4 mimedefang libnet-dns-perl libarchive-zip-perl libmail-dkim-perl \
libmail-authenticationresults-perl clamav-daemon \
clamdscan clamav spamassassin spamd rspamd tcl systemd iproute2 faketime"
# shellcheck disable=SC2086  # a list of words
if [ -n "$(missing_packages $packages)" ]; then
    if [ ! -e "$policy" ]; then
        made_policy=yes
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
        as_root chmod 755 "$policy"
    fi
    need_packages "the system tests (no service is started)" $packages
fi
for program in /usr/sbin/sendmail /usr/bin/m4 /usr/bin/mimedefang /usr/bin/mimedefang-multiplexor \
    /usr/bin/mimedefang.pl /usr/bin/md-mx-ctrl /usr/sbin/clamd /usr/sbin/spamd /usr/bin/rspamd \
    /usr/bin/systemd-analyze; do
    [ -x "$program" ] || fail "$program is missing, although its package is installed"
done

# The packages that a Postfix from here would need: itself, and the libraries that are not on the system.
postfix_packages() {
    apt-get --simulate --no-install-recommends install postfix 2>/dev/null </dev/null |
        awk '$1 == "Inst" && ($2 == "postfix" || $2 ~ /^lib/) { print $2 }'
}

unpack_postfix() {
    echo "defang: unpacking Debian's Postfix into .cache/postfix for the system tests (nothing is installed)"
    rm -rf .cache/postfix .cache/postfix.new
    mkdir -p .cache/postfix.new
    wanted=$(postfix_packages)
    if [ -z "$wanted" ]; then
        apt_get update || fail "apt-get update failed"
        wanted=$(postfix_packages)
    fi
    [ -n "$wanted" ] || fail "apt does not offer a package named postfix"
    for package in $wanted; do
        (cd .cache/postfix.new && { apt-get -qq download "$package" 2>/dev/null ||
            { apt_get update && apt-get -qq download "$package"; }; }) || fail "could not download $package"
    done
    for archive in .cache/postfix.new/*.deb; do
        dpkg-deb --extract "$archive" .cache/postfix.new
        rm "$archive"
    done
    mv .cache/postfix.new .cache/postfix
}

[ -x .cache/postfix/usr/sbin/postfix ] || unpack_postfix
[ -x .cache/postfix/usr/lib/postfix/sbin/master ] || fail ".cache/postfix holds no usr/lib/postfix/sbin/master"
scripts/daemon_user.sh
