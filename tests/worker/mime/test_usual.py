# SPDX-License-Identifier: GPL-3.0-or-later
# ruff: noqa: E501  # values side by side
"""What is skipped for headers and texts of the usual form is what would have found nothing."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defang_worker.mime import parse, views
from defang_worker.mime.body_checks import BodyChecks
from defang_worker.mime.contents import is_mere_text
from defang_worker.mime.usual import UsualHeader, usual_header
from tests.worker.mime.odd_variants import odd_variants
from tests.worker.mime.test_false_alarms import BENIGN
from tests.worker.mime.variants import variants

PARSER = sys.modules["defang_worker.mime.parse"]
BODIES = sys.modules[BodyChecks.__module__]
CORPUS = [path.read_bytes() for path in sorted((Path(__file__).parent / "corpus").glob("*.eml"))]
MESSAGES = [
    *CORPUS,
    *(variant.message for variant in [*variants(), *odd_variants()]),
    *(case[1].encode("latin-1") for case in BENIGN),
]


@contextmanager
def every_check() -> Iterator[None]:
    """Nothing is taken for usual."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PARSER, "usual_header", lambda _: None)
        patch.setattr(views, "is_mere_text", lambda *_: False)
        patch.setattr(BODIES, "is_mere_text", lambda *_: False)
        yield


def outcome(message: bytes) -> list[object]:
    tree = parse(message)
    examination = views.examine(tree)
    entities = [
        (
            entity.content_type,
            entity.boundary,
            (entity.start, entity.header_end, entity.body_start, entity.end),
            (entity.filenames, entity.disposition, entity.charset, entity.transfer_encoding),
            (entity.defects, entity.content),
        )
        for entity in tree.walk()
    ]
    shadows = [(shadow.view, shadow.filenames, shadow.content_type, shadow.content) for shadow in examination.shadows]
    return [entities, shadows, examination.defects, examination.incomplete, tree.limit_exceeded]


def assert_nothing_is_skipped_that_counts(message: bytes) -> None:
    found = outcome(message)
    with every_check():
        assert found == outcome(message)


def test_all_samples_come_out_the_same_with_every_check() -> None:
    for message in MESSAGES:
        lf = message.replace(b"\r\n", b"\n")
        for spelled in {message, lf, lf.replace(b"\n", b"\r\n")}:
            assert_nothing_is_skipped_that_counts(spelled)


def samples_with_a_byte_changed() -> st.SearchStrategy[bytes]:
    small = [message for message in MESSAGES if len(message) < 4_000]

    def changed(message: bytes, at: int, put: bytes, length: int) -> bytes:
        at %= len(message)
        return message[:at] + put + message[at + length :]

    odd = st.sampled_from(
        [b"", b"\n", b"\r", b":", b";", b'"', b"=", b" ", b"\t", b"'", b"\\", b"\0", b"\x85", b"\xc3"]
    )
    return st.builds(changed, st.sampled_from(small), st.integers(0, 4_000), odd, st.integers(0, 2))


@given(message=samples_with_a_byte_changed())
def test_damaged_samples_come_out_the_same_with_every_check(message: bytes) -> None:
    assert_nothing_is_skipped_that_counts(message)


NAMES = st.sampled_from(
    [
        b"Content-Type",
        b"content-type",
        b"Content-Transfer-Encoding",
        b"Content-Disposition",
        b"MIME-Version",
        b"Content-Location",
        b"Content-ID",
        b"Content-Type ",
        b"X-Content-Type",
        b"Subject",
        b"-",
        b"\xef\xbb\xbfX",
        b"",
    ]
)
OWN_VALUES = st.sampled_from(
    [
        b"text/plain",
        b"TEXT/HTML",
        b"application/pdf",
        b"multipart/mixed",
        b"multipart/digest",
        b"message/rfc822",
        b"message/partial",
        b"attachment",
        b"Inline",
        b"form-data",
        b"base64",
        b"7bit",
        b"quoted-printable",
        b"Base64 ",
        b"8bit",
        b"x",
        b"1.0",
        b"1.1",
        b"text",
        b"a.exe",
        b"",
        b"(x)",
        b"text/plain,",
    ]
)
PARAMETER_NAMES = st.sampled_from(
    [b"name", b"filename", b"FileName", b"boundary", b"charset", b"name*", b"filename*0", b"size", b"n ame", b""]
)
VALUES = st.sampled_from(
    [
        b"b",
        b'"b"',
        b'"b "',
        b'""',
        b"''",
        b"'b'",
        b'"a.pdf"',
        b"a.pdf",
        b'"A.PDF"',
        b'"a.exe."',
        b'" a  b.txt "',
        b'"..\\\\a"',
        b'"a/b"',
        b'"C:a"',
        b'"a:b"',
        b'"a.pdf.exe"',
        b'"=?utf-8?q?x?="',
        b"=?x",
        b'"a;name=b"',
        b"utf-8",
        b'"\xc3\xbc"',
        b'"a\tb"',
        b'"a',
        b"a b",
        b"a/b",
        b'"%41"',
        b"utf-8''%41",
        b'"CON"',
        b'"' + b"x" * 80 + b'"',
    ]
)
SEPARATORS = st.sampled_from([b"; ", b";", b" ;\n ", b";\n\t", b";;", b" ", b",", b"; \n "])
ENDS = st.sampled_from([b"\n", b"\n", b"\n", b"\r\n", b" \n", b";\n", b"\n \n", b"\n x\n", b"\x0b\n", b"\r\r\n"])
PARAMETERS = st.lists(
    st.builds(lambda separator, name, value: separator + name + b"=" + value, SEPARATORS, PARAMETER_NAMES, VALUES),
    max_size=3,
).map(b"".join)
FIELDS = st.builds(
    lambda name, colon, own, parameters, end: name + colon + own + parameters + end,
    NAMES,
    st.sampled_from([b": ", b":", b":\n ", b": \n\t"]),
    OWN_VALUES,
    PARAMETERS,
    ENDS,
)
HEADERS = st.lists(FIELDS, max_size=4).map(b"".join)
BODIES_OF_ALL_KINDS = st.lists(
    st.sampled_from(
        [
            b"\n",
            b"\r\n",
            b" ",
            b":",
            b"Dear B.",
            b"From ",
            b"From here",
            b">From x\n",
            b"Content-Type: a/b\n",
            b"a: b\n",
            b"begin 644 x\n#86)C\n`\nend\n",
            b"PK",
            b"PK\x03\x04",
            b"BZh9",
            b'x\x9f>"',
            b"\0",
            b"\xef\xbb\xbf",
            b"=41",
            b"QUJD" * 12 + b"\n",
            b"=ybegin line=1 size=1 name=x\n",
            b"MIME-Version: 1.0\n",
            b"--b\n",
            b"--b--\n",
            b"w" * 50,
            b"(This file must be converted with BinHex 4.0)\n:",
            b"\xc3\xbc",
            b"\x1f\x8b",
            b"<html>",
            b"Subject: x\n",
        ]
    ),
    max_size=6,
).map(b"".join)


@given(outer=HEADERS, inner=HEADERS, text=BODIES_OF_ALL_KINDS, body=BODIES_OF_ALL_KINDS)
def test_any_headers_and_bodies_come_out_the_same_with_every_check(
    outer: bytes, inner: bytes, text: bytes, body: bytes
) -> None:
    top = b"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n"
    assert_nothing_is_skipped_that_counts(top + b"\n--b\n" + inner + b"\n" + body + b"\n--b--\n")
    assert_nothing_is_skipped_that_counts(outer + b"\n" + text + b"\n--b\n" + inner + b"\n" + body + b"\n--b--\n")


USUAL = [
    (b"", "", "", ()),
    (b"Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n", "text/plain", "", ()),
    (b"content-type:TEXT/html;\r\n charset=UTF-8; format=flowed\r\n", "text/html", "", ()),
    (b"X: h=from:content-type:mime-version;\n\tb=xyz\nContent-Type: text/plain\n", "text/plain", "", ()),
    (b'Content-Disposition: attachment; filename="a b.pdf"\nContent-Type: a/b; name="a b.pdf"\n', "a/b", "attachment", ("a b.pdf",)),
    (b"Content-Type: a/b; name=A.PDF\nContent-Disposition: INLINE\nContent-ID: <1@x>\n", "a/b", "inline", ("A.PDF",)),
]  # fmt: skip


@pytest.mark.parametrize(("header", "content_type", "disposition", "names"), USUAL)
def test_the_usual_form_is_known(header: bytes, content_type: str, disposition: str, names: tuple[str, ...]) -> None:
    usual = usual_header(header)
    assert isinstance(usual, UsualHeader)
    assert ((usual.opening.content_type or ""), usual.disposition, usual.filenames) == (
        content_type,
        disposition,
        names,
    )


def test_a_usual_multipart_has_its_boundary() -> None:
    usual = usual_header(b'Content-Type: multipart/mixed;\n boundary="=_a b"; charset=utf-8\nMIME-Version: 1.0\n')
    assert usual is not None
    assert (usual.opening.boundary, usual.charset, usual.has_version) == (b"=_a b", "utf-8", True)


@pytest.mark.parametrize(
    "content",
    [b"Dear B.,\n", b"\r\n\r\nHello you\n", b"<html>", b"Gr\xc3\xbc\xc3\x9fe\n", b"a word: and more\n"[:6] + b"s\n"],
)
def test_mere_text_is_known(content: bytes) -> None:
    assert is_mere_text(b"x\n" + content, 2, len(content) + 2)
    assert not is_mere_text(content + b"\nbegin", 0, len(content) + 6)
