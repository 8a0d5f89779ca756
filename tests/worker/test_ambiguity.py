# SPDX-License-Identifier: GPL-3.0-or-later
"""The policy for ambiguous mail in a scan: what the filter sees, what is delivered, logged and told in the header."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest

from defang_common.wire import results
from defang_worker.mime import parse
from defang_worker.mime.views import examine
from tests.support.cms_maker import signed
from tests.support.tnef_maker import START
from tests.support.tnef_maker import attachment as tnef_attachment
from tests.worker.conftest import LoadFilter, make_worker

HEAD = b"From: ann@a.example\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n"
# Two programs in three see the attachment.
HIGH = HEAD + b'--b\n\none\n--b--\n\n--b\nContent-Disposition: attachment; filename="blocked.exe"\n\ntwo\n--b--\n'
# A name with a path: one reading of the structure, and one of the name that most programs cut.
MEDIUM = HEAD + b'--b\nContent-Type: a/b; name="C:\\\\temp\\\\report.txt"\n\none\n--b--\n'
LOW = HEAD + b"--b\n\none\n"

LOOKING = """
settings = Settings({settings})
def filter_part(message, part):
    message.headers.add("X-Part", part.view + " " + part.filename)
    {action}
"""
REFUSED = b"B554 5.6.0 This%20message%20is%20malformed"


def scanned(load_filter: LoadFilter, workdir: Path, raw: bytes, settings: str = "", action: str = "pass") -> bytes:
    """RESULTS after a scan of the message."""
    (workdir / "INPUTMSG").write_bytes(raw)
    site = load_filter(LOOKING.format(settings=settings, action=action))
    assert make_worker(site).answer(b"scan Q1 %s" % os.fsencode(workdir)) == b"ok\n"
    lines = (workdir / "RESULTS").read_bytes()
    assert not results.decode(lines).oddities
    return lines


def test_ordinary_mail_is_not_touched(load_filter: LoadFilter, workdir: Path) -> None:
    lines = scanned(load_filter, workdir, HEAD + b"--b\n\none\n--b--\n", "ambiguity='strict', results_authserv_id='gw'")
    assert lines == b"HX-Part primary%20\nF\n"
    assert not (workdir / "NEWBODY").exists()


@pytest.mark.parametrize(("raw", "policy"), [(HIGH, "'default'"), (HIGH, "'strict'"), (MEDIUM, "'strict'")])
def test_what_the_policy_refuses_is_refused_with_a_line_in_the_log(
    load_filter: LoadFilter, workdir: Path, caplog: pytest.LogCaptureFixture, raw: bytes, policy: str
) -> None:
    lines = scanned(load_filter, workdir, raw, f"ambiguity={policy}")
    assert lines.startswith(REFUSED)
    assert not (workdir / "NEWBODY").exists()
    assert "message refused: result=ambiguous; severity=" in caplog.text


@pytest.mark.parametrize("raw", [HIGH, MEDIUM, LOW])
def test_a_filter_that_names_no_policy_has_odd_mail_delivered_as_it_came(
    load_filter: LoadFilter, workdir: Path, caplog: pytest.LogCaptureFixture, raw: bytes
) -> None:
    with caplog.at_level("INFO"):
        lines = scanned(load_filter, workdir, raw)
    assert lines.endswith(b"F\n")
    assert not lines.startswith(b"B")
    assert not (workdir / "NEWBODY").exists()
    assert "malformed message: result=" in caplog.text


def test_a_filter_that_names_no_policy_drops_a_part_from_every_reading(load_filter: LoadFilter, workdir: Path) -> None:
    lines = scanned(load_filter, workdir, HIGH, action="if part.matches('blocked'): part.drop()")
    head = HEAD.replace(b"boundary=b", b'boundary="%b"' % lines.partition(b"boundary=%22")[2][:40])
    tree = parse(head + (workdir / "NEWBODY").read_bytes())
    assert examine(tree).view_count == 1
    assert [leaf.content for leaf in tree.leaves()] == [b"one"]


def test_what_could_not_be_examined_is_refused_if_no_policy_is_named(load_filter: LoadFilter, workdir: Path) -> None:
    damaged = HEAD + b"--b\nContent-Type: application/zip; name=a.zip\n\nPK\x03\x04" + b"\0" * 26 + b"\n--b--\n"
    assert scanned(load_filter, workdir, damaged).startswith(
        b"B554 5.6.0 This%20message%20cannot%20be%20looked%20through"
    )
    (workdir / "RESULTS").unlink()
    assert not scanned(load_filter, workdir, damaged, "ambiguity='log-only'").startswith(b"B")


def test_the_log_has_the_names_of_shadow_parts(
    load_filter: LoadFilter, workdir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        scanned(load_filter, workdir, HIGH, "ambiguity='log-only'")
    assert "malformed message: result=ambiguous; severity=high;" in caplog.text
    assert "names=['blocked.exe']" in caplog.text


def test_the_filter_sees_the_parts_of_every_reading(load_filter: LoadFilter, workdir: Path) -> None:
    lines = scanned(load_filter, workdir, HIGH, "ambiguity='log-only'")
    assert b"HX-Part primary%20\n" in lines
    assert b"%20blocked.exe\n" in lines
    assert not (workdir / "NEWBODY").exists()


def test_the_filter_speaks_first(load_filter: LoadFilter, workdir: Path) -> None:
    lines = scanned(load_filter, workdir, HIGH, action="message.reject('mine')")
    assert lines.startswith(b"B554 5.7.1 mine")


def test_medium_defects_are_rebuilt_away(load_filter: LoadFilter, workdir: Path) -> None:
    lines = scanned(load_filter, workdir, MEDIUM, "ambiguity='default'")
    change = next(line for line in lines.split(b"\n") if line.startswith(b"M"))
    assert change.startswith(b"Mmultipart/mixed;%20boundary=")
    body = (workdir / "NEWBODY").read_bytes()
    assert b'name="report.txt"' in body
    assert b"temp" not in body


def test_low_defects_are_delivered_and_rebuilt_by_strict_sites_only(load_filter: LoadFilter, workdir: Path) -> None:
    assert b"\nC\n" not in b"\n" + scanned(load_filter, workdir, LOW, "ambiguity='default'")
    (workdir / "RESULTS").unlink()
    assert b"C\n" in scanned(load_filter, workdir, LOW, "ambiguity='strict'")


def test_lenient_sites_hold_the_message_with_one_reading_left(load_filter: LoadFilter, workdir: Path) -> None:
    lines = scanned(load_filter, workdir, HIGH, "ambiguity='lenient', results_authserv_id='gw.example'")
    assert lines.startswith(b"Q")
    assert b"action=quarantined" in lines
    head = HEAD.replace(b"boundary=b", b'boundary="%b"' % lines.partition(b"boundary=%22")[2][:40])
    tree = parse(head + (workdir / "NEWBODY").read_bytes())
    assert examine(tree).view_count == 1
    warning, one = tree.leaves()
    assert "The file blocked.exe, which only some mail programs would have shown, was removed." in warning.text
    assert one.content == b"one"


def test_defects_of_what_the_filter_dropped_count_no_longer(load_filter: LoadFilter, workdir: Path) -> None:
    lines = scanned(load_filter, workdir, MEDIUM, "ambiguity='strict'", action="part.drop()")
    assert b"B554" not in lines
    assert b"C\n" in lines


@pytest.mark.parametrize("action", ["pass", "part.drop()"])
def test_what_cannot_be_looked_through_is_refused_unless_the_filter_removed_it(
    load_filter: LoadFilter, workdir: Path, action: str
) -> None:
    damaged = base64.encodebytes(signed(b"Content-Type: text/plain\n\none\n")[:-3])
    fields = b"Content-Type: application/pkcs7-mime\nContent-Transfer-Encoding: base64\n\n"
    raw = HEAD + b"--b\n\none\n--b\n" + fields + damaged + b"--b--\n"
    action = f"if part.content_type.endswith('7-mime'): {action}"
    lines = scanned(load_filter, workdir, raw, action=action)
    assert lines.startswith(b"B554 5.6.0") == ("drop" not in action)


@pytest.mark.parametrize("action", ["pass", "part.keep()"])
@pytest.mark.parametrize(
    ("content_type", "content"),
    [
        (b"application/ms-tnef", START + tnef_attachment(b"words", b"inside.txt\0")),
        (b"application/pkcs7-mime", signed(b"Content-Type: text/plain; name=inside.txt\n\nwords\n")),
        (b"text/plain", b"begin 644 inside.txt\n#86)C\n`\nend\n"),
    ],
)
def test_what_is_inside_of_a_content_stays_there_alone_and_nobody_is_told_that_it_was_removed(
    load_filter: LoadFilter, workdir: Path, content_type: bytes, content: bytes, action: str
) -> None:
    part = b"--b\nContent-Type: %b\nContent-Transfer-Encoding: base64\n\n" % content_type + base64.encodebytes(content)
    lines = scanned(
        load_filter, workdir, MEDIUM.removesuffix(b"--b--\n") + part + b"--b--\n", "ambiguity='default'", action
    )
    assert b"%20inside.txt\n" in lines
    body = (workdir / "NEWBODY").read_bytes()
    assert content in body or base64.b64encode(content)[:60] in body.replace(b"\n", b"")
    assert b"was removed" not in body
    assert b'name="inside.txt' not in body


def test_the_header_field_tells_and_those_from_outside_go(load_filter: LoadFilter, workdir: Path) -> None:
    claimed = b"MIME-Ambiguity-Results: gw.example; result=none\nmime-ambiguity-results: other\n"
    lines = scanned(load_filter, workdir, claimed + HIGH, "ambiguity='log-only', results_authserv_id='gw.example'")
    assert b"JMIME-Ambiguity-Results 1\n" in lines
    assert b"Jmime-ambiguity-results 2\n" in lines
    added = next(line for line in lines.split(b"\n") if line.startswith(b"NMIME-Ambiguity-Results 0 gw.example;%20"))
    assert b"result=ambiguous;%20severity=high" in added
    assert b"action=none" in added


def test_what_cannot_be_rebuilt_is_refused(
    load_filter: LoadFilter, workdir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    signed = MEDIUM.replace(b"multipart/mixed", b"multipart/signed; protocol=x/y")
    lines = scanned(load_filter, workdir, signed, "ambiguity='default'")
    assert lines.startswith(b"B554 5.6.0 This%20message%20cannot%20be%20made%20safe")
    assert "the message as a whole is signed" in caplog.text


def test_a_policy_is_asked_for_filters_without_parts_too(load_filter: LoadFilter, workdir: Path) -> None:
    (workdir / "INPUTMSG").write_bytes(HIGH)
    site = load_filter("settings = Settings(ambiguity='default')\ndef filter_begin(message):\n    pass\n")
    make_worker(site).answer(b"scan Q1 %s" % os.fsencode(workdir))
    assert (workdir / "RESULTS").read_bytes().startswith(REFUSED)


def test_a_filter_with_a_misspelt_policy_is_not_loaded(load_filter: LoadFilter) -> None:
    with pytest.raises(Exception, match="no policy is named 'strikt'"):
        load_filter(LOOKING.format(settings="ambiguity='strikt'", action="pass"))


# A client that passes over the mark reads a message with an attachment where others see one text.
MARKED = b"\n\xef\xbb\xbf" + HEAD + b'--b\n\none\n--b\nContent-Type: a/b; name="blocked.exe"\n\nMARKER\n--b--\n'
DROPPING = """
def filter_part(message, part):
    if part.matches(r"\\.exe$"):
        part.drop()
"""


def test_part_of_a_message_hidden_in_a_text_is_gone_when_it_is_dropped(load_filter: LoadFilter, workdir: Path) -> None:
    (workdir / "INPUTMSG").write_bytes(MARKED)
    assert make_worker(load_filter(DROPPING)).answer(b"scan Q1 %s" % os.fsencode(workdir)) == b"ok\n"
    body = (workdir / "NEWBODY").read_bytes()
    assert b"MARKER" not in body
    assert b"blocked.exe" not in body
    assert base64.b64encode(b"MARKER") not in body
