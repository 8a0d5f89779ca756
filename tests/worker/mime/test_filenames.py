# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of a part: every candidate, canonical forms, extension."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defang_worker.mime import canonical, parse
from defang_worker.mime.filenames import extension
from defang_worker.mime.name_checks import name_findings


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Report.PDF", "report.pdf"),
        ("blocked.exe. . ", "blocked.exe"),
        ("  blocked  one\t.exe", "blocked one .exe"),
        ("..\\..\\blocked.exe", "blocked.exe"),
        ("/tmp/blocked.exe/", "blocked.exe"),
        ("C:blocked.exe", "blocked.exe"),
        ("blocked.exe::$DATA", "blocked.exe"),
        ("blo\rck\x00ed.e\x7fxe", "blocked.exe"),
        ("blocked-\u202efdp.exe", "blocked-fdp.exe"),
        ("blo\u200bcked\uff0e\uff45xe", "blocked.exe"),
        ("u\u0308ber.pdf", "\u00fcber.pdf"),
        ("...", ""),
        (":blocked.exe", "_blocked.exe"),
        ("dir/ :blocked.exe", "_blocked.exe"),
    ],
)
def test_canonical_form(name: str, expected: str) -> None:
    assert canonical(name) == expected


@given(st.text())
def test_canonical_form_is_found_for_any_text(name: str) -> None:
    form = canonical(name)
    assert not form.endswith((" ", "."))
    assert "/" not in form


def test_all_fields_give_names_and_the_disposition_comes_first() -> None:
    root = parse(
        b"Content-Type: application/x; name=type.txt\nContent-Disposition: attachment; filename=one.txt\n"
        b"Content-Disposition: attachment; filename=two.exe\n\n"
    ).root
    assert root.filename == "one.txt"
    assert root.filenames == ("one.txt", "two.exe", "type.txt")


def test_canonical_forms_follow_the_names_as_spelled() -> None:
    root = parse(b'Content-Disposition: attachment; filename="..\\\\Dir\\\\Blocked.EXE. "\n\n').root
    assert root.filenames == ("..\\Dir\\Blocked.EXE. ", "blocked.exe")
    assert root.extension == ".exe"


def test_a_name_with_a_nul_also_counts_up_to_it() -> None:
    root = parse(b"Content-Disposition: attachment; filename*=utf-8''a.exe%00.txt\n\n").root
    assert set(root.filenames) == {"a.exe\0.txt", "a.exe.txt", "a.exe"}


@pytest.mark.parametrize("name", [":x.exe", "a.txt:x.exe", "a:x.exe", "a.txt::x.exe", "dir/:x.exe"])
@pytest.mark.parametrize("form", ['filename="%s"', "filename=%s; x=y", "filename*=utf-8''%s"])
def test_a_name_with_a_colon_also_counts_as_it_is_saved(name: str, form: str) -> None:
    message = f"MIME-Version: 1.0\nContent-Disposition: attachment; {form % name}\n\nx\n"
    root = parse(message.encode()).root
    assert ".exe" in {extension(one) for one in root.filenames}


@pytest.mark.parametrize(
    ("name", "has_fault"),
    [(":x.exe", True), ("dir/ :x.exe", True), ("a.txt:x.exe", True), ("Re: notes.eml", False), ("10:30.png", False)],
)
def test_a_stream_of_a_file_is_a_fault_and_a_colon_in_a_title_is_none(name: str, has_fault: bool) -> None:
    assert ("name-stream-or-clsid" in name_findings(name)) == has_fault


def test_an_entity_without_names_has_an_empty_name() -> None:
    root = parse(b'Content-Disposition: attachment; filename="  "\n\n').root
    assert (root.filename, root.filenames, root.extension) == ("", (), "")


def test_patterns_are_searched_in_every_name() -> None:
    root = parse(b"Content-Type: x/y; name=A.EXE\nContent-Disposition: inline; filename=b.txt\n\n").root
    assert root.matches(r"\.exe$")
    assert root.matches(re.compile(r"\.EXE$"))
    assert not root.matches(re.compile(r"\.pif$"))
