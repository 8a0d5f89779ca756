# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks: what a callback returns or raises, as the line that answers the request; what it wants done, in RESULTS."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from defang_worker.api import filter_file
from tests.worker.conftest import LoadFilter, make_worker

RELAY = b"relayok 192.0.2.7 client.example.com 45678 192.0.2.1 25 NOQUEUE"
HELO = b"helook 192.0.2.7 client.example.com %s 45678 192.0.2.1 25 NOQUEUE"
TEMPFAIL = b"ok -1 Please%20try%20again%20later 451 4.3.0 0\n"
CONTINUE = b"ok 1 ok 250 2.1.0 0\n"


def sender_request(workdir: Path, sender: bytes = b"<alice@example.com>") -> bytes:
    return b"senderok %s 192.0.2.7 client.example.com helo.example.com %s Q1 SIZE=100" % (sender, os.fsencode(workdir))


def recipient_request(workdir: Path, recipient: bytes = b"<carol@example.org>") -> bytes:
    return (
        b"recipok %s <alice@example.com> 192.0.2.7 client.example.com <bob@example.org> helo.example.com %s Q1"
        b" local ? c NOTIFY=NEVER" % (recipient, os.fsencode(workdir))
    )


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("None", CONTINUE),
        ("Response.ok()", CONTINUE),
        ("Response.ok(delay_s=3)", b"ok 1 ok 250 2.1.0 3\n"),
        ("Response.accept_all()", b"ok 2 ok 250 2.1.0 0\n"),
        ("Response.reject()", b"ok 0 Forbidden%20for%20policy%20reasons 554 5.7.1 0\n"),
        ('Response.reject("no 50%", code=550, dsn="5.1.1", delay_s=2)', b"ok 0 no%2050%25 550 5.1.1 2\n"),
        ('Response.reject("no", code=450, dsn="4.1.1")', b"ok 0 no 554 5.7.1 0\n"),
        ('Response.tempfail("grüß")', b"ok -1 gr%C3%BC%C3%9F 451 4.3.0 0\n"),
        ('Response.tempfail("later", code=421, dsn="4.4.5")', b"ok -1 later 421 4.4.5 0\n"),
        # Not legal in libmilter before there is a message.
        ("Response.discard()", TEMPFAIL),
        ("True", TEMPFAIL),
        ('Response.reject("no", code="550")', TEMPFAIL),
        ("Response.reject(550)", TEMPFAIL),
        ('Response.ok(delay_s="3")', TEMPFAIL),
        ("1 / 0", TEMPFAIL),
        ("exit(0)", TEMPFAIL),
    ],
)
@pytest.mark.parametrize("stage", ["relay", "helo"])
def test_what_the_callback_says_is_what_is_answered(
    load_filter: LoadFilter, stage: str, response: str, answer: bytes
) -> None:
    site = load_filter(f"def filter_{stage}(connection): return {response}")
    assert make_worker(site).answer(RELAY if stage == "relay" else HELO % b"h") == answer


def test_discard_is_legal_from_mail_on(load_filter: LoadFilter, workdir: Path) -> None:
    site = load_filter("def filter_sender(envelope): return Response.discard()")
    assert make_worker(site).answer(sender_request(workdir)) == b"ok 3 ok 250 2.1.0 0\n"


def test_log_names_callback_file_line_and_cause(load_filter: LoadFilter, caplog: pytest.LogCaptureFixture) -> None:
    site = load_filter(
        """
        def filter_relay(connection):
            name = connection.hostname
            raise KeyError(name)
        """
    )
    make_worker(site).answer(RELAY)
    assert f"filter_relay: {site.path}:4: KeyError: 'client.example.com'" in caplog.text
    assert "Traceback" in caplog.text


def test_corrected_code_is_logged(load_filter: LoadFilter, caplog: pytest.LogCaptureFixture) -> None:
    site = load_filter('def filter_relay(connection): return Response.reject("no", code=450, dsn="4.1.1")')
    make_worker(site).answer(RELAY)
    assert "reject: code 450 became 554, DSN 4.1.1 became 5.7.1" in caplog.text


def test_facts_of_the_connection(load_filter: LoadFilter) -> None:
    site = load_filter("def filter_helo(connection): return Response.reject(repr(connection))")
    answer = make_worker(site).answer(HELO % b"")
    for fact in (b"ip=%27192.0.2.7%27", b"client_port=45678", b"my_port=25", b"queue_id=None", b"helo=%27%27"):
        assert fact in answer


def test_facts_of_the_envelope_at_rcpt(load_filter: LoadFilter, workdir: Path) -> None:
    site = load_filter(
        """
        def filter_recipient(envelope, recipient):
            assert envelope.sender == "<alice@example.com>"
            assert envelope.sender_args == ("SIZE=100",)
            assert envelope.macros["j"] == "mail.example.org"
            assert envelope.transaction_id == "ivLwa00"
            assert [rcpt.address.bare for rcpt in envelope.recipients] == ["bob@example.org", "carol@example.org"]
            assert (recipient.mailer, recipient.host, recipient.addr) == ("local", "", "c")
            assert recipient.esmtp_args == ("NOTIFY=NEVER",)
            assert envelope.workdir.is_dir()
            return Response.reject("seen")
        """
    )
    assert make_worker(site).answer(recipient_request(workdir)) == b"ok 0 seen 554 5.7.1 0\n"


EDITS = """
def edit(envelope):
    envelope.headers.add("X-Sender", "checked")
    envelope.headers.insert("X-Top", "yes")
    envelope.add_recipient("<dave@example.org>")
    return {response}

def filter_sender(envelope):
    return edit(envelope)

def filter_recipient(envelope, recipient):
    return edit(envelope)
"""
EDITED = b"HX-Sender checked\nNX-Top 0 yes\nR<dave@example.org>\n"


def test_edits_of_a_check_wait_in_results_for_the_scan(load_filter: LoadFilter, workdir: Path) -> None:
    worker = make_worker(load_filter(EDITS.format(response="None")))
    assert worker.answer(sender_request(workdir)) == CONTINUE
    assert worker.answer(recipient_request(workdir)) == CONTINUE
    assert (workdir / "RESULTS").read_bytes() == EDITED + EDITED


@pytest.mark.parametrize("response", ["Response.reject()", "Response.tempfail()", "1 / 0"])
def test_edits_of_a_refused_recipient_are_dropped(load_filter: LoadFilter, workdir: Path, response: str) -> None:
    worker = make_worker(load_filter(EDITS.format(response=response)))
    worker.answer(recipient_request(workdir))
    assert not (workdir / "RESULTS").exists()


def test_edits_of_a_recipient_who_comes_again_for_want_of_state_are_dropped(
    load_filter: LoadFilter, workdir: Path
) -> None:
    site = load_filter(
        """
        def filter_recipient(envelope, recipient):
            envelope.add_recipient("<copy@example.org>")
            envelope.state["what"] = object()
        """
    )
    assert make_worker(site).answer(recipient_request(workdir)).startswith(TEMPFAIL.rstrip(b"\n"))
    assert not (workdir / "RESULTS").exists()


def test_edits_that_cannot_be_written_defer_the_recipient(
    load_filter: LoadFilter, workdir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (workdir / "RESULTS").symlink_to("/dev/full")
    worker = make_worker(load_filter(EDITS.format(response="None")))
    assert worker.answer(recipient_request(workdir)) == TEMPFAIL
    assert "No space left on device" in caplog.text


def test_checks_without_a_callback_touch_no_file() -> None:
    worker = make_worker(filter_file.load("/dev/null"))
    assert worker.answer(sender_request(Path("/nowhere"))) == CONTINUE
    assert worker.answer(recipient_request(Path("/nowhere"))) == CONTINUE


def test_reply_over_the_limit_of_a_line_is_cut(load_filter: LoadFilter) -> None:
    site = load_filter('def filter_relay(connection): return Response.reject("ü" * 5000)')
    answer = make_worker(site).answer(RELAY)
    assert len(answer) <= 4096
    assert answer.endswith(b" 554 5.7.1 0\n")


# Mail of this host


@pytest.mark.parametrize("ip", [b"127.0.0.1", b"::1"])
@pytest.mark.parametrize("verb", ["reject", "tempfail"])
def test_refused_recipient_of_local_mail_passes_if_the_site_wants_that(
    load_filter: LoadFilter, workdir: Path, verb: str, ip: bytes
) -> None:
    site = load_filter(
        f"""
        settings = Settings(local_recipients_pass=True)
        def filter_recipient(envelope, recipient):
            envelope.headers.add("X-Not", "sent")
            return Response.{verb}()
        """
    )
    request = recipient_request(workdir)
    assert make_worker(site).answer(request.replace(b"192.0.2.7", ip)) == CONTINUE
    assert not (workdir / "RESULTS").exists()
    assert make_worker(site).answer(request) != CONTINUE


@pytest.mark.parametrize("body", ["return Response.reject()", "raise RuntimeError"])
def test_recipient_of_local_mail_is_refused_else_and_deferred_for_a_fault(
    load_filter: LoadFilter, workdir: Path, body: str
) -> None:
    settings = f"Settings(local_recipients_pass={'raise' in body})"
    site = load_filter(f"settings = {settings}\ndef filter_recipient(envelope, recipient):\n    {body}")
    answer = make_worker(site).answer(recipient_request(workdir).replace(b"192.0.2.7", b"127.0.0.1"))
    assert answer.startswith(b"ok -1" if "raise" in body else b"ok 0")
