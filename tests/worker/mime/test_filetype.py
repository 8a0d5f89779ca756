# SPDX-License-Identifier: GPL-3.0-or-later
"""File types by content; the programs here are a few bytes of header and words."""

import struct
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defang_worker.mime.filetype import detected_type
from tests.support.archive_maker import by_libarchive, cabinet, rar5, tarred, zipped

CORPUS = Path(__file__).parent / "corpus"
# Less than a hundredth of it is needed.
ENOUGH_CPU_S = 5.0
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504)


def program(new_header_at: int) -> bytes:
    return b"MZ".ljust(60, b"\0") + struct.pack("<I", new_header_at) + bytes(new_header_at - 64) + b"PE\0\0 words"


def office(types: bytes = b"<Types/>", **parts: bytes) -> bytes:
    return zipped({"[Content_Types].xml": types, "word/document.xml": b"<w/>"} | parts)


BINARIES = [
    (program(128), "pe"),
    (program(100_000), "pe"),
    (b"MZ".ljust(60, b"\0") + b"\xff\xff\0\0 words", "dos"),
    (b"\x7fELF\x02\x01\x01 words", "elf"),
    (b"\xcf\xfa\xed\xfe words", "mach-o"),
    (b"\xca\xfe\xba\xbe\0\0\0\x02 words", "mach-o"),
    (b"\xca\xfe\xba\xbe\0\0\0\x34 words", "java-class"),
    (b"\x4c\0\0\0\x01\x14\x02\0\0\0\0\0\xc0\0\0\0\0\0\0\x46 words", "shortcut"),
    (b"ITSF\x03\0\0\0 words", "help"),
    (OLE, "ole"),
    (OLE + "_VBA_PROJECT".encode("utf-16-le"), "ole-macros"),
    (OLE + b"\x85\0\x0e\0\0\1\2\3\0\x01\x06\0Macro1", "ole-macros"),
    (OLE + b"\x84\x10\x0c\0\0\0\0\0\xc0\0\0\0\0\0\0\x46", "installer"),
    (bytes.fromhex("e4525c7b8cd8a74daeb15378d02996d3") + b"words", "onenote"),
    (b"{\\rtf1 words}", "rtf"),
    (b"%PDF-1.7 words", "pdf"),
    (b"\xff\xd8\xff\xe0 words", "image"),
    (b"GIF89a words", "image"),
    (b"RIFF\0\0\0\0WEBP words", "image"),
    (b"RIFF\0\0\0\0WAVE words", "audio"),
    (b"\0\0\0\x18ftypheic words", "image"),
    (b"\0\0\0\x18ftypmp42 words", "video"),
    (bytes(1024) + b"conectix".ljust(512, b"\0"), "disk-image"),
    (zipped({"a.txt": b"words"}), "zip"),
    (b"words before" + zipped({"a.txt": b"words"}), "zip"),
    (office(), "ooxml"),
    (office(**{"word/vbaProject.bin": b"words"}), "ooxml-macros"),
    (office(**{"xl/macrosheets/sheet1.xml": b"words"}), "ooxml-macros"),
    (office(b'<Override ContentType="application/vnd.ms-office.vbaProject"/>', **{"word/a.bin": b""}), "ooxml-macros"),
    (zipped({"mimetype": b"application/vnd.oasis.opendocument.text"}), "opendocument"),
    (
        zipped({"mimetype": b"application/vnd.oasis.opendocument.text", "Basic/script-lc.xml": b""}),
        "opendocument-macros",
    ),
    (zipped({"META-INF/MANIFEST.MF": b"", "A.class": b""}), "java-archive"),
    (tarred({"a.txt": b"words"}), "tar"),
    (tarred({"a.txt": b"words"}, "w:gz"), "gzip"),
    (by_libarchive({"a.txt": b"words"}, "7zip"), "7z"),
    (by_libarchive({"a.txt": b"words"}, "iso9660"), "iso"),
    (rar5({"a.txt": b"words"}), "rar"),
    (cabinet({"a.txt": b"words"}), "cab"),
]
TEXTS = [
    ("#!/bin/sh\necho words\n", "script"),
    ("@echo off\r\nstart words\r\n", "script"),
    ('\' a comment\r\nOn Error Resume Next\r\nSet s = CreateObject("Words.Shell")\r\n', "script"),
    ('var s = new ActiveXObject("Words.Shell");\n', "script"),
    ("$c = New-Object Net.Words\n$c.DownloadString('words')\n", "script"),
    ('<?xml version="1.0"?><job id="x"><script language="VBScript">words</script></job>', "script"),
    ("Windows Registry Editor Version 5.00\r\n", "registry"),
    ("[InternetShortcut]\r\nURL=http://words.example/\r\n", "shortcut"),
    ("<html><head><HTA:APPLICATION id=x></head></html>", "hta"),
    ("<!DOCTYPE html>\n<html>words</html>", "html"),
    ("<?xml version='1.0'?><!-- words --><svg>words</svg>", "svg"),
    ("<?xml version='1.0'?><package>words</package>", "unknown"),
    ('Good morning,\n\nplease run: Set s = CreateObject("Words.Shell")\n', "unknown"),
    ("Dear all,\n\nif you use new ActiveXObject('x') then stop.\n", "unknown"),
    ("MZ is how programs begin.\n", "unknown"),
    ("BMW and BZh and PK are words.\n", "unknown"),
    ("", "unknown"),
]


@pytest.mark.parametrize(("data", "expected"), BINARIES)
def test_types_by_magic(data: bytes, expected: str) -> None:
    assert detected_type(data) == expected


@pytest.mark.parametrize(("text", "expected"), TEXTS)
@pytest.mark.parametrize("charset", ["utf-8", "utf-8-sig", "utf-16"])
def test_types_of_texts_in_any_charset(text: str, expected: str, charset: str) -> None:
    assert detected_type(text.encode(charset)) == expected


def test_mail_is_no_program() -> None:
    for file in CORPUS.glob("*.eml"):
        assert detected_type(file.read_bytes()) in {"unknown", "zip"}


@given(st.binary(max_size=200), st.sampled_from([b"", *(data[:40] for data, _ in BINARIES)]))
def test_any_bytes_have_a_type(tail: bytes, start: bytes) -> None:
    assert detected_type(start + tail)


@pytest.mark.parametrize(
    "text",
    [b"<" * 40_000, b"<!--" * 9_000, b"<script " * 5_000, b" \n\t" * 12_000 + b"x", b"rem " * 9_000, b"a." * 20_000],
)
def test_no_text_makes_the_search_long(text: bytes) -> None:
    begun = time.process_time()
    assert {detected_type(b"/" + text), detected_type(text)} <= {"unknown", "html"}
    assert time.process_time() - begun < ENOUGH_CPU_S
