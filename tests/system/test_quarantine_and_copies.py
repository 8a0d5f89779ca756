# SPDX-License-Identifier: GPL-3.0-or-later
"""What a filter keeps and sends, with real Sendmail: copies come back through the milter, as does what is released."""

from __future__ import annotations

import email
import email.policy
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.daemons import OUR_PROGRAMS, Chain, make_spool
from tests.support.mail_site import MILTER_OPTIONS, SCAN_LIMIT_S, Site, mail_site
from tests.support.process import wait_until
from tests.support.sendmail import Sendmail
from tests.support.smtp_client import submit

FILTER = Path(__file__).parents[1] / "support/filters/keeping.py"
LIMIT_S = 60
# A scan that hands over a copy waits for the worker that filters the copy.
WORKERS = ("-x", "4", "-l")

pytestmark = pytest.mark.system


def receiver(home: Path, sink_port: int, milter: str) -> Sendmail:
    return Sendmail(
        home, hostname="mx.example.org", deliver_to_port=sink_port, milter=milter, scan_limit_s=SCAN_LIMIT_S
    )


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    chain = Chain(filter=FILTER, milter_options=MILTER_OPTIONS, mux_options=WORKERS)
    with mail_site(receiver, chain) as running:
        (running.home / "submit_to").write_text(f"127.0.0.1:{running.receiver.port}")
        make_spool(running.home / "quarantine")
        # The filter reads the target when it is loaded.
        assert running.daemons.mux
        running.daemons.mux.stop()
        running.daemons.start_mux()
        yield running


def message(subject: str) -> bytes:
    return (
        f"From: Alice <alice@example.com>\r\nTo: all@example.net\r\nSubject: {subject}\r\n"
        "Date: Mon, 05 Jan 2026 10:00:00 +0000\r\nAuthentication-Results: mx.example.org; spf=pass\r\n"
        f"Message-ID: <{subject.replace(' ', '.')}@example.com>\r\nMIME-Version: 1.0\r\n"
        "Content-Type: multipart/mixed; boundary=b\r\n\r\n"
        "--b\r\nContent-Type: text/plain\r\n\r\nHello\r\n"
        "--b\r\nContent-Type: application/octet-stream; name=tool.iso\r\n"
        "Content-Transfer-Encoding: base64\r\n\r\nAAEC\r\n--b--\r\n"
    ).encode()


def quarantine(site: Site, *words: str) -> str:
    argv: list[str | Path] = [OUR_PROGRAMS / "defang-worker", "-f", site.home / "filter.py", "quarantine", *words]
    done = subprocess.run(argv, capture_output=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()


def kept(site: Site, subject: str) -> list[dict[str, object]]:
    listed = [json.loads(line) for line in quarantine(site, "list", "--json").splitlines()]
    return [one for one in listed if one["subject"] == subject]


def test_each_domain_gets_its_own_copy_once_filtered_and_without_the_mark(site: Site) -> None:
    to = ["one@a.example.net", "two@A.example.net", "three@b.example.net"]
    submit(site.receiver.port, message("two domains"), sender="alice@example.com", recipients=to)
    for address in to:
        site.sink.wait_for(address.encode())
    notice = site.sink.wait_for(b"alice@example.com")
    wait_until(lambda: len(site.sink.received(b"admin@example.net")) == 2, "both reports", LIMIT_S)

    first, second, third = (site.sink.received(address.encode()) for address in to)
    assert [len(each) for each in (first, second, third)] == [1, 1, 1]
    assert first[0] == second[0] != third[0]
    for delivery in (first[0], third[0]):
        assert delivery.sender == b"<alice@example.com>"
        assert b"X-Defang-Resent" not in delivery.content
        assert b"X-Filtered: directly" not in delivery.content
        assert b"\r\nX-Filtered: " in delivery.content
        assert b"spf=pass" in delivery.content
        assert b"A disk image is kept." in delivery.content
        assert b"AAEC" not in delivery.content
    assert len(kept(site, "two domains")) == 2

    told = email.message_from_bytes(notice.content, policy=email.policy.default)
    assert notice.sender == b"<>"
    assert told["Auto-Submitted"] == "auto-replied"
    assert told["Subject"] == "Behalten"
    assert told["In-Reply-To"] == "<two.domains@example.com>"
    assert "größer" in told.get_content()


def test_what_is_released_passes_the_filter_and_is_delivered_once(site: Site) -> None:
    submit(site.receiver.port, message("keep all"), sender="alice@example.com", recipients=["four@c.example.net"])
    wait_until(lambda: bool(kept(site, "keep all")), "the message in quarantine", LIMIT_S)
    name = str(kept(site, "keep all")[0]["name"])
    assert site.sink.received(b"four@c.example.net") == []

    assert "would be released" in quarantine(site, "release", "--dry-run", name)
    assert "released from <alice@example.com> to four@c.example.net" in quarantine(site, "release", name)
    delivery = site.sink.wait_for(b"four@c.example.net")
    assert delivery.sender == b"<alice@example.com>"
    header, _, body = delivery.content.partition(b"\r\n\r\n")
    assert body == message("keep all").partition(b"\r\n\r\n")[2]
    assert b"X-Defang-Resent" not in header
    assert b"X-Filtered" not in header
    assert b"spf=pass" in header

    quarantine(site, "release", name)
    quarantine(site, "release", "--again", "--to", "five@c.example.net", name)
    site.sink.wait_for(b"five@c.example.net")
    assert len(site.sink.received(b"four@c.example.net")) == 1


def test_a_released_attachment_goes_in_a_mail_of_the_administrators(site: Site) -> None:
    submit(site.receiver.port, message("keep all too"), sender="alice@example.com", recipients=["six@c.example.net"])
    wait_until(lambda: bool(kept(site, "keep all too")), "the message in quarantine", LIMIT_S)
    name = str(kept(site, "keep all too")[0]["name"])
    quarantine(site, "release", "--attach", name)
    delivery = site.sink.wait_for(b"six@c.example.net")
    mail = email.message_from_bytes(delivery.content, policy=email.policy.default)
    assert mail["From"] == "Mail filter <filter@example.net>"
    (attached,) = mail.iter_attachments()
    assert attached.get_content()["Subject"] == "keep all too"
    assert "deleted" in quarantine(site, "delete", name)
    assert kept(site, "keep all too") == []
