# SPDX-License-Identifier: GPL-3.0-or-later
"""A filter tried on one message: what the client is told, and what is delivered."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defang_worker.api import filter_file
from defang_worker.trial.mta_message import ChangeHeader
from defang_worker.trial.play import play
from defang_worker.trial.result import Fate, Result
from defang_worker.trial.session import Session
from tests.worker.conftest import LoadFilter

MESSAGE = b"From: alice@example.com\nTo: bob@example.org\nSubject: lunch\n\nHello Bob\n"
WITH_EXE = (
    b"From: alice@example.com\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=x\n\n"
    b'--x\n\nHello\n--x\nContent-Type: application/x; name="a.exe"\n\nMZ\n--x--\n'
)


def played(load_filter: LoadFilter, source: str, raw: bytes = MESSAGE, **session: object) -> Result:
    return play(load_filter(source), raw, Session(**session))  # type: ignore[arg-type]


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
@pytest.mark.parametrize("raw", [MESSAGE, WITH_EXE, b"no header\n\nat all", b"", b"Subject: x", b"\nonly a body\n"])
def test_message_that_nobody_changes_is_delivered_byte_for_byte(raw: bytes, newline: bytes) -> None:
    raw = raw.replace(b"\n", newline)
    result = play(filter_file.load(filter_file.NO_FILTER), raw, Session())
    assert (result.verdict, result.delivered, result.modified) == (Fate.ACCEPT, raw, False)


LINES = st.lists(
    st.one_of(
        st.sampled_from(
            [b"From: a", b"Subject : x", b" folded", b"", b"no field", b"Content-Type: a/b", b"X:\0", b"\r"]
        ),
        st.binary(max_size=30).map(lambda line: line.replace(b"\n", b"")),
    ),
    max_size=12,
)


@given(lines=LINES, newline=st.sampled_from([b"\n", b"\r\n"]))
def test_whatever_comes_gives_a_result(lines: list[bytes], newline: bytes) -> None:
    raw = newline.join(lines)
    result = play(filter_file.load(filter_file.NO_FILTER), raw, Session())
    assert result.fault is None
    # Of these fields only one is delivered, whatever a filter says.
    assert result.changes or result.delivered == result.came
    assert all(isinstance(change, ChangeHeader) and not change.value for change in result.changes)


@pytest.mark.parametrize("line", [b"From alice Mon Jan  6 10:00:00 2025\n", b"From alice\r\n", b">From alice Mon\n"])
def test_line_of_a_mailbox_is_no_part_of_the_message(line: bytes) -> None:
    result = play(filter_file.load(filter_file.NO_FILTER), line + MESSAGE, Session())
    assert result.delivered == MESSAGE


def test_every_callback_is_called_with_what_the_session_says(load_filter: LoadFilter) -> None:
    result = played(
        load_filter,
        """
        import logging
        log = logging.getLogger("defang.filter")
        def filter_relay(c): log.info("relay %s %s %s", c.ip, c.hostname, c.helo)
        def filter_helo(c): log.info("helo %s", c.helo)
        def filter_sender(e): log.info("sender %s %s %s", e.sender, e.sender_args, e.macros["auth_type"])
        def filter_recipient(e, r): log.info("recipient %s of %d", r.address, len(e.recipients))
        def filter_begin(m): log.info("begin %s %s", m.envelope.queue_id, m.envelope.client_ip)
        def filter_part(m, p): log.info("part %s", p.content_type)
        def filter_wrapup(m): log.info("wrapup %s", m.envelope.macros["auth_type"])
        """,
        sender="alice@example.com",
        sender_args=("BODY=8BITMIME",),
        recipients=("<b@example.org>", "c@example.org"),
        relay_ip="192.0.2.99",
        relay_host="out.example.com",
        helo="hello",
        queue_id="Q99",
        macros={"auth_type": "PLAIN"},
    )
    assert result.log == (
        "relay 192.0.2.99 out.example.com None",
        "helo hello",
        "sender <alice@example.com> ('BODY=8BITMIME',) PLAIN",
        "recipient <b@example.org> of 1",
        "recipient <c@example.org> of 2",
        "begin Q99 192.0.2.99",
        "part text/plain",
        "wrapup PLAIN",
    )
    assert list(result.timings) == [
        *("filter_relay", "filter_helo", "filter_sender", "filter_recipient"),
        *("filter_begin", "filter_part", "filter_wrapup"),
    ]
    assert result.timings["filter_recipient"].calls == 2
    assert 0 < sum(timing.elapsed_ms for timing in result.timings.values()) <= result.elapsed_ms


@pytest.mark.parametrize(
    ("callback", "stage"),
    [
        ("filter_relay(c)", "relay"),
        ("filter_helo(c)", "helo"),
        ("filter_sender(e)", "sender"),
        ("filter_recipient(e, r)", "recipient"),
        ("filter_begin(m)", "message"),
        ("filter_wrapup(m)", "message"),
    ],
)
def test_refusal_at_any_stage_is_the_verdict(load_filter: LoadFilter, callback: str, stage: str) -> None:
    source = f"def {callback}: return Response.reject('No\\nthanks', code=550, dsn='5.7.9')"
    result = played(load_filter, source)
    assert (result.stage, result.verdict, result.code, result.dsn) == (stage, Fate.REJECT, 550, "5.7.9")
    assert (result.reply, result.delivered, result.fault) == ("No\nthanks", None, None)


def test_filters_own_temporary_failure_is_no_fault(load_filter: LoadFilter) -> None:
    for callback in ("filter_sender(e)", "filter_begin(m)"):
        result = played(load_filter, f"def {callback}: return Response.tempfail('Later')")
        assert (result.verdict, result.code, result.dsn, result.reply) == (Fate.TEMPFAIL, 451, "4.3.0", "Later")
        assert result.fault is None


@pytest.mark.parametrize(
    "callback", ["filter_relay(c)", "filter_helo(c)", "filter_sender(e)", "filter_recipient(e, r)", "filter_begin(m)"]
)
@pytest.mark.parametrize("body", ["1 / 0", "return 17"])
def test_fault_is_a_temporary_failure_with_its_place(load_filter: LoadFilter, callback: str, body: str) -> None:
    result = played(load_filter, f"def {callback}:\n    {body}")
    assert (result.verdict, result.code) == (Fate.TEMPFAIL, 451)
    assert result.fault is not None
    assert callback.partition("(")[0] in result.fault.text
    assert "filter.py" in result.fault.text
    if "/" in body:
        assert "filter.py:3: ZeroDivisionError" in result.fault.text
        assert result.fault.traceback.startswith("Traceback")
        assert "1 / 0" in result.fault.traceback or "ZeroDivisionError" in result.fault.traceback


def test_refused_recipient_is_left_out_and_the_others_get_the_message(load_filter: LoadFilter) -> None:
    source = """
    def filter_recipient(e, r):
        if r.address.local_part == "gone":
            return Response.reject("Moved away", code=550, dsn="5.1.6")
    def filter_begin(m):
        m.headers.add("X-For", " ".join(one.address.bare for one in m.envelope.recipients))
    """
    result = played(load_filter, source, recipients=("gone@example.org", "here@example.org"))
    assert result.verdict is Fate.ACCEPT
    assert result.recipients == ("<here@example.org>",)
    assert result.headers.get("X-For") == "here@example.org"
    (refused,) = result.refused
    assert (refused.address, refused.code, refused.reply) == ("<gone@example.org>", 550, "Moved away")


def test_no_recipient_left_is_a_refusal_of_the_mail(load_filter: LoadFilter) -> None:
    result = played(load_filter, "def filter_recipient(e, r): return Response.reject('Nobody here')")
    assert (result.stage, result.verdict, result.reply) == ("recipient", Fate.REJECT, "Nobody here")


@pytest.mark.parametrize("callback", ["filter_relay(c)", "filter_sender(e)", "filter_recipient(e, r)"])
def test_message_that_is_accepted_early_is_not_filtered(load_filter: LoadFilter, callback: str) -> None:
    source = f"def {callback}: return Response.accept_all()\ndef filter_begin(m): m.reject()"
    result = played(load_filter, source)
    assert (result.verdict, result.delivered, result.code) == (Fate.ACCEPT, MESSAGE, 250)


def test_discarded_message_is_accepted_towards_the_client(load_filter: LoadFilter) -> None:
    result = played(load_filter, "def filter_begin(m): m.discard()")
    assert (result.verdict, result.code, result.delivered) == (Fate.DISCARD, 250, None)


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_edits_are_made_as_a_mail_server_makes_them(load_filter: LoadFilter, newline: bytes) -> None:
    source = """
    def filter_part(m, p):
        if p.matches("exe$"):
            p.drop()
    def filter_wrapup(m):
        m.headers.insert("X-Top", "1")
        m.headers.add("X-End", "2")
        m.headers.delete("From")
        m.set_sender("<else@example.com>")
        m.add_recipient("<more@example.org>")
        m.mta_quarantine("look at this")
    """
    result = played(load_filter, source, WITH_EXE.replace(b"\n", newline))
    # A mail server counts its own Received field, so that position 0 is before the first of those that came.
    assert result.delivered == (
        b"X-Top: 1\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=x\nX-End: 2\n\n--x\n\nHello\n--x--\n"
    ).replace(b"\n", newline)
    assert (result.sender, result.recipients) == (
        "<else@example.com>",
        ("<recipient@example.org>", "<more@example.org>"),
    )
    assert (result.held, result.modified) == ("look at this", True)
    assert [part.text for part in result.parts] == ["Hello"]


def test_second_content_type_is_not_delivered() -> None:
    raw = b"Content-Type: text/plain\nContent-Type: text/html\n\nHello\n"
    result = play(filter_file.load(filter_file.NO_FILTER), raw, Session())
    assert result.delivered == b"Content-Type: text/plain\n\nHello\n"


def test_warnings_and_defects_are_told(load_filter: LoadFilter) -> None:
    source = "def filter_part(m, p):\n    m.warn('careful')"
    raw = b"MIME-Version: 1.0\nMIME-Version: 2.0\nContent-Type: text/plain\n\nHello\n"
    result = played(load_filter, source, raw)
    assert result.warnings == ("careful",)
    assert [defect.name for defect in result.defects]


def test_defects_are_told_of_a_message_that_no_callback_sees() -> None:
    raw = b"Content-Type: multipart/mixed; boundary=x\nContent-Type: text/plain\n\n--x\n\nHello\n--x--\n"
    result = play(filter_file.load(filter_file.NO_FILTER), raw, Session())
    assert result.defects


def test_working_directory_is_gone_afterwards(load_filter: LoadFilter) -> None:
    result = played(load_filter, "def filter_begin(m): print(m.envelope.workdir); m.warn(str(m.envelope.workdir))")
    (directory,) = result.warnings
    assert not Path(directory).exists()


def test_logging_is_left_as_it_was(load_filter: LoadFilter) -> None:
    root = logging.getLogger()
    before = (root.level, list(root.handlers))
    played(load_filter, "def filter_begin(m): 1 / 0")
    assert (root.level, root.handlers) == before


def test_nothing_that_is_not_delivered_can_be_looked_at(load_filter: LoadFilter) -> None:
    result = played(load_filter, "def filter_begin(m): m.reject('No')")
    with pytest.raises(ValueError, match="reject 554 No"):
        _ = result.parts


def test_what_would_leave_the_process_is_told_and_not_done(load_filter: LoadFilter, spool: Path) -> None:
    source = f"""
    settings = Settings(
        quarantine_dir="{spool}/quarantine", submit_to="{spool}/sendmail", admin="admin@example.org",
        event_log="{spool}/events", record_log="{spool}/records",
    )
    def filter_begin(m):
        if m.subject == "copies":
            m.stream_by_recipient()
            return
        m.quarantine("why")
        m.notify_admin("Look at this")
        m.log_event("seen", "1")
    """
    result = played(load_filter, source)
    (entry,) = result.quarantined
    assert entry.directory == f"{spool}/quarantine"
    assert [(letter.kind.value, letter.recipients) for letter in result.notifications] == [
        ("admin-notice", ("admin@example.org",))
    ]
    assert sorted({target for target, _ in result.lines}) == [f"{spool}/events", f"{spool}/records"]
    copies = played(load_filter, source, MESSAGE.replace(b"lunch", b"copies"), recipients=("a@b", "c@d"))
    assert (copies.verdict, copies.notifications) == (Fate.DISCARD, ())
    assert [letter.recipients for letter in copies.letters] == [("a@b",), ("c@d",)]
    assert [path.name for path in spool.iterdir()] == ["filter.py"]


def test_nothing_leaves_the_process_when_the_filter_fails(load_filter: LoadFilter) -> None:
    result = played(load_filter, "def filter_begin(m): m.quarantine('x'); m.notify_admin('a'); 1 / 0")
    assert (result.quarantined, result.letters) == ((), ())


def test_state_is_carried_from_callback_to_callback(load_filter: LoadFilter) -> None:
    source = """
    def filter_relay(c): c.state["ip"] = c.ip
    def filter_sender(e): e.state["from"] = e.sender; e.session_state["seen"] = [e.session_state["ip"], 1]
    def filter_recipient(e, r): e.state.setdefault("to", []).append(r.address)
    def filter_begin(m): m.warn(f"{m.session_state}"); m.warn(f"{m.state}")
    """
    result = played(load_filter, source)
    assert result.fault is None
    assert result.warnings == (
        "{'ip': '192.0.2.1', 'seen': ['192.0.2.1', 1]}",
        "{'from': '<sender@example.com>', 'to': ['<recipient@example.org>']}",
    )


@pytest.mark.parametrize("callback", ["filter_relay(x)", "filter_sender(x)", "filter_recipient(x, r)"])
def test_state_that_cannot_be_carried_is_a_fault(load_filter: LoadFilter, callback: str) -> None:
    result = played(load_filter, f"def {callback}: x.state['kept'] = object()")
    assert (result.verdict, result.code) == (Fate.TEMPFAIL, 451)
    assert result.fault is not None
    assert "state['kept'] cannot be kept: object" in result.fault.text
