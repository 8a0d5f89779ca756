# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading: structure, offsets, limits, and bytes that no mail program would write."""

import sys
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defang_worker.mime import Entity, Limits, Tree, parse


def shape(entity: Entity) -> object:
    """The tree as nested lists of content types; a leaf is its type alone."""
    return [entity.content_type, *map(shape, entity.children)] if entity.children else entity.content_type


def mixed(*parts: bytes, boundary: bytes = b"b", end: bytes = b"--b--\n") -> bytes:
    head = b"From: ann@a.example\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=" + boundary + b"\n\n"
    return head + b"".join(b"--" + boundary + b"\n" + part + b"\n" for part in parts) + end


def leaves(tree: Tree) -> list[bytes]:
    return [leaf.content for leaf in tree.leaves()]


def test_parts_are_byte_ranges_of_the_message() -> None:
    message = mixed(b"Content-Type: text/plain\n\none\n", b"\ntwo")
    one, two = parse(message).root.children
    assert (one.raw, one.raw_body) == (b"Content-Type: text/plain\n\none\n", b"one\n")
    assert message[one.start : one.header_end] == b"Content-Type: text/plain\n"
    assert message[one.delimiter : one.start] == b"--b\n"
    assert (two.raw, two.raw_body, two.header_end) == (b"\ntwo", b"two", two.start)


def test_the_line_end_before_a_delimiter_belongs_to_the_delimiter() -> None:
    message = mixed(b"\none", b"\ntwo").replace(b"\n", b"\r\n")
    assert leaves(parse(message)) == [b"one", b"two"]


def test_a_message_without_mime_is_one_leaf() -> None:
    root = parse(b"Subject: hi\n\nbody\n--b\nmore\n").root
    assert root.is_leaf
    assert (root.content_type, root.content) == ("text/plain", b"body\n--b\nmore\n")


@pytest.mark.parametrize(
    ("message", "header_end", "body"),
    [
        (b"", 0, b""),
        (b"\nbody", 0, b"body"),
        (b"\r\nbody", 0, b"body"),
        (b"A: b", 4, b""),
        (b"A: b\n", 5, b""),
        (b"A: b\n\n", 5, b""),
        (b"A: b\r\n\r\nx", 6, b"x"),
        (b"A: b\r\r\n\r\r\nx", 7, b"x"),
    ],
)
def test_header_ends_at_the_first_empty_line(message: bytes, header_end: int, body: bytes) -> None:
    root = parse(message).root
    assert (root.header_end, root.raw_body) == (header_end, body)


def test_preamble_and_epilogue_are_no_parts() -> None:
    message = mixed(b"\none").replace(b"\n\n--b", b"\n\npreamble\n--b") + b"epilogue\n--b\n\nthree\n"
    assert leaves(parse(message)) == [b"one"]


def test_a_delimiter_at_once_after_another_begins_no_part_of_its_own() -> None:
    tree = parse(mixed(end=b"--b\n--b\n--b\n\none\n--b\n--b\n\n--b\n--b--\n"))
    assert [(part.raw, part.start - part.delimiter) for part in tree.root.children] == [
        (b"\none", 12),
        (b"", 8),
        (b"", 4),
    ]


def test_a_delimiter_of_another_multipart_at_once_after_one_ends_that_part() -> None:
    inner = b"Content-Type: multipart/mixed; boundary=i\n\n--i\n--b\n\ntwo\n--b--\n"
    tree = parse(mixed(end=b"--b\n" + inner))
    assert [part.number for part in tree.walk()] == ["", "1", "1.1", "2"]


def test_a_delimiter_ends_a_header() -> None:
    tree = parse(mixed(b"Content-Type: text/html", b"\ntwo"))
    html = tree.root.children[0]
    assert (html.content_type, html.raw, html.body_start) == ("text/html", b"Content-Type: text/html", html.end)
    assert leaves(tree) == [b"", b"two"]


def test_a_body_without_a_blank_line_before_it_is_no_header() -> None:
    tree = parse(mixed(b"Content-Type: text/html\n<p>one", b"X: y\n two: z\ntwo: 2\nthree\nfour: 4"))
    assert tree.root.children[0].content_type == "text/html"
    assert leaves(tree) == [b"<p>one", b"three\nfour: 4"]


def test_lines_above_the_blank_line_that_are_no_fields_are_body_unless_a_field_follows() -> None:
    tree = parse(
        mixed(b"Content-Type: text/html\n<p>one\n<p>two\n\nthree", b"no field\nContent-Type: text/html\n\nfour")
    )
    assert leaves(tree) == [b"<p>one\n<p>two\n\nthree", b"four"]
    assert [leaf.content_type for leaf in tree.leaves()] == ["text/html", "text/html"]


@pytest.mark.parametrize("message", [b"A: b\nno field\n\nbody", b"A: b\nno field\n"])
def test_the_header_of_the_message_itself_ends_at_the_blank_line_alone(message: bytes) -> None:
    assert parse(message).root.raw_body == message.partition(b"\n\n")[2]


def test_a_delimiter_at_once_after_the_header_begins_a_part() -> None:
    tree = parse(mixed(b"Content-Type: multipart/mixed; boundary=c\n\n--c\n\nin\n--c--"))
    assert shape(tree.root) == ["multipart/mixed", ["multipart/mixed", "text/plain"]]


def test_blanks_after_a_delimiter_are_padding_and_other_text_is_not() -> None:
    assert leaves(parse(mixed(b"\none", end=b"--b \t \n\ntwo\n--bx\n--b x\n--b--  \n"))) == [
        b"one",
        b"two\n--bx\n--b x",
    ]


def test_a_missing_terminator_ends_the_part_at_the_end() -> None:
    tree = parse(mixed(b"\none", end=b"--b\n\ntwo\n"))
    assert leaves(tree) == [b"one", b"two\n"]
    assert tree.root.close_start == -1


def test_an_inner_multipart_without_terminator_ends_at_the_outer_delimiter() -> None:
    inner = b"Content-Type: multipart/alternative; boundary=i\n\n--i\n\none\n--i\n\ntwo"
    tree = parse(mixed(inner, b"\nthree"))
    assert shape(tree.root) == ["multipart/mixed", ["multipart/alternative", "text/plain", "text/plain"], "text/plain"]
    assert leaves(tree) == [b"one", b"two", b"three"]


def test_the_innermost_multipart_owns_a_boundary_that_two_have() -> None:
    inner = b"Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--b--"
    assert shape(parse(mixed(inner, b"\ntwo")).root) == [
        "multipart/mixed",
        ["multipart/mixed", "text/plain"],
        "text/plain",
    ]


@pytest.mark.parametrize("inner", [b"bx", b"b--", b"b-"])
def test_a_boundary_may_begin_with_another(inner: bytes) -> None:
    part = b"Content-Type: multipart/mixed; boundary=%b\n\n--%b\n\none\n--%b--" % (inner, inner, inner)
    assert shape(parse(mixed(part, b"\ntwo")).root) == [
        "multipart/mixed",
        ["multipart/mixed", "text/plain"],
        "text/plain",
    ]


def test_attached_messages_are_opened() -> None:
    attached = b"Content-Type: message/rfc822\n\nSubject: in\nContent-Type: text/html\n\n<p>"
    tree = parse(mixed(attached, b"\ntwo"))
    assert shape(tree.root) == ["multipart/mixed", ["message/rfc822", "text/html"], "text/plain"]
    message = tree.root.children[0].children[0]
    assert message.headers.get("subject") == b"in"
    assert message.is_message_root
    assert not tree.root.children[0].is_message_root


def test_parts_of_a_digest_are_messages_unless_they_say_otherwise() -> None:
    message = mixed(b"\nSubject: one\n\nfirst", b"Content-Type: text/plain\n\nno message").replace(b"mixed", b"digest")
    tree = parse(message)
    assert shape(tree.root) == ["multipart/digest", ["message/rfc822", "text/plain"], "text/plain"]
    assert leaves(tree) == [b"first", b"no message"]


@pytest.mark.parametrize(
    ("field", "is_opened"),
    [
        (b'message/partial; id="x"; number=1; total=2', True),
        (b'message/partial; id="x"; number=2; total=2', False),
        (b"message/partial", True),
        (b"message/external-body; access-type=local-file; name=/tmp/x.exe", True),
        (b"message/delivery-status", False),
    ],
)
def test_which_messages_are_opened(field: bytes, is_opened: bool) -> None:
    root = parse(b"Content-Type: " + field + b"\n\nContent-Type: text/html\n\nx\n").root
    assert root.is_leaf is not is_opened


def test_an_attached_message_in_base64_is_opened_and_marked() -> None:
    encoded = b"U3ViamVjdDogaW4KQ29udGVudC1UeXBlOiB0ZXh0L2h0bWw7IG5hbWU9eC5leGUKCmJvZHkK"
    fields = b"Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\n"
    tree = parse(mixed(fields + encoded, b"\ntwo"))
    host = tree.root.children[0]
    assert shape(tree.root) == ["multipart/mixed", ["message/rfc822", "text/html"], "text/plain"]
    assert host.inner is not None
    assert host.children[0].filename == "x.exe"
    assert leaves(tree) == [b"body\n", b"two"]


def test_delimiters_in_plain_sight_count_more_than_a_declared_encoding() -> None:
    message = mixed(b"\none").replace(b"\n\n", b"\nContent-Transfer-Encoding: base64\n\n", 1)
    tree = parse(message)
    assert leaves(tree) == [b"one"]
    assert tree.root.inner is None


@pytest.mark.parametrize(
    ("value", "content_type"),
    [
        (b"TEXT/Html; charset=x", "text/html"),
        (b"text / html", "text/html"),
        (b"(really) text/html (x)", "text/html"),
        (b"multipart; boundary=b", "multipart/mixed"),
        (b"text", "application/octet-stream"),
        (b"", "application/octet-stream"),
        (b"; name=x", "application/octet-stream"),
    ],
)
def test_content_types(value: bytes, content_type: str) -> None:
    assert parse(b"Content-Type: " + value + b"\n\n").root.content_type == content_type


def test_part_numbers_are_those_of_imap() -> None:
    attached = b"Content-Type: message/rfc822\n\n" + mixed(b"\nx", boundary=b"i", end=b"--i\n\ny\n--i--")
    tree = parse(mixed(b"\none", attached, b"Content-Type: message/rfc822\n\nSubject: s\n\nz"))
    assert [leaf.number for leaf in tree.leaves()] == ["1", "2.1", "2.2", "3.1"]
    assert tree.root.number == ""
    assert parse(b"\nx").root.number == "1"


# Limits


@pytest.mark.parametrize(
    ("limits", "message", "outcome"),
    [
        (Limits(max_parts=3), mixed(b"\n1", b"\n2"), None),
        (Limits(max_parts=3), mixed(b"\n1", b"\n2", b"\n3"), "parts"),
        (Limits(max_parts=1), b"Content-Type: message/rfc822\n\nSubject: x\n\ny", "parts"),
        (Limits(max_depth=1), mixed(mixed(b"\n1")), "depth"),
        (Limits(max_depth=2), mixed(mixed(b"\n1")), None),
        (Limits(max_header_bytes=10), b"Subject: a long one\n\n", "header-size"),
        (Limits(max_header_fields=2), b"A: 1\nB: 2\nC: 3\n\n", "header-count"),
        (Limits(max_header_fields=2), b"A: 1\nB: 2\n 2\n\n", None),
        (
            Limits(max_nested_bytes=3),
            b"Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\nU3ViamVjdDogaW4K\n",
            "nested-size",
        ),
    ],
)
def test_a_limit_that_is_hit_has_a_name(limits: Limits, message: bytes, outcome: str | None) -> None:
    assert parse(message, limits).limit_exceeded == outcome


def test_header_fields_beyond_the_limit_are_not_listed() -> None:
    assert len(parse(b"A: b\n" * 10 + b"\n", Limits(max_header_fields=4)).root.headers.fields) == 4
    assert len(parse(b"A: b\n" * 10 + b"\n", Limits(max_header_bytes=25)).root.headers.fields) == 5


def test_depth_needs_no_recursion() -> None:
    depth = 10_000
    nested = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (i, i) for i in range(depth))
    tree = parse(nested, Limits(max_depth=depth + 1, max_parts=depth + 2))
    assert tree.limit_exceeded is None
    assert sum(1 for _ in tree.walk()) == depth + 1
    assert parse(nested).limit_exceeded == "depth"


def test_a_hundred_thousand_parts_are_bounded_by_the_limit() -> None:
    message = mixed(end=b"--b\n\n" * 100_000)
    tree = parse(message)
    assert (tree.limit_exceeded, tree.part_count) == ("parts", Limits().max_parts)
    assert parse(message, Limits(max_parts=200_000)).part_count == 100_001


def test_a_large_message_is_not_copied() -> None:
    message = mixed(b"\nsmall", b"Content-Type: application/zip\n\n" + b"QUJDREVGR0g=\n" * 400_000)
    tracemalloc.start()
    try:
        parse(message)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 100_000


# Any bytes

FRAGMENTS = [
    b"\n", b"\r\n", b"\r", b"\n\n", b"--b", b"--b--", b"--c", b"--c--", b" ", b"x", b"\0", b"\xff", b"=",
    b"Content-Type: multipart/mixed; boundary=b\n", b"Content-Type: multipart/digest; boundary=c\n",
    b"Content-Type: message/rfc822\n", b"Content-Transfer-Encoding: base64\n", b"LS1iCgo=\n",
    b'Content-Disposition: attachment; filename="a.exe\n', b"Subject: x\n",
]  # fmt: skip
MAIL_LIKE = st.lists(st.sampled_from(FRAGMENTS), max_size=40).map(b"".join)


@given(st.one_of(st.binary(max_size=400), MAIL_LIKE))
def test_any_bytes_give_a_tree_whose_ranges_fit(message: bytes) -> None:
    tree = parse(message)
    for entity in tree.walk():
        assert 0 <= entity.start <= entity.header_end <= entity.body_start <= entity.end <= len(entity.source.buffer)
        assert isinstance(entity.content, bytes)
        assert isinstance(entity.text, str)
        assert all(isinstance(name, str) for name in entity.filenames)
        assert isinstance(entity.disposition + entity.charset + entity.extension + entity.number, str)
        parent = entity.parent
        if parent is not None and parent.source is entity.source:
            assert parent.body_start <= entity.start <= entity.end <= parent.end
    siblings = [pair for entity in tree.walk() for pair in zip(entity.children, entity.children[1:], strict=False)]
    assert all(one.end <= two.delimiter < two.start for one, two in siblings)


_LINES = (
    b"--b\n",
    b"--b \n",
    b"--b--\n",
    b"--x\n",
    b"--c\n",
    b"--c--\n",
    b"--b\r\n",
    b"x\n",
    b"\n",
    b"--bc\n",
    b"--b x\n",
)
_ROWS = (
    *_LINES,
    b"Content-Type: multipart/mixed; boundary=c\n\n",
    b"----\n",
    b"--\n",
    b"--b\nSubject: x\n\nhi\n",
    b"--b",
)


@given(rows=st.lists(st.tuples(st.sampled_from(_ROWS), st.sampled_from([1, 2, 210, 1300])), max_size=9))
def test_long_rows_of_lines_with_dashes_come_out_as_if_read_one_by_one(rows: list[tuple[bytes, int]]) -> None:
    body = b"".join(line * count for line, count in rows)
    message = b"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n" + body

    def facts() -> list[tuple[object, ...]]:
        tree = parse(message)
        return [
            (entity.start, entity.header_end, entity.body_start, entity.end, entity.delimiter, entity.close_start)
            for entity in tree.walk()
        ] + [(tree.limit_exceeded, tuple(tree.strays))]

    with pytest.MonkeyPatch.context() as patch:
        found = facts()
        # The package's attribute of that name is the function.
        patch.setattr(sys.modules["defang_worker.mime.parse"], "_ROW_LINES", len(message))
        assert found == facts()
