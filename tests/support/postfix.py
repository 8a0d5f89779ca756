# SPDX-License-Identifier: GPL-3.0-or-later
"""Real Postfix in a private directory, from its unpacked package: its own configuration, queue and data directories.

Its package conflicts with Sendmail's, so nothing of it is installed: `make system` unpacks it into .cache/postfix, or
DEFANG_POSTFIX_ROOT names where it lies. Only the users that it insists on are made. All mail goes to one port of
127.0.0.1, a sink's.
"""

from __future__ import annotations

import grp
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.daemons import USER, ensure_user
from tests.support.process import Program, ProgramError, free_port

ROOT = Path(os.environ.get("DEFANG_POSTFIX_ROOT", Path(__file__).parents[2] / ".cache" / "postfix"))
LIBRARIES = ROOT / "usr/lib/postfix"
COMMANDS = ROOT / "usr/sbin"
COMMAND_LIMIT_S = 60.0
OWNER = "postfix"
SUBMISSION_GROUP = "postdrop"

_MAIN_CF = """compatibility_level = 3.6
queue_directory = {home}/queue
data_directory = {home}/data
daemon_directory = {libraries}/sbin
command_directory = {commands}
shlib_directory = {libraries}
meta_directory = {root}/etc/postfix
# The master process clears the environment of its children; without this variable they would not find the libraries.
import_environment = LD_LIBRARY_PATH MAIL_CONFIG MAIL_LOGTAG POSTLOG_SERVICE POSTLOG_HOSTNAME LANG=C
maillog_file = {home}/postfix.log
maillog_file_prefixes = {home}
mail_owner = {owner}
setgid_group = {group}
myhostname = {hostname}
mydestination =
local_recipient_maps =
alias_maps =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_recipient_restrictions =
smtpd_peername_lookup = no
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
relayhost = [127.0.0.1]:{deliver_to_port}
smtp_host_lookup = native
disable_dns_lookups = yes
smtp_tls_security_level = none
smtpd_milters = {milter}
milter_default_action = tempfail
milter_content_timeout = {scan_limit_s}s
"""
_SERVICES = """127.0.0.1:{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""
_OWNERS_QUEUES = (
    "active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "private", "saved", "trace",
)  # fmt: skip


class Postfix:
    """One private Postfix below `home`, with one milter, which has failed if it is silent for `scan_limit_s`."""

    def __init__(self, home: Path, *, hostname: str, deliver_to_port: int, milter: str, scan_limit_s: int = 60) -> None:
        if not (LIBRARIES / "sbin/master").exists():
            raise ProgramError(f"no Postfix in {ROOT}; scripts/system_packages.sh unpacks it")
        self.home = home
        self.port = free_port()
        self.log = home / "postfix.log"
        libraries = [LIBRARIES, *ROOT.glob("usr/lib/*-linux-gnu*")]
        self._env = {"LD_LIBRARY_PATH": ":".join(map(str, libraries)), "MAIL_CONFIG": str(home / "config")}
        _ensure_users()
        self._make_directories()
        (home / "config/main.cf").write_text(
            _MAIN_CF.format(
                root=ROOT,
                libraries=LIBRARIES,
                commands=COMMANDS,
                home=home,
                owner=OWNER,
                group=SUBMISSION_GROUP,
                hostname=hostname,
                deliver_to_port=deliver_to_port,
                milter=milter,
                scan_limit_s=scan_limit_s,
            )
        )
        (home / "config/master.cf").write_text(_SERVICES.format(port=self.port))

    def _make_directories(self) -> None:
        """What `postfix check` would make, with the owners and modes of postfix-files."""
        queue = self.home / "queue"
        for directory in (self.home, self.home / "config", queue, queue / "pid"):
            directory.mkdir(mode=0o755)
        for name in _OWNERS_QUEUES:
            (queue / name).mkdir(mode=0o700)
            shutil.chown(queue / name, OWNER)
        for name, mode in (("maildrop", 0o730), ("public", 0o710)):
            (queue / name).mkdir()
            shutil.chown(queue / name, OWNER, SUBMISSION_GROUP)
            (queue / name).chmod(mode)
        (self.home / "data").mkdir(mode=0o700)
        shutil.chown(self.home / "data", OWNER)

    @contextmanager
    def listening(self) -> Iterator[Program]:
        """The master process, from accepting connections until it and its children have ended."""
        argv: list[str | Path] = [LIBRARIES / "sbin/master", "-c", self.home / "config", "-d"]
        master = Program("postfix", argv, log=self.home / "master.log", env=self._env)
        try:
            master.wait_ready(f"inet:{self.port}@127.0.0.1")
            yield master
        finally:
            master.stop()

    def command(self, name: str, *arguments: str) -> str:
        """Run one of Postfix's commands with this configuration; its output. ProgramError if it failed."""
        argv: list[str | Path] = [COMMANDS / name, "-c", self.home / "config", *arguments]
        done = subprocess.run(
            argv, env={**os.environ, **self._env}, capture_output=True, timeout=COMMAND_LIMIT_S, check=False
        )
        if done.returncode:
            raise ProgramError(f"{argv}: status {done.returncode}\n{done.stdout!r}\n{done.stderr!r}")
        return done.stdout.decode()

    def held(self) -> str:
        """What `postqueue -p` prints of mail on hold, which it marks by a `!` behind the queue ID."""
        entries = self.command("postqueue", "-p").split("\n\n")
        return "\n\n".join(entry for entry in entries if re.search(r"^\w+!", entry, re.MULTILINE))

    def release(self) -> None:
        """Take all mail off hold and deliver it."""
        self.command("postsuper", "-H", "ALL", "hold")
        self.command("postqueue", "-f")


def _ensure_users() -> None:
    """Postfix's two system users' names. Its owner joins the daemons' group, to reach a milter socket made with -G."""
    ensure_user(OWNER)
    ensure_user(USER)
    try:
        grp.getgrnam(SUBMISSION_GROUP)
    except KeyError:
        subprocess.run(["groupadd", "--system", SUBMISSION_GROUP], check=True)
    if OWNER not in grp.getgrnam(USER).gr_mem:
        subprocess.run(["usermod", "--append", "--groups", USER, OWNER], check=True)
