# SPDX-License-Identifier: GPL-3.0-or-later
"""`make install` for real: as a package that is made elsewhere, once more, and taken back; on private machines."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import private_machine
from tests.support.daemons import private_home

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[2]
LIMIT_S = 240

# A package: made below a directory, copied to where it belongs, its directory then gone.
PACKAGE = """
make install DESTDIR=/run/package PREFIX=/usr/local INIT=sysv
grep -rlF /run/package /run/package --include='*' || echo "no trace of the build"
cp -a /run/package/. /
rm -rf /run/package
userdel defang || :
groupdel defang || :
useradd --system --user-group --no-create-home --shell /usr/sbin/nologin defang
chown defang:defang /var/spool/MIMEDefang /var/spool/MD-Quarantine /var/log/defang
/etc/init.d/defang check
/etc/init.d/defang start
/etc/init.d/defang status
/usr/local/bin/md-mx-ctrl status
head -n 1 /usr/local/share/man/man8/defang-mux.8
/etc/init.d/defang stop
"""
AGAIN = """
make install INIT=sysv EXTRAS=clamav
ln -s ../init.d/defang /etc/rc2.d/S01defang
find /etc /usr/local /var -xdev | sort >/run/first
echo "# the site's own" >>/etc/default/defang
/etc/init.d/defang start
make install INIT=sysv
echo "=== second time done"
find /etc /usr/local /var -xdev | sort | diff /run/first - && echo "nothing more"
/usr/local/lib/defang/bin/python -c 'import clamd' && echo "clamd is still there"
/etc/init.d/defang restart
make uninstall && echo "taken from under a running service"
/etc/init.d/defang stop
make uninstall
echo "=== left"
find /etc /usr/local /var -xdev \\( -name '*defang*' -o -name 'MD-*' -o -name MIMEDefang \\) -newer /run/began
"""
# What this machine has of MIMEDefang must not be taken for ours.
BARE = """
rm -rf /etc/default/defang* /etc/mail/defang-filter.py
touch /run/began
"""


def _run(script: str, wheels: Path) -> str:
    with private_home("machine-") as home:
        whole = BARE + script
        return private_machine.run(
            whole, home=home, environment=private_machine.environment(wheels), cwd=ROOT, limit_s=LIMIT_S
        )


def test_a_package_made_elsewhere_serves_where_it_is_unpacked(wheels: Path) -> None:
    text = _run(PACKAGE, wheels)
    assert "no trace of the build" in text
    assert text.count("runs as process") == 2
    assert ".TH DEFANG\\-MUX 8" in text
    assert "defang-milter stopped\ndefang-mux stopped\n" in text


def test_a_second_installation_leaves_the_sites_file_and_a_running_service_is_not_taken_away(wheels: Path) -> None:
    text = _run(AGAIN, wheels)
    second = text.partition("=== second time done")[2]
    assert "defang.new" not in text
    assert "nothing more" in second
    assert "clamd is still there" in second
    assert "next: /etc/init.d/defang restart" in text
    assert "taken from under a running service" not in second
    assert "stop the service first" in second
    assert "kept /etc/default/defang: the site has changed it" in second
    left = second.partition("=== left\n")[2].split()
    assert left == ["/etc/default/defang"]
