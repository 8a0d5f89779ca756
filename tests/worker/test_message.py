# SPDX-License-Identifier: GPL-3.0-or-later
"""Message and Part as a filter sees them while it works: what was done shows at once."""

from __future__ import annotations

import base64
import re

import pytest

from defang_common.wire import commands, results
from defang_worker import Message, Part, Response, Settings
from tests.worker.conftest import COMMANDS

MIXED = b"""\
From: alice@example.com
Subject: =?iso-8859-1?q?gr=FC=DFe?=
 to all
Subject: second
Message-ID: <1@example.com>
Content-Type: multipart/mixed; boundary=b

--b
Content-Type: text/html; charset=iso-8859-1
Content-Transfer-Encoding: quoted-printable
X-Own: =?utf-8?q?a?=

<p>gr=FC=DFe
--b
Content-Type: message/rfc822

Subject: inner

inner text
--b
Content-Type: application/octet-stream; name="a.exe"
Content-Disposition: ATTACHMENT; filename="A.TXT"

MZ
--b--
"""


def make(raw: bytes = MIXED, told: bytes = COMMANDS, **settings: int) -> Message:
    return Message(commands.decode(told), raw, "/nowhere", Settings(**settings))  # type: ignore[arg-type]


def shape(message: Message) -> list[str]:
    return [f"{part.number} {part.content_type}" for part in message.walk()]


def test_facts() -> None:
    message = make(told=COMMANDS.replace(b"Ulunch\n", b"!\n?\nX<1@example.com>\n"))
    assert message.subject == "grüße to all"
    assert message.message_id == "<1@example.com>"
    assert message.size == len(MIXED)
    assert message.raw == MIXED
    assert (message.suspicious_headers, message.suspicious_body) == (True, True)
    assert message.log_id == "Q1"
    assert message.verdict is None
    assert not message.is_rejected


def test_log_id_falls_back_to_the_message_id() -> None:
    no_queue_id = COMMANDS.replace(b"QQ1\n", b"")
    assert make(told=no_queue_id).log_id == "NOQUEUE"
    assert make(told=no_queue_id.replace(b"F\n", b"X<1@e>\nF\n")).log_id == "<1@e>"


def test_message_without_a_header_has_no_subject() -> None:
    assert make(b"\nbody\n").subject == ""
    assert make(b"").message_id == ""
    assert make(b"").root.is_leaf


def test_parts_are_walked_in_order_containers_first() -> None:
    message = make()
    assert shape(message) == [
        " multipart/mixed",
        "1 text/html",
        "2 message/rfc822",
        "2.1 text/plain",
        "3 application/octet-stream",
    ]
    assert [part.number for part in message.leaves()] == ["1", "2.1", "3"]


def test_part_is_the_same_object_whenever_it_is_asked_for() -> None:
    message = make()
    assert message.root.children[0] is message.root.children[0]
    assert message.root.children[0].parent is message.root
    assert message.root.parent is None


def test_facts_of_a_part() -> None:
    html, nested, program = make().root.children
    assert (html.text, html.charset, html.is_leaf) == ("<p>grüße", "iso-8859-1", True)
    assert html.data == b"<p>gr\xfc\xdfe"
    assert html.size == len(html.data)
    assert html.headers.get("x-own") == "=?utf-8?q?a?="
    assert html.headers.get("X-None", "default") == "default"
    assert html.headers.all("Content-Type") == ["text/html; charset=iso-8859-1"]
    assert [name for name, _ in html.headers.items()] == ["Content-Type", "Content-Transfer-Encoding", "X-Own"]
    assert (nested.is_leaf, nested.is_multipart, len(nested.children)) == (False, False, 1)
    assert program.disposition == "attachment"
    assert program.filename == "A.TXT"
    assert {"A.TXT", "a.exe"} <= set(program.filenames)
    assert program.extension == ".txt"
    assert program.matches(r"\.EXE$")
    assert not program.matches(re.compile(r"\.EXE$"))


@pytest.mark.parametrize("encoding", ["base64", "7bit", "quoted-printable"])
@pytest.mark.parametrize("size", [0, 4, 68, 200_000, 400_000])
def test_head_is_the_beginning_of_the_data(encoding: str, size: int) -> None:
    text = b"0123456789" * 30_000
    body = base64.encodebytes(text) if encoding == "base64" else text
    raw = b"Content-Transfer-Encoding: %b\n\n%b" % (encoding.encode(), body)
    assert make(raw).root.head(size) == text[:size]


def test_head_of_a_container_is_of_the_bytes_its_parts_lie_in() -> None:
    root = make().root
    assert root.head(4) == root.data[:4] == b"--b\n"


def test_dropped_part_is_not_walked_any_more() -> None:
    message = make()
    message.root.children[1].drop()
    assert "2.1 text/plain" not in shape(message)
    message.root.children[1].keep()
    assert "2.1 text/plain" in shape(message)
    assert message.finish_body() is None


def test_replacement_is_what_the_part_is_from_then_on() -> None:
    message = make()
    nested = message.root.children[1]
    nested.replace("größer\n", filename="größer.txt", disposition="attachment", warning="replaced")
    assert (nested.content_type, nested.text, nested.charset) == ("text/plain", "größer\n", "utf-8")
    assert (nested.filename, nested.disposition) == ("größer.txt", "attachment")
    assert (nested.is_leaf, nested.children) == (True, ())
    assert message.warnings == ("replaced",)
    rebuilt = message.finish_body()
    assert rebuilt is not None
    body = rebuilt.to_bytes()
    assert b"inner text" not in body
    assert b"gr=FC=DFe" in body


def test_last_word_on_a_part_counts_but_every_warning_stays() -> None:
    message = make()
    part = message.root.children[2]
    part.drop("first")
    part.replace("text", warning="second")
    part.keep("third")
    assert message.warnings == ("first", "second", "third")
    assert not part.is_dropped
    assert part.filename == "A.TXT"


@pytest.mark.parametrize("content_type", ["text/plain\nBcc: x", "text/plain\r"])
def test_type_with_a_line_end_is_refused(content_type: str) -> None:
    message = make()
    with pytest.raises(ValueError, match="header value"):
        message.root.children[0].replace("x", content_type=content_type)
    with pytest.raises(ValueError, match="header value"):
        message.add_part(content_type, "x")
    assert message.finish_body() is None


def test_rejected_message_is_not_rebuilt() -> None:
    message = make()
    message.root.children[0].drop()
    message.reject()
    assert message.finish_body() is None


@pytest.mark.parametrize("response", [Response.ok(), Response.accept_all()])
def test_what_is_not_final_is_no_verdict(response: Response) -> None:
    with pytest.raises(ValueError, match="no verdict"):
        make().decide(response)
    with pytest.raises(ValueError, match="no verdict"):
        response.to_result()


def test_quarantine_needs_a_reason() -> None:
    with pytest.raises(ValueError, match="reason"):
        make().mta_quarantine(" \n")


def test_lines_for_results_with_and_without_a_verdict() -> None:
    message = make()
    message.set_sender("<>")
    message.mta_quarantine("odd")
    message.headers.add("X-A", "a")
    assert message.results(None) == [
        results.ChangeSender(address=b"<>"),
        results.Quarantine(reason=b"odd"),
        results.AddHeader(name=b"X-A", value=b"a"),
    ]
    message.tempfail("later")
    assert message.results(None) == [
        results.Quarantine(reason=b"odd"),
        results.Tempfail(code=b"451", dsn=b"4.3.0", text=b"later"),
    ]


def test_edits_of_the_envelope_and_of_the_message_are_the_same() -> None:
    message = make()
    message.envelope.headers.add("X-A", "a")
    message.envelope.add_recipient("<c@example.org>")
    assert message.headers.get("X-A") == "a"
    assert message.results(None) == [
        results.AddRecipient(address=b"<c@example.org>"),
        results.AddHeader(name=b"X-A", value=b"a"),
    ]


def test_part_shows_what_it_is() -> None:
    part: Part = make().root.children[2]
    assert repr(part) == "<Part 3 application/octet-stream 'A.TXT'>"
    assert repr(make().root) == "<Part root multipart/mixed ''>"
