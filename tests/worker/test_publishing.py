# SPDX-License-Identifier: GPL-3.0-or-later
"""Parts that are replaced by links, and messages whose body is replaced, added to or written anew as a whole."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from defang_common.wire import commands
from defang_worker import Message, Response, Settings, Verdict
from defang_worker.effects.recorded import RecordedEffects
from defang_worker.effects.site import SiteEffects
from defang_worker.mime import Tree, parse
from defang_worker.mime.one_reading import delivered
from tests.worker.conftest import COMMANDS, LoadFilter, make_worker

RAW = (
    b"Subject: x\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n"
    b"--b\nContent-Type: text/plain\n\nfirst\n"
    b'--b\nContent-Type: application/pdf; name="a {url}.PDF"\nContent-Transfer-Encoding: base64\n\nc2Vjb25k\n'
    b"--b\nContent-Type: message/rfc822\n\nContent-Type: text/html\n\n<p>in\n--b--\n"
)
FILTER = """
    def filter_part(message, part):
        if part.content_type == "application/pdf":
            part.replace_with_url("{directory}", "https://files.example.org/", salt="s", metadata="told")
            {more}
"""
NAME = hashlib.sha256(b"seconds").hexdigest() + ".pdf"


def make(raw: bytes = RAW) -> Message:
    return Message(commands.decode(COMMANDS), raw, "/nowhere", Settings())


def after(message: Message) -> Tree:
    rebuilt = message.finish_body()
    assert rebuilt is not None
    return parse(delivered(parse(message.raw), rebuilt))


def serve(load_filter: LoadFilter, workdir: Path, directory: Path, more: str = "") -> bytes:
    (workdir / "INPUTMSG").write_bytes(RAW)
    real = SiteEffects(submit_to="/nonexistent", state_dir="/nonexistent")
    site = replace(load_filter(FILTER.format(directory=directory, more=more)), effects=real)
    return make_worker(site).answer(b"scan Q1 %s" % str(workdir).encode())


def test_link_has_the_hash_of_content_and_salt_and_the_extension() -> None:
    message = make()
    pdf = message.root.children[1]
    url = pdf.replace_with_url("/var/www", "https://files.example.org", salt="s")
    assert url == f"https://files.example.org/{NAME}"
    assert message.root.children[1].content_type == "text/plain"
    text = after(message).root.children[1].content.decode()
    assert text.count(url) == 1
    assert "a {url}.PDF" in text


def test_text_may_be_the_filters_own() -> None:
    pdf = make().root.children[1]
    url = pdf.replace_with_url("/var/www", "http://f", "{name} is at {url}, really {url}")
    assert pdf.text == f"a {{url}}.PDF is at {url}, really {url}\n"


def test_odd_extension_is_left_out() -> None:
    message = make(RAW.replace(b"a {url}.PDF", b"a.p$df"))
    assert "." not in message.root.children[1].replace_with_url("/var/www", "http://f").rpartition("/")[2]


def test_container_cannot_be_published() -> None:
    with pytest.raises(ValueError, match="only a part with a body"):
        make().root.replace_with_url("/var/www", "http://f")


def test_nothing_is_published_before_the_end_of_the_scan() -> None:
    message, effects = make(), RecordedEffects()
    message.root.children[1].replace_with_url("/var/www", "http://f", metadata="told")
    assert effects.published == []
    message.outbox.store(message, effects)
    name, dotted = effects.published
    assert (name.content, dotted.content, dotted.name) == (b"second", b"told", f".{name.name}")


def test_scan_publishes_content_and_metadata(load_filter: LoadFilter, workdir: Path, tmp_path: Path) -> None:
    assert serve(load_filter, workdir, tmp_path) == b"ok\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == [f".{NAME}", NAME]
    assert (tmp_path / NAME).read_bytes() == b"second"
    assert (tmp_path / NAME).stat().st_mode & 0o777 == 0o644
    assert NAME.encode() in (workdir / "NEWBODY").read_bytes()


@pytest.mark.parametrize("more", ["message.reject()", "message.discard()", "raise RuntimeError"])
def test_nothing_is_published_of_what_is_not_delivered(
    load_filter: LoadFilter, workdir: Path, tmp_path: Path, more: str
) -> None:
    serve(load_filter, workdir, tmp_path, more)
    assert list(tmp_path.iterdir()) == []


def test_message_is_deferred_if_its_part_cannot_be_published(
    load_filter: LoadFilter, workdir: Path, tmp_path: Path
) -> None:
    assert serve(load_filter, workdir, tmp_path / "none").startswith(b"error:")
    assert not (workdir / "RESULTS").exists()


# The whole body


def test_body_is_replaced_and_the_message_header_stays() -> None:
    message = make()
    message.replace_with(b"Subject: not taken\nContent-Type: text/html\n\n<p>new\n")
    changed = after(message).root
    assert (changed.content_type, changed.content) == ("text/html", b"<p>new\n")
    assert changed.headers.all("subject") == [b"x"]


def test_part_that_is_made_already_is_added_byte_by_byte() -> None:
    message = make()
    entity = b"Content-Type: text/x-own; a=b\nX-Mine: yes\n\nbody"
    message.add_entity(entity, index=1)
    assert not message.root.children[1].is_dropped
    assert after(message).root.children[1].raw == entity


def test_message_that_is_written_anew_says_the_same() -> None:
    message = make()
    assert not message.is_modified
    message.rebuild()
    assert message.is_modified
    changed = after(message).root
    assert [part.content for part in changed.children[:2]] == [b"first", b"second"]


# Looking


def test_first_part_of_a_type_is_found_where_asked_for() -> None:
    message = make()
    found = message.find("text/plain")
    assert found is message.root.children[0]
    assert message.find("text/html") is None
    nested = message.find("text/html", into_messages=True)
    assert nested is not None
    assert nested.text == "<p>in"
    found.drop()
    assert message.find("text/plain") is None


def test_extensions_of_all_names_count() -> None:
    raw = RAW.replace(
        b"\nContent-Transfer-Encoding", b'\nContent-Disposition: x; filename="b.exe. "\nContent-Transfer-Encoding'
    )
    part = make(raw).root.children[1]
    assert part.extension_matches(r"^\.exe$")
    assert part.extension_matches("PDF")
    assert not part.extension_matches("url")


def test_path_of_the_message_is_in_its_directory() -> None:
    assert str(make().raw_path) == "/nowhere/INPUTMSG"


def test_greylist_answer_has_the_code_that_rfc_6647_wants() -> None:
    response = Response.greylist()
    assert (response.verdict, response.code, response.dsn) == (Verdict.TEMPFAIL, 451, "4.7.1")
    assert response.correction() is None
    assert b"try again" in response.to_answer().text  # type: ignore[operator]
