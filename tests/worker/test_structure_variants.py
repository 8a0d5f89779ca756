# SPDX-License-Identifier: GPL-3.0-or-later
"""Encoded and embedded files in many spellings: each name and content is shown, and each has its defect.

The constructs' numbers are those of tests/worker/mime/corpus/constructs.tsv.
"""

from __future__ import annotations

import base64
import binascii
import quopri
from typing import TYPE_CHECKING, NamedTuple

import pytest

from defang_worker.mime import canonical
from defang_worker.mime.defects import DEFECTS, Severity
from defang_worker.structure.describe import describe
from tests.support.tnef_maker import ATTACHMENT, OBJECT, PROPERTIES, RENDERING, START, STRING, UNICODE
from tests.support.tnef_maker import attachment as tnef_attachment
from tests.support.tnef_maker import attribute as tnef_attribute
from tests.support.tnef_maker import properties as tnef_properties
from tests.worker.mime.test_binhex import block as binhex_block
from tests.worker.mime.test_binhex import letters as binhex_letters
from tests.worker.mime.test_yenc import block as yenc_block

if TYPE_CHECKING:
    from defang_worker.mime.archives import Member
    from defang_worker.structure.describe import Part, PartFacts

MARKER = b"MARKER-XYZZY"
WORDS = (
    b"Plain words, line 1, not a program.\r\nPlain words, line 2.\r\n" + MARKER + b"\r\nEnd of the harmless file.\r\n"
)
HEAD = b"From: Ann <ann@sender.example>\nTo: desk@gateway.example\nSubject: Plan\nMIME-Version: 1.0\n"
B64 = base64.encodebytes(WORDS)
LINES = B64.splitlines()
JOINED = B64.replace(b"\n", b"")


def mixed(*parts: bytes, more: bytes = b"") -> bytes:
    text = b"Content-Type: text/plain\n\nGood morning, see below.\n"
    body = b"".join(b"--b\n" + part + b"\n" for part in (text, *parts))
    return HEAD + b"Content-Type: multipart/mixed; boundary=b\n" + more + b"\n" + body + b"--b--\n"


def attached(body: bytes, encoding: bytes = b"base64", kind: bytes = b"application/octet-stream") -> bytes:
    declared = b"Content-Transfer-Encoding: " + encoding + b"\n" if encoding else b""
    name = b'Content-Disposition: attachment; filename="blocked.exe"\n'
    return mixed(b"Content-Type: " + kind + b"\n" + declared + name + b"\n" + body)


def text(body: bytes, encoding: bytes = b"", kind: bytes = b"text/plain; charset=us-ascii") -> bytes:
    declared = b"Content-Transfer-Encoding: " + encoding + b"\n" if encoding else b""
    return HEAD + b"Content-Type: " + kind + b"\n" + declared + b"\n" + body


def uu(content: bytes = WORDS, name: bytes = b"blocked.exe", *, backtick: bool = True) -> bytes:
    lines = [binascii.b2a_uu(content[at : at + 45], backtick=backtick) for at in range(0, len(content), 45)]
    return b"begin 644 " + name + b"\n" + b"".join(lines) + (b"`" if backtick else b" ") + b"\nend\n"


def tnef(content: bytes) -> bytes:
    return mixed(
        b"Content-Type: application/ms-tnef\nContent-Transfer-Encoding: base64\n"
        b'Content-Disposition: attachment; filename="winmail.dat"\n\n' + base64.encodebytes(content)
    )


INNER = mixed(
    b'Content-Type: application/pdf\nContent-Disposition: attachment; filename="blocked.exe"\n'
    b"Content-Transfer-Encoding: base64\n\n" + B64
)
INNER_PARTS = INNER.partition(b"\n\n")[2]


class Variant(NamedTuple):
    construct: str
    message: bytes
    names: tuple[str, ...] = ("blocked.exe",)
    markers: tuple[bytes, ...] = (MARKER,)


def of_length(rest: int) -> bytes:
    """Words whose base64 has that many bytes too many for whole quartets."""
    return WORDS + b"x" * ((rest - len(WORDS)) % 3)


def encoded(kind: bytes, encoding: bytes, body: bytes) -> bytes:
    return b"Content-Type: " + kind + b"\nContent-Transfer-Encoding: " + encoding + b"\n\n" + body


def quoted(content: bytes) -> bytes:
    return quopri.encodestring(content).replace(b"-", b"=2D")


SECOND = base64.encodebytes(b"words of the second run\r\n" + MARKER + b"\r\n")
FOOTED = base64.encodebytes(of_length(1))
BASE64_VARIANTS = {
    "E01": [
        b"\n".join(line[:20] + b"!*" + line[20:] for line in LINES),
        b"\n".join(line[:7] + b"\x80\xff" + line[7:] for line in LINES),
        b"\n".join(b"%" + line for line in LINES),
        b"\n".join(line[:40] + b" " + line[40:] for line in LINES),
        base64.urlsafe_b64encode(b"\xfb\xff\xbf" * 20 + WORDS),
    ],
    "E02": [
        base64.encodebytes(b"Plain words first.1") + SECOND,
        base64.encodebytes(b"Plain words first, more.1") + b"====\n" + B64,
        base64.encodebytes(b"Plain words, first1") + base64.encodebytes(b"2") + B64,
        base64.b64encode(b"1234567") + SECOND,
        b"====\n" + B64,
        JOINED[:30] + b"=" + JOINED[30:],
        JOINED[:31] + b"=" + JOINED[31:],
        JOINED[:32] + b"=" + JOINED[32:],
        FOOTED + base64.encodebytes(b"7777777") + base64.encodebytes(b"words"),
    ],
    "E03": [
        base64.encodebytes(of_length(1)).rstrip(b"=\n"),
        base64.encodebytes(of_length(2)).rstrip(b"=\n"),
        base64.encodebytes(of_length(0)).rstrip(b"\n") + b"Q",
        base64.encodebytes(of_length(0)).rstrip(b"\n")[:-3],
    ],
    "E04": [
        FOOTED + b"-- \nSent by the list\n",
        base64.encodebytes(of_length(0)) + b"-- \nSent by the list\n",
        FOOTED + b"_______________________\nlist@lists.example\n",
        FOOTED + b"\n\nThis mail was scanned.\n",
        b"Here comes the file:\n\n" + B64,
        b"Attached:\n" + b"the file\n\n" + FOOTED,
    ],
    "E05": [
        b"\n".join(JOINED[at : at + 1] for at in range(len(JOINED))),
        b"\n".join(JOINED[at : at + 4] for at in range(0, len(JOINED), 4)),
        b"\n\n".join(LINES),
        b"\n \n".join(LINES),
        base64.b64encode(WORDS * 20),
    ],
}
SPELLINGS = [
    b'"base64"',
    b"base64;",
    b"base64; x=y",
    b"base64,",
    b"'base64'",
    b"base 64",
    b"<base64>",
    b"base64 base64",
    b"base-64",
    b"base64.",
    b"base64;7bit",
    b"=?us-ascii?q?base64?=",
]
UNKNOWN = [b"x-base64", b"x-unknown", b" ", b"mime"]
UUENCODED = [
    text(b"Hello, here it is:\n\n" + uu() + b"\nBye\n"),
    text(uu(backtick=False).replace(b" \n", b"\n")),
    text(uu(b"1" * 70, b"note.txt") + b"and\n" + uu()),
    text(uu().replace(b"\nend\n", b"\n")),
    text(base64.encodebytes(b"Hello\n" + uu()), b"base64"),
    text(quopri.encodestring(b"Hello\n" + uu()), b"quoted-printable"),
    text(b"<p>Hello</p><pre>\n" + uu() + b"</pre>", kind=b"text/html"),
    mixed(b"Content-Type: text/x-log\n\n" + uu()),
    HEAD.replace(b"MIME-Version: 1.0\n", b"") + b"\nHello\n" + uu(),
    text(b"begin-base64 644 blocked.exe\n" + B64 + b"====\n"),
    mixed(b"Content-Type: message/rfc822\n\n" + text(uu())),
    mixed(b"Content-Type: application/octet-stream\n\n" + uu()),
]
BINARIES = [
    text(b"Hello\n\n" + binhex_block(WORDS) + b"\nBye\n"),
    mixed(b"Content-Type: application/mac-binhex40\n\n" + binhex_block(WORDS)),
    mixed(b"Content-Type: application/mac-binhex40\n\n" + binhex_letters(WORDS)),
    text(base64.encodebytes(binhex_block(WORDS, resource=b"more")), b"base64"),
    text(b"Hello\n" + yenc_block(WORDS) + b"Bye\n", b"8bit"),
    text(base64.encodebytes(b"Hello\n" + yenc_block(WORDS)), b"base64"),
    text(b"Hello\n" + yenc_block(WORDS).rpartition(b"=yend")[0], b"binary"),
]
MULTIPART = b"multipart/mixed; boundary=b"
ENCODED_CONTAINERS = {
    "E10": [
        HEAD + encoded(MULTIPART, b"base64", base64.encodebytes(INNER_PARTS)),
        HEAD + encoded(MULTIPART, b"quoted-printable", quoted(INNER_PARTS)),
        HEAD + encoded(MULTIPART, b"base64", INNER_PARTS),
        HEAD + encoded(MULTIPART, b"quoted-printable", INNER_PARTS),
        mixed(encoded(MULTIPART, b"base64", base64.encodebytes(INNER_PARTS))),
    ],
    "E11": [
        mixed(encoded(b"message/rfc822", b"base64", base64.encodebytes(INNER))),
        mixed(encoded(b"message/rfc822", b"quoted-printable", quoted(INNER))),
        mixed(encoded(b"message/rfc822", b"base64", INNER)),
    ],
}
BLOCKED = tnef_attachment(WORDS, b"blocked.exe\0")
LONG_NAMES = [
    tnef_properties((0x3707, STRING, b"blocked.exe\0")),
    tnef_properties((0x3707, UNICODE, "blocked.exe\0".encode("utf-16-le"))),
    tnef_properties((0x3001, STRING, b"blocked.exe\0")),
]
FORWARDED = tnef_properties((0x3001, STRING, b"Forwarded\0"), (0x3701, OBJECT, bytes(16) + START + BLOCKED))
STREAMS = [
    BLOCKED,
    tnef_attachment(b"1", b"one.txt\0") + BLOCKED,
    *(tnef_attachment(WORDS, b"B.EXE\0", (PROPERTIES, names)) for names in LONG_NAMES),
    *(tnef_attachment(WORDS, b"", (PROPERTIES, names)) for names in LONG_NAMES),
    tnef_attribute(ATTACHMENT, RENDERING, bytes(14)) + tnef_attribute(ATTACHMENT, PROPERTIES, FORWARDED),
]
VARIANTS = [
    *(Variant(construct, attached(body)) for construct, bodies in BASE64_VARIANTS.items() for body in bodies),
    *(Variant("E06", attached(B64, spelling)) for spelling in SPELLINGS),
    Variant("E06", attached(quoted(WORDS), b'"quoted-printable"')),
    Variant("E06", attached(quoted(WORDS), b"quoted printable")),
    *(Variant("E07", attached(B64, encoding)) for encoding in UNKNOWN),
    Variant("E07", attached(quoted(WORDS), b"x-quoted-printable")),
    Variant("E07", attached(uu(), b"x-uu-encoded")),
    Variant("E07", attached(WORDS, b"x-none")),
    Variant("E08", attached(b"=G7=4dARKER-=58YZZ=59\n", b"quoted-printable")),
    Variant("E08", attached(b"MARK=\t \nER-XYZZY\n", b"quoted-printable")),
    Variant("E08", attached(b"=4d=41RKER-XYZ=5aY\n", b"quoted-printable")),
    Variant("E08", attached(b"==4DARKER-XYZZY\n", b"quoted-printable")),
    Variant("E08", attached(b"MARKER=2-=2DXYZZY MARKER=2DXYZZY=\n", b"quoted-printable")),
    *(Variant("E09", message) for message in UUENCODED),
    Variant("E09", text(uu(name=b"a blocked.exe")), ("a blocked.exe",)),
    *(Variant(construct, message) for construct, messages in ENCODED_CONTAINERS.items() for message in messages),
    *(Variant("E12", message) for message in BINARIES),
    *(Variant("E13", attached(base64.encodebytes(WORDS * 3), encoding)) for encoding in (b"", b"7bit", b"binary")),
    Variant("E13", attached(JOINED, b"8bit")),
    *(Variant("T06", tnef(START + stream)) for stream in STREAMS),
    Variant(
        "T06", mixed(encoded(b"application/octet-stream; name=a.bin", b"base64", base64.encodebytes(START + BLOCKED)))
    ),
]
INFO = {construct.number for construct in DEFECTS.values() if construct.severity == Severity.INFO}
NUMBERED = [(f"{variant.construct}-{index}", variant) for index, variant in enumerate(VARIANTS)]


class Kept:
    """Keeps all contents."""

    def __init__(self) -> None:
        self.contents: list[bytes] = []

    def keep_member(self, part: Part, member: Member, content: bytes | None, *, is_whole: bool) -> None:
        self.contents.append(content or b"")

    def keep_part(self, part: Part, facts: PartFacts, content: bytes) -> None:
        self.contents.append(content)


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"], ids=["lf", "crlf"])
@pytest.mark.parametrize("variant", [variant for _, variant in NUMBERED], ids=[name for name, _ in NUMBERED])
def test_names_contents_and_defects_are_shown(variant: Variant, line_end: bytes) -> None:
    kept = Kept()
    message = variant.message.replace(b"\r\n", b"\n").replace(b"\n", line_end)
    facts = describe(message, kept)
    names = {canonical(name) for part in facts.parts for name in part.filenames}
    assert set(variant.names) <= names
    assert all(any(marker in content for content in kept.contents) for marker in variant.markers)
    worst = max((defect.severity for defect in facts.defects), default=None)
    if variant.construct in INFO:
        assert worst in {Severity.INFO, None}
    else:
        assert variant.construct in {DEFECTS[defect.name].number for defect in facts.defects}
        assert worst is not None
        assert worst >= Severity.LOW


BENIGN = [
    attached(B64),
    attached(B64 + b"\n\n"),
    attached(b"\n" + B64),
    attached(B64.replace(b"\n", b" \n")),
    attached(JOINED[:76]),
    attached(b"aGk="),
    attached(b""),
    attached(b"M=41RKER=\n", b"quoted-printable"),
    text(b"We begin 644 steps from here\nbegin 644 steps\nbegin the walk early\n"),
    text(b"begin 644 x\n\nTHE END\n"),
    text(b"It said (This file must be converted with BinHex 4.0), no more.\n:\n: a colon\n"),
    text(b"A line with =ybegin and =yend, nothing else.\n=y\n"),
    text(b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n"),
    text(b"VGhpc\n"),
]


@pytest.mark.parametrize("message", BENIGN, ids=range(len(BENIGN)))
def test_sound_mail_is_shown_without_defects(message: bytes) -> None:
    facts = describe(message)
    assert facts.defects == ()
    assert {part.view for part in facts.parts} == {"primary"}


def test_every_variant_counts() -> None:
    assert {variant.construct for variant in VARIANTS} == {f"E{number:02}" for number in range(1, 14)} | {"T06"}
