# SPDX-License-Identifier: GPL-3.0-or-later
"""Text put into text parts: in their charset, their transfer encoding, and beside their own bytes."""

import base64
import quopri

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defang_worker.mime import Entity, parse
from defang_worker.mime.boilerplate import TextEdit


def part(body: bytes, content_type: str = "text/plain; charset=utf-8", encoding: str = "7bit") -> Entity:
    header = f"X: 1\nContent-Type: {content_type}\nContent-Transfer-Encoding: {encoding}\n\n".encode()
    return parse(header + body).root


def with_text(entity: Entity, text: str, *, at_start: bool = False) -> Entity:
    new = TextEdit(entity, b"\n").with_text(text, at_start=at_start)
    assert new is not None
    return parse(new).root


def with_html(entity: Entity, html: str, *, at_start: bool = False) -> Entity:
    new = TextEdit(entity, b"\n").with_html(html, at_start=at_start)
    assert new is not None
    return parse(new).root


@pytest.mark.parametrize("encoding", ["7bit", "8bit", "binary"])
def test_text_goes_behind_an_unencoded_body_and_nothing_else_changes(encoding: str) -> None:
    entity = part(b"one\n two \n", encoding=encoding)
    assert with_text(entity, "Greetings\n").raw == entity.raw + b"\nGreetings\n"
    assert with_text(entity, "Greetings", at_start=True).raw_body == b"Greetings\n\none\n two \n"


def test_a_body_without_line_end_gets_one_first() -> None:
    assert with_text(part(b"one"), "a\nb").content == b"one\n\na\nb\n"
    assert with_text(part(b""), "a").content == b"a\n"


@pytest.mark.parametrize(
    ("charset", "old", "text"),
    [
        ("iso-8859-1", "Grüße", "für"),
        ("utf-8", "Grüße", "日本"),
        ("windows-1252", "Grüße", "€"),
        ("utf-16", "Grüße", "日本"),
        ("utf-16le", "Grüße", "日本"),
        ("iso-2022-jp", "日本", "日本"),
        ("shift_jis", "日本", "日本"),
        ("gb18030", "日本", "日本 €"),
        ("koi8-r", "привет", "мир"),
        ("utf-7", "Grüße", "für"),
    ],
)
@pytest.mark.parametrize("encoding", ["base64", "quoted-printable"])
@pytest.mark.parametrize("at_start", [True, False])
def test_text_is_written_in_the_charset_of_the_part(
    charset: str, old: str, text: str, encoding: str, at_start: bool
) -> None:
    content = old.encode(charset)
    body = base64.encodebytes(content) if encoding == "base64" else quopri.encodestring(content)
    new = with_text(part(body, f"text/plain; charset={charset}", encoding), text, at_start=at_start)
    assert new.charset == charset
    shown = new.content.decode(charset).replace("\r\n", "\n").strip()
    assert shown.replace("\n\n", "\n").split("\n") == ([text, old] if at_start else [old, text])


@pytest.mark.parametrize(("encoding", "becomes"), [("7bit", "base64"), ("8bit", "8bit"), ("base64", "base64")])
def test_a_part_whose_charset_lacks_a_character_becomes_utf_8(encoding: str, becomes: str) -> None:
    body = base64.encodebytes(b"one\r\n") if encoding == "base64" else b"one\n"
    entity = part(body, 'text/plain; format=fixed; CHARSET="iso-8859-1"; x=y', encoding)
    new = with_text(entity, "日本語の文章です")
    assert new.headers.all("content-type") == [b"text/plain; format=fixed; charset=utf-8; x=y"]
    assert new.transfer_encoding == becomes
    assert new.text.replace("\r\n", "\n") == "one\n\n日本語の文章です\n"
    assert new.headers.get("x") == b"1"


def test_a_part_without_charset_gets_one_with_the_first_other_character() -> None:
    entity = parse(b"\nHello, this is a text of some length\n").root
    new = with_text(entity, "Grüße")
    assert (new.charset, new.transfer_encoding) == ("utf-8", "quoted-printable")
    assert new.text == "Hello, this is a text of some length\n\nGrüße\n"


def test_bytes_that_are_not_in_the_charset_are_never_guessed_at() -> None:
    entity = part(b"\xff\xfe\n", "text/plain; charset=us-ascii", "8bit")
    assert TextEdit(entity, b"\n").with_text("Grüße") is None
    assert with_text(entity, "Greetings").raw_body == b"\xff\xfe\n\nGreetings\n"


def test_an_unknown_charset_takes_ascii_and_an_unknown_encoding_nothing() -> None:
    assert with_text(part(b"one\n", "text/plain; charset=x-nowhere"), "two").content == b"one\n\ntwo\n"
    assert TextEdit(part(b"\xe4\n", "text/plain; charset=x-nowhere"), b"\n").with_text("ä") is None
    assert TextEdit(part(b"one\n", encoding="x-rot13"), b"\n").with_text("two") is None
    assert TextEdit(part(b"one\n", encoding="x-rot13"), b"\n").with_html("two") is None


def test_quoted_printable_lines_that_stay_keep_their_bytes() -> None:
    body = b"a =3d soft=\n break=20\nlong line" + b"x" * 60 + b"=\nend"
    entity = part(body, encoding="quoted-printable")
    new = with_text(entity, "Grüße")
    assert new.raw_body.startswith(body)
    assert new.text == entity.text + "\n\nGrüße\n"
    assert with_text(entity, "Grüße", at_start=True).raw_body.endswith(body)


@pytest.mark.parametrize(
    ("body", "added"),
    [
        (b"a paragraph \ngoes on\n", b"\n"),
        (b"it ends in a blank \n", b"\n\n"),
        (b"-- \n", b"\n"),
    ],
)
def test_flowed_text_does_not_flow_into_what_is_added(body: bytes, added: bytes) -> None:
    new = with_text(part(body, "text/plain; format=Flowed"), "From us   \n> not quoted\n indented\n-- \nSite")
    assert new.raw_body == body + added + b" From us\n > not quoted\n  indented\n-- \nSite\n"


def test_lines_that_mail_could_not_carry_are_encoded() -> None:
    new = with_text(part(b"one\n"), "x" * 2000)
    assert new.transfer_encoding == "quoted-printable"
    assert new.content == b"one\n\n" + b"x" * 2000 + b"\n"


def test_base64_text_keeps_its_line_ends() -> None:
    new = with_text(part(base64.encodebytes(b"one\r\ntwo\r\n"), encoding="base64"), "a\nb")
    assert new.content == b"one\r\ntwo\r\n\r\na\r\nb\r\n"


# HTML


def test_html_goes_before_the_end_of_the_body_and_every_other_byte_stays() -> None:
    html = b"<html><body>\n<!-- </body> --><p class = x>one<br/ >\xe4</p></body></html>\n"
    entity = part(html, "text/html; charset=iso-8859-1", "8bit")
    new = with_html(entity, "<p>Grüße aus 日本</p>")
    added = b"<p>Gr\xfc\xdfe aus &#26085;&#26412;</p>\n"
    assert new.raw_body == html.replace(b"</body></html>", added + b"</body></html>")
    assert with_html(entity, "<hr>", at_start=True).raw_body == html.replace(b"<body>", b"<body><hr>\n")


def test_html_without_end_tags_gets_it_at_its_end() -> None:
    assert with_html(part(b"<p>one", "text/html"), "<p>two").raw_body == b"<p>one\n<p>two\n"


@pytest.mark.parametrize("charset", ["utf-8", "utf-16", "utf-16be", "iso-2022-jp", "shift_jis", "utf-7"])
@pytest.mark.parametrize("encoding", ["base64", "quoted-printable"])
def test_html_in_any_charset_and_encoding(charset: str, encoding: str) -> None:
    html = "<html><body><p>日本 = 1</p></body></html>"
    content = html.encode(charset)
    body = base64.encodebytes(content) if encoding == "base64" else quopri.encodestring(content)
    new = with_html(part(body, f"text/html; charset={charset}", encoding), "<p>本</p>")
    expected = html.replace("</body>", "<p>本</p>\n</body>")
    assert new.content.decode(charset).replace("\r\n", "\n") == expected
    if encoding == "quoted-printable":
        assert all(len(line) <= 76 for line in new.raw_body.split(b"\n"))


# A byte order mark stays in front of whatever is added.
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\ufeff\r"), max_size=60)


@given(TEXT, TEXT, st.sampled_from(["quoted-printable", "base64", "8bit"]), st.booleans())
def test_what_was_there_is_found_beside_what_was_added(old: str, text: str, encoding: str, at_start: bool) -> None:
    content = old.encode()
    encoded = {"quoted-printable": quopri.encodestring(content), "base64": base64.encodebytes(content), "8bit": content}
    entity = part(encoded[encoding], encoding=encoding)
    new = TextEdit(entity, b"\n").with_text(text, at_start=at_start)
    assert new is not None
    added = parse(new).root.content
    assert added.endswith(entity.content) if at_start else added.startswith(entity.content)
    assert text.strip("\n").encode().split(b"\n")[0] in added
