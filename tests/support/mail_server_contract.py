# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to come out right behind every mail server: the tests that Sendmail's and Postfix's have in common.

A test module subclasses MailServerContract and gives a fixture `site`. The filter is filters/verdicts.py.
"""

from __future__ import annotations

import email
import os
import re
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.mail_samples import PICTURE, PROGRAM, TEXT, plain, with_attachments, without_added
from tests.support.mail_site import SCAN_LIMIT_S, Site
from tests.support.process import wait_until
from tests.support.smtp_client import SmtpSession, submit

TEMPORARY = re.compile(r"^4\d\d[ -]", re.MULTILINE)
# How a line of the milter's log begins once the MTA has told its queue ID.
WITH_ID = r"(?!NOQUEUE)\w{6,}: "
NO_ROOM = WITH_ID + ".*No space left on device"
SENT = re.compile(r"^250 2\.0\.0 ", re.MULTILINE)


def delivered(site: Site, name: str, content: bytes) -> bytes:
    """Send to NAME@example.net, which must be accepted; the content as the sink got it."""
    reply = submit(site.receiver.port, content, recipients=[f"{name}@example.net"])
    assert (reply.command, reply.code) == ("content", 250), (reply, site.daemons.logs()[-2000:])
    return site.sink.wait_for(f"{name}@example.net".encode()).content


def nothing_came(site: Site, name: str) -> bool:
    """Whether the sink has no mail for NAME, even once a later message has arrived."""
    delivered(site, f"{name}-later", plain(f"{name}-later", "behind another"))
    return not site.sink.received(f"{name}@example.net".encode())


def enqueue(site: Site, name: str, content: bytes) -> None:
    site.sender.enqueue(content, sender="sender@example.com", recipient=f"{name}@example.net")


def delivered_by_retry(site: Site, name: str) -> bool:
    """Whether the sender's next try delivers the message, once, and leaves nothing behind anywhere."""
    replies = site.attempt()
    assert SENT.search(replies), (replies, site.daemons.logs()[-2000:])
    site.sink.wait_for(f"{name}@example.net".encode())
    wait_until(lambda: not site.daemons.work_dirs(), "working directories left in the spool")
    return len(site.sink.received(f"{name}@example.net".encode())) == 1 and "queue is empty" in site.sender.queue()


def refused_for_now(site: Site, name: str, cause: str | None = None) -> bool:
    """Whether the sender's try got a temporary failure and keeps the message, and nothing was delivered.

    If a `cause` is given, a new line of the milter's log must begin with that regular expression.
    """
    before = site.milter_log()
    replies = site.attempt()
    logged = site.milter_log().removeprefix(before)
    assert TEMPORARY.search(replies), (replies, logged)
    assert not re.search(r"^5", replies, re.MULTILINE), replies
    assert cause is None or re.search(rf"milter\[\d+\]: {cause}", logged), (cause, logged)
    return f"{name}@example.net" in site.sender.queue() and not site.sink.received(f"{name}@example.net".encode())


class MailServerContract:
    """End to end: sending Sendmail or SMTP client, the server under test with our milter, the sink."""

    @pytest.fixture(autouse=True)
    def _repaired(self, site: Site) -> None:
        """Every test begins with all daemons running, whatever became of the one before."""
        site.daemons.repair()
        site.sender.empty_queue()

    def test_clean_mail_is_delivered_byte_for_byte_but_for_added_headers(self, site: Site) -> None:
        content = plain("clean", "a clean message")
        assert without_added(delivered(site, "clean", content), b"X-Scanned-By") == content

    def test_a_clean_multipart_message_keeps_every_byte(self, site: Site) -> None:
        content = with_attachments("clean-parts", "clean parts").replace(b"setup.exe", b"setup.txt")
        assert without_added(delivered(site, "clean-parts", content), b"X-Scanned-By") == content

    def test_a_long_body_keeps_every_byte_over_many_packets(self, site: Site) -> None:
        content = plain("long", "a long message", body=TEXT * 12000)
        assert without_added(delivered(site, "long", content), b"X-Scanned-By") == content

    def test_a_blocked_attachment_is_gone_and_the_rest_is_intact(self, site: Site) -> None:
        content = delivered(site, "blocked", with_attachments("blocked", "two attachments"))
        assert PROGRAM not in content
        assert PROGRAM[:60] not in content
        assert PICTURE in content
        assert TEXT in content
        assert b"\r\nThe end.\r\n" in content
        names = [part.get_filename() for part in email.message_from_bytes(content).walk()]
        assert "picture.png" in names
        assert "setup.exe" not in names
        assert b"setup.exe was removed" in content

    def test_a_header_of_the_filter_is_added_and_nothing_else_changes(self, site: Site) -> None:
        content = plain("marked", "please mark this")
        marked = delivered(site, "marked", content)
        assert b"\r\nX-Queue-ID: " in marked
        assert without_added(marked, b"X-Queue-ID", b"X-Scanned-By") == content

    def test_all_fields_of_a_name_can_be_deleted_and_no_other_goes(self, site: Site) -> None:
        many = [f"X-Many: {number}" for number in range(4)]
        content = plain("stripped", "strip these", more=[*many, "X-One: 1", "x-many: 4", "X-Last: 2"])
        expected = plain("stripped", "strip these", more=["X-One: 1", "X-Last: 2"])
        assert without_added(delivered(site, "stripped", content), b"X-Scanned-By") == expected

    def test_of_several_content_types_only_the_first_stays(self, site: Site) -> None:
        surplus = ["Content-Type: text/html", "X-One: 1", "content-type: image/png", "Content-Type: text/plain"]
        content = plain("types", "many types", more=surplus)
        expected = plain("types", "many types", more=["X-One: 1"])
        assert without_added(delivered(site, "types", content), b"X-Scanned-By") == expected

    def test_the_filter_sees_the_queue_id_that_the_client_is_told(self, site: Site) -> None:
        with SmtpSession(site.receiver.port) as session:
            for name in ("first-of-session", "second-of-session", "third-of-session"):
                reply = session.send(plain(name, "please mark this"), recipients=[f"{name}@example.net"])
                content = site.sink.wait_for(f"{name}@example.net".encode()).content
                seen = re.search(rb"^X-Queue-ID: (\w+)\r$", content, re.MULTILINE)
                assert seen
                assert seen[1] in reply.text.split()

    def test_reject_gives_the_filter_s_own_permanent_reply(self, site: Site) -> None:
        reply = submit(site.receiver.port, plain("reject", "reject this"), recipients=["reject@example.net"])
        assert (reply.command, reply.code, reply.text) == ("content", 554, b"5.7.9 no thank you, 50% sure")
        assert nothing_came(site, "reject")

    def test_tempfail_gives_the_filter_s_own_temporary_reply(self, site: Site) -> None:
        reply = submit(site.receiver.port, plain("tempfail", "tempfail this"), recipients=["tempfail@example.net"])
        assert (reply.command, reply.code, reply.text) == ("content", 450, b"4.7.9 come back later")
        assert nothing_came(site, "tempfail")

    def test_discard_is_accepted_and_delivered_to_nobody(self, site: Site) -> None:
        reply = submit(site.receiver.port, plain("discard", "discard this"), recipients=["discard@example.net"])
        assert (reply.command, reply.code) == ("content", 250)
        assert nothing_came(site, "discard")

    def test_quarantined_mail_is_held_until_it_is_released(self, site: Site) -> None:
        content = plain("held", "quarantine this")
        reply = submit(site.receiver.port, content, recipients=["held@example.net"])
        assert (reply.command, reply.code) == ("content", 250)
        listing = site.receiver.held()
        assert "held@example.net" in listing
        assert any(word in listing for word in re.findall(r"\b(?=\w*\d)\w{6,}\b", reply.text.decode()))
        assert nothing_came(site, "held")
        site.receiver.release()
        released = site.sink.wait_for(b"held@example.net").content
        assert without_added(released, b"X-Scanned-By") == content
        assert "held@example.net" not in site.receiver.held()

    def test_a_worker_killed_during_a_scan_costs_one_retry(self, site: Site) -> None:
        self._fails_while_held(
            site, "worker-killed", WITH_ID + ".*No response from worker", lambda worker: os.kill(worker, signal.SIGKILL)
        )
        assert delivered_by_retry(site, "worker-killed")

    def test_a_killed_multiplexor_costs_retries_until_it_is_back(self, site: Site) -> None:
        mux = site.daemons.mux
        assert mux
        self._fails_while_held(site, "mux-killed", WITH_ID + "eom: scan: no answer", lambda _worker: mux.kill())
        wait_until(lambda: not mux.alive(), "the workers of the killed multiplexor live on")
        assert refused_for_now(site, "mux-killed", "NOQUEUE: connect: .*refused")
        site.daemons.repair()
        assert delivered_by_retry(site, "mux-killed")

    def test_a_killed_milter_costs_retries_until_it_is_back(self, site: Site) -> None:
        assert site.daemons.milter
        site.daemons.milter.kill()
        enqueue(site, "milter-killed", plain("milter-killed", "nobody listens"))
        assert refused_for_now(site, "milter-killed")
        site.daemons.repair()
        assert delivered_by_retry(site, "milter-killed")

    def test_signs_of_life_keep_the_server_waiting_for_a_long_scan(self, site: Site) -> None:
        held = site.hold_file("long-scan")
        content = plain("long-scan", "wait here", more=[f"X-Hold: {held}"])
        with ThreadPoolExecutor(max_workers=1) as pool:
            reply = pool.submit(submit, site.receiver.port, content, recipients=["long-scan@example.net"])
            try:
                site.waiting_worker(held)
                time.sleep(SCAN_LIMIT_S + 2)
            finally:
                held.unlink()
            assert reply.result().code == 250
        site.sink.wait_for(b"long-scan@example.net")

    def test_a_full_spool_costs_one_retry(self, site: Site) -> None:
        enqueue(site, "spool-full", plain("spool-full", "no room at all"))
        with site.full_spool():
            assert refused_for_now(site, "spool-full", NO_ROOM)
        assert delivered_by_retry(site, "spool-full")

    def test_a_spool_that_fills_up_while_the_body_comes_costs_one_retry(self, site: Site) -> None:
        enqueue(site, "body-full", plain("body-full", "no room for the body", body=TEXT * 6000))
        with site.full_spool(but_bytes=128 * 1024):
            assert refused_for_now(site, "body-full", NO_ROOM)
        assert delivered_by_retry(site, "body-full")

    def test_a_spool_that_fills_up_while_the_worker_writes_costs_one_retry(self, site: Site) -> None:
        content = with_attachments("work-full", "room for the message alone").replace(TEXT, TEXT * 4000, 1)
        enqueue(site, "work-full", content)
        with site.full_spool(but_bytes=len(content) + 64 * 1024):
            assert refused_for_now(site, "work-full", NO_ROOM)
        assert delivered_by_retry(site, "work-full")

    def test_results_without_their_end_cost_one_retry(self, site: Site) -> None:
        mux = site.daemons.mux
        assert mux
        mux.stop()
        site.daemons.start_mux(worker=site.unfinished_worker())
        enqueue(site, "no-end", plain("no-end", "results without an end"))
        assert refused_for_now(site, "no-end", WITH_ID + ".*RESULTS has no closing F")
        site.daemons.repair()
        assert delivered_by_retry(site, "no-end")
        assert b"X-Half" not in site.sink.wait_for(b"no-end@example.net").content

    def _fails_while_held(self, site: Site, name: str, cause: str, kill: Callable[[int], object]) -> None:
        """Let a scan wait, kill something under it, and see the sender refused for now."""
        held = site.hold_file(name)
        enqueue(site, name, plain(name, "wait here", more=[f"X-Hold: {held}"]))
        with ThreadPoolExecutor(max_workers=1) as pool:
            attempt = pool.submit(refused_for_now, site, name, cause)
            try:
                kill(site.waiting_worker(held))
            finally:
                held.unlink()
            assert attempt.result()
