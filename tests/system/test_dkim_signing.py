# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/filters/dkim_sign.py behind real mail servers: the signature is valid for what arrives at the next one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import dkim
import pytest

from tests.examples.test_what_examples_do import KEY_FILE, public_record
from tests.support.daemons import USER, Chain, private_home
from tests.support.mail_site import MILTER_OPTIONS, SCAN_LIMIT_S, Site, mail_site
from tests.support.postfix import Postfix
from tests.support.sendmail import Sendmail
from tests.support.smtp_client import submit

pytestmark = pytest.mark.system

EXAMPLE = Path(__file__).parents[2] / "docs" / "filters" / "dkim_sign.py"
# The example's class comes last in its file. Behind it, what else a filter may do to a message that it signs.
MORE = """
    def filter_part(self, message, part):
        if part.matches("iso$"):
            part.drop(warning="The disk image was removed.")

    def filter_end(self, message):
        message.headers.add("X-Added", "yes")
        message.headers.replace("Subject", message.subject + " [checked]")
"""
HEADER = (
    b"From: Alice <alice@example.org>\r\nTo: bob@example.net\r\nSubject: a letter\r\n"
    b"Date: Mon, 05 Jan 2026 10:00:00 +0000\r\nMessage-ID: <%b@example.org>\r\n"
    b"X-Mailer: something\r\nMIME-Version: 1.0\r\n"
)
BODIES = {
    "plain": b"Content-Type: text/plain\r\n\r\nHello\r\n",
    "folded": (
        b"Comments:  two\r\n\tlines \r\nContent-Type: text/plain;\r\n charset=us-ascii\r\n\r\nHello  \r\n\r\n\r\n"
    ),
    "dots": b"Content-Type: text/plain\r\n\r\n.\x20\r\nFrom here\r\n.. two\r\n",
    "empty": b"\r\n",
    "changed": (
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nHello\r\n--b\r\n"
        b"Content-Disposition: attachment; filename=a.iso\r\n\r\nimage\r\n--b--\r\n"
    ),
    "changed to one part": b"Content-Type: application/octet-stream; name=a.iso\r\n\r\nimage\r\n",
}


def make_postfix(home: Path, sink_port: int, milter: str) -> Postfix:
    return Postfix(home, hostname="mx.example.org", deliver_to_port=sink_port, milter=milter, scan_limit_s=SCAN_LIMIT_S)


def make_sendmail(home: Path, sink_port: int, milter: str) -> Sendmail:
    return Sendmail(
        home, hostname="mx.example.org", deliver_to_port=sink_port, milter=milter, scan_limit_s=SCAN_LIMIT_S
    )


@pytest.fixture(scope="module", params=[make_sendmail, make_postfix], ids=["Sendmail", "Postfix"])
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    with private_home("dkim-") as home:
        key = home / "dkim.key"
        shutil.copy(KEY_FILE, key)
        key.chmod(0o400)
        shutil.chown(key, USER, USER)
        source = EXAMPLE.read_text()
        assert '"/etc/mail/dkim.key"' in source
        (home / "signing.py").write_text(source.replace('"/etc/mail/dkim.key"', f'"{key}"', 2) + MORE)
        with mail_site(request.param, Chain(filter=home / "signing.py", milter_options=MILTER_OPTIONS)) as running:
            yield running


@pytest.mark.parametrize("name", BODIES)
def test_signature_is_valid_where_the_mail_arrives(site: Site, name: str) -> None:
    word = name.replace(" ", "-")
    content = HEADER % word.encode() + BODIES[name]
    recipient = f"{word}@example.net"
    reply = submit(site.receiver.port, content, sender="alice@example.org", recipients=[recipient])
    assert (reply.command, reply.code) == ("content", 250), (reply, site.daemons.logs()[-2000:])
    arrived = site.sink.wait_for(recipient.encode()).content
    assert b"\r\nX-Added: yes\r\n" in arrived
    assert b"[checked]" in arrived
    assert b"X-Mailer" not in arrived
    assert b"a.iso" not in arrived
    record = public_record()
    assert dkim.verify(arrived, dnsfunc=lambda *_, **__: record)
    assert not dkim.verify(arrived.replace(b"[checked]", b"[changed]"), dnsfunc=lambda *_, **__: record)
