# SPDX-License-Identifier: GPL-3.0-or-later
"""Real Sendmail in a private directory: own sendmail.cf made by m4, own queue, a port of loopback.

`Sendmail` is one configuration. It can listen (with or without a milter), take mail on its command line, run its queue
once, and list it. All mail goes to one port of 127.0.0.1, another MTA's or a sink's.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.process import Program, ProgramError, free_port

SENDMAIL = "/usr/sbin/sendmail"
CF_DIR = Path("/usr/share/sendmail/cf")
COMMAND_LIMIT_S = 90.0
OVERALL_SCAN_LIMIT_S = 60
# Sendmail sleeps a minute at every start on a machine whose host name has no dot (myhostname in its conf.c).
WITH_HOST_NAME = ("unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"')
# The milter must have its time limits shorter than the tests have theirs; E is the one for the whole scan.
MILTER_FLAGS = "F=T, T=C:20s;S:20s;R:20s;E:60s"

_MC = """divert(-1)
divert(0)dnl
include(`{cf}/m4/cf.m4')dnl
VERSIONID(`private configuration of a test')dnl
OSTYPE(`linux')dnl
define(`confDOMAIN_NAME', `{hostname}')dnl
define(`confDONT_PROBE_INTERFACES', `True')dnl
define(`confTO_IDENT', `0s')dnl
define(`confPID_FILE', `{home}/sendmail.pid')dnl
define(`ALIAS_FILE', `{home}/aliases')dnl
define(`HELP_FILE', `{home}/helpfile')dnl
define(`STATUS_FILE', `{home}/statistics')dnl
define(`confCW_FILE', `-o {home}/local-host-names')dnl
define(`confCR_FILE', `-o {home}/relay-domains')dnl
define(`QUEUE_DIR', `{home}/queue')dnl
define(`confDEAD_LETTER_DROP', `{home}/dead.letter')dnl
define(`confDELIVERY_MODE', `{delivery_mode}')dnl
define(`confMIN_QUEUE_AGE', `0')dnl
define(`confLOG_LEVEL', `14')dnl
define(`confDOUBLE_BOUNCE_ADDRESS', `')dnl
define(`confREFUSE_LA', `1000')dnl
define(`confQUEUE_LA', `1000')dnl
define(`confDELAY_LA', `1000')dnl
define(`SMART_HOST', `esmtp:[127.0.0.1]')dnl
define(`ESMTP_MAILER_ARGS', `TCP $h {deliver_to_port}')dnl
FEATURE(`no_default_msa')dnl
FEATURE(`accept_unresolvable_domains')dnl
FEATURE(`accept_unqualified_senders')dnl
FEATURE(`nocanonify')dnl
DAEMON_OPTIONS(`Name=MTA, Family=inet, Addr=127.0.0.1, Port={port}')dnl
{milter}MAILER(`smtp')dnl
"""


class Sendmail:
    """One private Sendmail below `home`, which must lie where only root can write.

    A milter that is silent for `scan_limit_s` at the end of a message counts as failed. `more` is further m4 of the
    configuration, in which {home} and {port} are filled in.
    """

    def __init__(
        self,
        home: Path,
        *,
        hostname: str,
        deliver_to_port: int,
        milter: str | None = None,
        scan_limit_s: int = 60,
        queue_only: bool = False,
        more: str = "",
    ) -> None:
        self.home = home
        self._argv = [*WITH_HOST_NAME, hostname, SENDMAIL, f"-C{home}/sendmail.cf"]
        self.port = free_port()
        self.log = home / "sendmail.log"
        (home / "queue").mkdir(parents=True, mode=0o700)
        (home / "aliases").write_text("postmaster: root\n")
        # R is the longest silence, also during a scan; E is the time for the whole scan, signs of life or not.
        flags = f"F=T, T=C:20s;S:20s;R:{scan_limit_s}s;E:{OVERALL_SCAN_LIMIT_S}s"
        clause = f"INPUT_MAIL_FILTER(`defang', `S={milter}, {flags}')dnl\n" if milter else ""
        source = _MC.format(
            cf=CF_DIR,
            home=home,
            hostname=hostname,
            port=self.port,
            deliver_to_port=deliver_to_port,
            delivery_mode="queueonly" if queue_only else "background",
            milter=clause + more.format(home=home, port=self.port),
        )
        (home / "sendmail.mc").write_text(source)
        made = subprocess.run(
            ["m4", "-D", f"_CF_DIR_={CF_DIR}/", home / "sendmail.mc"], capture_output=True, check=False
        )
        if made.returncode or made.stderr:
            raise ProgramError(f"m4 on {home}/sendmail.mc: {made.stderr.decode()}")
        (home / "sendmail.cf").write_bytes(made.stdout)
        self.command("-bi")

    def command(self, *arguments: str, content: bytes = b"") -> str:
        """Run sendmail with this configuration, in the foreground; its output. ProgramError if it failed."""
        argv = [*self._argv, *arguments]
        with self.log.open("ab") as log:
            done = subprocess.run(
                argv, input=content, stdout=subprocess.PIPE, stderr=log, timeout=COMMAND_LIMIT_S, check=False
            )
        if done.returncode:
            raise ProgramError(f"{argv}: status {done.returncode}\n{done.stdout!r}\n{self.log.read_text()[-2000:]}")
        return done.stdout.decode()

    @contextmanager
    def listening(self) -> Iterator[Program]:
        """The daemon, from accepting connections until it has ended."""
        daemon = Program("sendmail", [*self._argv, "-bD"], log=self.log)
        try:
            daemon.wait_ready(f"inet:{self.port}@127.0.0.1")
            yield daemon
        finally:
            daemon.stop()

    def enqueue(self, content: bytes, *, sender: str, recipient: str) -> None:
        """Take a message (lines end with CR LF) into the queue, as a mail program hands it over."""
        self.command("-odq", "-oi", "-f", sender, "--", recipient, content=content.replace(b"\r\n", b"\n"))

    def run_queue(self) -> str:
        """Try everything in the queue once; the SMTP dialogs."""
        return self.command("-v", "-qf")

    def queue(self) -> str:
        """What mailq prints."""
        return self.command("-bp")

    def empty_queue(self) -> None:
        """Forget all mail in the queue."""
        for file in (self.home / "queue").iterdir():
            file.unlink()

    def held(self) -> str:
        """What `mailq -qQ` prints: the quarantine queue."""
        return self.command("-bp", "-qQ")

    def release(self) -> None:
        """Take all mail out of quarantine and deliver it."""
        self.command("-qQ", "-Q")
        self.run_queue()
