# SPDX-License-Identifier: GPL-3.0-or-later
"""Header fields as long as they may be, made so that a careless expression would try every place in them.

Quadratic, each of these takes minutes; the time limit that every test has is what they would fail by.
"""

from __future__ import annotations

import pytest

from defang_worker.mime.parse import parse
from defang_worker.mime.tree import Limits
from defang_worker.mime.views import examine

ROOM_BYTES = Limits().max_header_bytes - 1_000
TYPE, NAME = b"Content-Type: ", b"Content-Type: application/x; name="


@pytest.mark.parametrize(
    ("head", "piece", "tail"),
    [
        (NAME, b'\\"', b""),
        (NAME + b'"', b'\\"', b""),
        (NAME + b'"', b'\\"', b'"'),
        (NAME + b'"x"', b"a", b"="),
        (TYPE, b"a", b"!=1"),
        (TYPE, b"a/ ", b"("),
        (TYPE, b"-", b""),
        (TYPE, b"=?utf-8?q?a?=", b""),
        (TYPE, b"a\n ", b""),
        (TYPE + b"a/b; ", b"a", b"!=1"),
        (TYPE + b"a/b; ", b"a", b"\xff=1"),
        (b"Content-Disposition: attachment; filename*0=", b'\\"', b""),
    ],
)
def test_long_fields_are_examined_in_linear_time(head: bytes, piece: bytes, tail: bytes) -> None:
    field = head + piece * (ROOM_BYTES // len(piece)) + tail
    tree = parse(b"From: a@example.com\n" + field + b"\n\nx\n")
    assert tree.root.header_end > len(field)
    assert examine(tree).defects
