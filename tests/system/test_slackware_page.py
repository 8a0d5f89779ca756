# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands of docs/slackware.md, followed to the letter on a private machine with real Sendmail."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.support import private_machine
from tests.support.daemons import private_home

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[2]
SUPPORT = ROOT / "tests/support/slackware"
PAGE = (ROOT / "docs/slackware.md").read_text()
LIMIT_S = 240
MARK = "=== after"

# What the reader does without being told: look until the mail has come.
BEFORE = {"grep defang /var/log/maillog": "wait_for '[ \"$(grep -c ^X-Scanned-By: /var/mail/root)\" = 2 ]'"}
# And at the end, what the page promises beside its commands.
AT_LAST = r"""
echo "=== after processes"
for process in /proc/[0-9]*; do tr '\0' ' ' <"$process/cmdline"; echo; done | grep ^/usr/local/lib/defang || echo none
echo "=== after mailbox"
cat /var/mail/root
echo "=== after queue"
ls /var/spool/mqueue
cd "$TREE"
echo "=== after taking back"
make uninstall
echo "=== after uninstall"
find /etc /usr/local /var -newer /run/began \( -name '*defang*' -o -name 'MD-*' -o -name MIMEDefang \) -print
getent passwd defang || echo "no user"
exit 0
"""


def _blocks() -> list[str]:
    return re.findall(r"^```sh\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def said(wheels: Path) -> dict[str, str]:
    """What was printed after each command line that begins a block, and at the end."""
    script = [f". {SUPPORT}/prepare", "touch /run/began"]
    for block in _blocks():
        first = block.split("\n", 1)[0]
        script += [BEFORE.get(first, ":"), f"echo '{MARK} {first.replace(chr(39), '')}'", block]
    environment = {
        **private_machine.environment(wheels), "SUPPORT": str(SUPPORT), "TREE": str(ROOT),
        "PYTHON_FOR_TESTS": sys.executable, "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    with private_home("machine-") as home:
        text = private_machine.run(
            "\n".join([*script, AT_LAST]), home=home, environment=environment, cwd=ROOT, limit_s=LIMIT_S
        )
    parts = text.split(f"{MARK} ")[1:]
    return {part.partition("\n")[0]: part.partition("\n")[2] for part in parts}


def _after(said: dict[str, str], beginning: str) -> str:
    found = [text for first, text in said.items() if first.startswith(beginning)]
    assert len(found) >= 1, sorted(said)
    return found[0]


def test_the_page_has_commands() -> None:
    assert len(_blocks()) >= 12


def test_the_installation_says_what_it_makes(said: dict[str, str]) -> None:
    text = _after(said, "make install")
    for made in ("user defang made", "file /etc/rc.d/rc.defang", "file /etc/mail/defang-filter.py"):
        assert made in text


def test_sendmail_cf_has_the_filter(said: dict[str, str]) -> None:
    assert "Xdefang, S=unix:/var/spool/MIMEDefang/mimedefang.sock, F=T," in _after(said, "m4 sendmail.mc")


def test_the_filter_starts_before_sendmail(said: dict[str, str]) -> None:
    text = _after(said, "chmod +x /etc/rc.d/rc.sendmail")
    assert text.index("defang-milter started") < text.index("Starting sendmail")


def test_sockets_and_pid_files_are_those_of_the_page(said: dict[str, str]) -> None:
    listing = _after(said, "ls -l /var/spool/MIMEDefang")
    told = re.findall(r"^    ([-s][rwx-]{9}) 1 (\w+) +(\w+) +\d+ (\S+)$", PAGE, re.MULTILINE)
    seen = re.findall(r"^([-s][rwx-]{9}) 1 (\w+) +(\w+) +\d+ .* (\S+)$", listing, re.MULTILINE)
    assert len(told) == 6
    assert sorted(seen) == sorted(told)
    assert listing.count("runs as process") == 2


def test_both_messages_came_scanned_and_one_without_its_program(said: dict[str, str]) -> None:
    mailbox = said["mailbox"]
    assert mailbox.count("X-Scanned-By: Defang") == 2
    assert "Is it scanned?" in mailbox
    assert "Please run this." in mailbox
    assert 'filename="setup.exe"' not in mailbox
    assert said["queue"].strip() == ""


def test_the_log_names_the_messages_by_their_queue_ids(said: dict[str, str]) -> None:
    log = _after(said, "grep defang /var/log/maillog")
    ids = set(re.findall(r"\bwith ESMTP\s+id (\w+)", said["mailbox"]))
    assert len(ids) == 2
    for queue_id in ids:
        assert queue_id in log


def test_a_reload_and_a_restart_say_that_they_are_done(said: dict[str, str]) -> None:
    assert "Forced reread" in _after(said, "/etc/rc.d/rc.defang reload")
    assert "defang-milter started" in _after(said, "/etc/rc.d/rc.defang restart")


def test_after_the_stop_nothing_is_left(said: dict[str, str]) -> None:
    text = _after(said, "/etc/rc.d/rc.sendmail stop")
    assert "defang-mux stopped" in text
    assert text.rstrip().endswith("total 0")
    assert said["processes"].strip() == "none"


def test_after_the_uninstallation_nothing_is_left_but_what_was_typed(said: dict[str, str]) -> None:
    assert said["uninstall"].split("\n")[:1] == ["no user"]
