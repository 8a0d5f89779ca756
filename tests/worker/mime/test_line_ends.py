# SPDX-License-Identifier: GPL-3.0-or-later
"""Other spellings of line ends: each run of CR is replaced, and nothing else."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defang_worker.mime import parse
from defang_worker.mime.line_ends import other_line_ends
from defang_worker.mime.views import examine

BARE_CR = re.compile(rb"\r+(?!\n)|\r+(?=\r\n)")
REPLACED = {"cr-as-line-end": b"\n", "cr-removed": b"", "cr-as-blank": b" "}
TEXT = (
    "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
    "--b\r\nContent-Type: text/plain\r\n\r\n{}\r\n--b--\r\n"
)


@pytest.mark.parametrize("text", [b"", b"a\r\nb\n", b"\r\n\r\n", b"\1\2\1\3\r\n"])
def test_text_without_odd_line_ends_has_one_spelling(text: bytes) -> None:
    assert list(other_line_ends(text)) == []


@given(st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"x", b"\1", b"\2", b"\3"])))
def test_runs_of_cr_are_replaced_but_for_those_of_line_ends(pieces: list[bytes]) -> None:
    text = b"".join(pieces)
    for name, make in other_line_ends(text):
        assert make(text) == BARE_CR.sub(REPLACED[name], text)


def test_one_bare_cr_leaves_a_large_message_within_the_limits() -> None:
    """Each spelling of its line ends, and each content in it, is looked at."""
    message = TEXT.format("words\rand more\r\n" + "ordinary words\r\n" * 200_000).encode()
    examination = examine(parse(message))
    assert examination.incomplete is None
    assert {shadow.view for shadow in examination.shadows} == set(REPLACED)
