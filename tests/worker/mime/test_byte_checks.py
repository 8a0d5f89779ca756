# SPDX-License-Identifier: GPL-3.0-or-later
"""Odd bytes are found wherever they stand, also around and between the lines of a large attachment."""

import base64
import random
from collections.abc import Callable

import pytest

from defang_worker.mime import parse
from defang_worker.mime.views import examine
from defang_worker.trial.mta_message import as_crlf

LINES = base64.encodebytes(random.Random(1).randbytes(180_000))
PART = b'--b\nContent-Type: application/pdf; name="a.pdf"\nContent-Transfer-Encoding: base64\n\n'
TOP = b"Subject: x\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n"
MESSAGE = TOP + b"--b\n\nHello you\n" + PART + LINES + PART + LINES + b"--b\n\nBye\n--b--\n"
OF_BYTES = {"nul-byte", "line-too-long", "bare-cr", "double-cr", "bare-lf"}


def found_in(message: bytes) -> set[str]:
    return {defect.name for defect in examine(parse(message)).defects} & OF_BYTES


def line_ends(message: bytes) -> list[int]:
    """A few places of line ends: in header and text, at the ends of both attachments and inside them."""
    first, second = message.index(LINES[:60]), message.rindex(LINES[:60])
    wanted = [
        5,
        first - 20,
        first + 100,
        first + 100_000,
        second - 120,
        second + 78,
        second + 200_000,
        len(message) - 3,
    ]
    return [message.index(b"\n", at) for at in wanted]


def test_an_attachment_in_regular_lines_has_no_odd_byte() -> None:
    assert found_in(MESSAGE) == set()
    assert found_in(as_crlf(MESSAGE)) == set()


@pytest.mark.parametrize("nth", range(8))
def test_an_odd_line_end_is_found_wherever_it_stands(nth: int) -> None:
    at = line_ends(MESSAGE)[nth]
    assert "bare-lf" in found_in(MESSAGE[:at] + b"\r\n" + MESSAGE[at + 1 :])
    assert "bare-cr" in found_in(MESSAGE[:at] + b"\n\rx" + MESSAGE[at + 1 :])
    assert "nul-byte" in found_in(MESSAGE[: at + 1] + b"\0" + MESSAGE[at + 1 :])
    crlf = as_crlf(MESSAGE)
    at = line_ends(crlf)[nth]
    assert "bare-lf" in found_in(crlf[: at - 1] + crlf[at:])
    assert "double-cr" in found_in(crlf[:at] + b"\r" + crlf[at:])
    assert "bare-cr" in found_in(crlf[: at + 1] + b"x\ry" + crlf[at + 1 :])
    assert "nul-byte" in found_in(crlf[: at + 1] + b"\0" + crlf[at + 1 :])
    assert "line-too-long" in found_in(crlf[: at + 1] + b"x" * 1_000 + crlf[at + 1 :])


@pytest.mark.parametrize("nth", range(8))
@pytest.mark.parametrize("spelled", [bytes, as_crlf], ids=["lf", "crlf"])
def test_an_odd_delimiter_is_found_wherever_it_stands(nth: int, spelled: Callable[[bytes], bytes]) -> None:
    at = line_ends(MESSAGE)[nth] + 1
    examination = examine(parse(spelled(MESSAGE[:at] + b" --b\n" + MESSAGE[at:])))
    assert "boundary-whitespace" in {defect.name for defect in examination.defects}


@pytest.mark.parametrize("is_crlf", [False, True])
def test_an_attachment_with_line_ends_of_its_own_is_found(is_crlf: bool) -> None:
    start = MESSAGE.rindex(LINES[:60])
    before, after = MESSAGE[:start], MESSAGE[start + len(LINES) :]
    message = as_crlf(before) + LINES + as_crlf(after) if is_crlf else before + as_crlf(LINES) + after
    assert found_in(message) == {"bare-lf"}


@pytest.mark.parametrize("size", [10, 3_000, 5_000, 57 * 2_048, 57 * 2_048 + 1, 180_000])
@pytest.mark.parametrize("spelled", [bytes, as_crlf], ids=["lf", "crlf"])
def test_the_content_of_an_examined_attachment_is_what_was_sent(size: int, spelled: Callable[[bytes], bytes]) -> None:
    sent = random.Random(size).randbytes(size)
    tree = parse(spelled(TOP + PART + base64.encodebytes(sent) + b"--b--\n"))
    assert examine(tree).defects == ()
    assert tree.root.children[0].content == sent
