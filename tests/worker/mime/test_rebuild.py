# SPDX-License-Identifier: GPL-3.0-or-later
"""Changed messages: the edit and nothing but the edit, byte for byte."""

import mmap
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defang_worker.mime import Entity, HeaderChange, Piece, Rebuild, Rebuilt, Tree, entity, parse, text_entity
from defang_worker.mime.protected import EditRefused

NEW = b"Content-Type: text/html\n\n<p>new"
REMOVED = b"The content of this message was removed.\n"

HEAD = b"From: ann@a.example\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n"
BODY = b"preamble\n--b\n\none\n--b\nContent-Type: text/html\n\n<p>two\n--b\nX: 3\n\nthree\n--b--\nepilogue\n"


def rebuilt(message: bytes, edit: Callable[[Tree, Rebuild], object]) -> Rebuilt:
    tree = parse(message)
    rebuild = Rebuild(tree)
    edit(tree, rebuild)
    return rebuild.result()


def body_after(body: bytes, edit: Callable[[Tree, Rebuild], object], head: bytes = HEAD) -> bytes:
    result = rebuilt(head + body, edit)
    assert (result.content_type, result.header_changes) == (None, ())
    assert result.size == len(result.to_bytes())
    return result.to_bytes()


def with_header(message: bytes, result: Rebuilt) -> bytes:
    """Return the message that a mail server makes of `result`."""
    root = parse(message).root
    fields = [(name, value) for name, value in root.headers.items()]
    for change in result.header_changes:
        found = [at for at, (name, _) in enumerate(fields) if name.lower() == change.name.encode().lower()]
        if change.value is None:
            del fields[found[change.occurrence - 1]]
        elif found:
            fields[found[change.occurrence - 1]] = (change.name.encode(), change.value.encode())
        else:
            fields.append((change.name.encode(), change.value.encode()))
    if result.content_type is not None:
        fields = [(name, value) for name, value in fields if name.lower() != b"content-type"]
        fields.append((b"Content-Type", result.content_type.encode()))
    return b"".join(b"%b: %b\n" % field for field in fields) + b"\n" + result.to_bytes()


# Parts of a multipart


@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_dropped_part_goes_with_its_delimiter(index: int) -> None:
    parts = [b"--b\n\none\n", b"--b\nContent-Type: text/html\n\n<p>two\n", b"--b\nX: 3\n\nthree\n"]
    expected = BODY.replace(parts[index], b"")
    assert body_after(BODY, lambda tree, rebuild: rebuild.drop(tree.root.children[index])) == expected


@pytest.mark.parametrize(
    ("index", "old"), [(0, b"\none"), (1, b"Content-Type: text/html\n\n<p>two"), (2, b"X: 3\n\nthree")]
)
def test_a_replaced_part_keeps_its_delimiters(index: int, old: bytes) -> None:
    expected = BODY.replace(old + b"\n--b", NEW + b"\n--b")
    assert body_after(BODY, lambda tree, rebuild: rebuild.replace(tree.root.children[index], NEW)) == expected


@pytest.mark.parametrize(("index", "before"), [(0, b"--b\n\none"), (2, b"--b\nX: 3"), (-1, b"--b--"), (9, b"--b--")])
def test_a_part_is_inserted_before_the_wanted_one(index: int, before: bytes) -> None:
    expected = BODY.replace(before, b"--b\n" + NEW + b"\n" + before)
    assert body_after(BODY, lambda _, rebuild: rebuild.insert(NEW, index)) == expected


def test_parts_for_the_same_place_keep_their_order() -> None:
    def edit(_: Tree, rebuild: Rebuild) -> None:
        for name in (b"\n1", b"\n2", b"\n3"):
            rebuild.insert(name)

    assert body_after(BODY, edit) == BODY.replace(b"--b--", b"--b\n\n1\n--b\n\n2\n--b\n\n3\n--b--")


def test_the_last_wish_for_a_part_counts_and_keep_takes_wishes_back() -> None:
    tree = parse(HEAD + BODY)
    rebuild = Rebuild(tree)
    one, two, _ = tree.root.children
    rebuild.drop(one)
    rebuild.replace(one, NEW)
    rebuild.drop(two)
    rebuild.keep(two)
    assert rebuild.is_changed
    assert rebuild.result().to_bytes() == BODY.replace(b"--b\n\none", b"--b\n" + NEW)
    rebuild.keep(one)
    assert not rebuild.is_changed
    assert rebuild.result().to_bytes() == BODY


def test_crlf_messages_get_crlf() -> None:
    def edit(tree: Tree, rebuild: Rebuild) -> None:
        rebuild.replace(tree.root.children[0], NEW)
        rebuild.drop(tree.root.children[1])
        rebuild.insert(NEW)

    crlf = body_after(BODY.replace(b"\n", b"\r\n"), edit, HEAD.replace(b"\n", b"\r\n"))
    assert crlf == body_after(BODY, edit).replace(b"\n", b"\r\n")


def test_dropping_every_part_leaves_a_short_text() -> None:
    def edit(tree: Tree, rebuild: Rebuild) -> None:
        for child in tree.root.children:
            rebuild.drop(child)

    body = body_after(BODY, edit)
    tree = parse(HEAD + body)
    assert body.startswith(b"preamble\n--b\n")
    assert body.endswith(b"\n--b--\nepilogue\n")
    assert [leaf.content for leaf in tree.leaves()] == [REMOVED]


def test_a_part_added_in_the_place_of_all_others_stands_alone() -> None:
    def edit(tree: Tree, rebuild: Rebuild) -> None:
        for child in tree.root.children:
            rebuild.drop(child)
        rebuild.insert(NEW)

    assert body_after(BODY, edit) == b"preamble\n--b\n" + NEW + b"\n--b--\nepilogue\n"


# Damaged framing


def test_a_missing_terminator_is_added_when_the_end_is_changed() -> None:
    body = b"--b\n\none\n--b\n\ntwo\n"
    assert body_after(body, lambda _, rebuild: rebuild.insert(NEW)) == body + b"\n--b\n" + NEW + b"\n--b--\n"
    assert body_after(body, lambda tree, rebuild: rebuild.drop(tree.root.children[1])) == b"--b\n\none\n--b--\n"
    replaced = body_after(body, lambda tree, rebuild: rebuild.replace(tree.root.children[1], NEW))
    assert replaced == b"--b\n\none\n--b\n" + NEW + b"\n--b--\n"


def test_a_missing_terminator_stays_missing_when_another_part_is_changed() -> None:
    body = b"--b\n\none\n--b\n\ntwo\n"
    assert body_after(body, lambda tree, rebuild: rebuild.drop(tree.root.children[0])) == b"--b\n\ntwo\n"


def test_an_inner_multipart_without_terminator_gets_one_before_the_outer_delimiter() -> None:
    inner = b"Content-Type: multipart/mixed; boundary=i\n\n--i\n\none\n--i\n\ntwo"
    body = b"--b\n" + inner + b"\n--b\n\nthree\n--b--\n"
    dropped = body_after(body, lambda tree, rebuild: rebuild.drop(tree.root.children[0].children[1]))
    assert dropped == body.replace(b"--i\n\ntwo", b"--i--")


def test_an_empty_part_between_delimiters_can_be_replaced() -> None:
    def edit(tree: Tree, rebuild: Rebuild) -> None:
        for child in tree.root.children:
            rebuild.replace(child, NEW)

    replaced = body_after(b"--b\n\n--b\n--b--\n", edit)
    assert replaced == b"--b\n" + NEW + b"\n--b\n" + NEW + b"\n--b--\n"


def test_delimiters_at_once_after_one_another_go_with_their_part() -> None:
    body = b"--b\n\none\n--b\n--b\n\ntwo\n--b--\n"
    assert body_after(body, lambda tree, rebuild: rebuild.drop(tree.root.children[1])) == b"--b\n\none\n--b--\n"


def test_a_delimiter_without_line_end_gets_one() -> None:
    body = b"--b\n\none\n--b"
    replaced = body_after(body, lambda tree, rebuild: rebuild.replace(tree.root.children[1], NEW))
    assert replaced == b"--b\n\none\n--b\n" + NEW + b"\n--b--\n"


# Nested parts and messages


def test_other_parts_of_a_nested_multipart_keep_their_bytes() -> None:
    signed = b"Content-Type: multipart/signed; boundary=s\n\n--s\n\n one =  \n--s\nContent-Type: x/y\n\nsig\n--s--"
    body = b"--b\n" + signed + b"\n--b\nContent-Type: multipart/mixed; boundary=i\n\n--i\n\nx\n--i\n\ny\n--i--\n--b--\n"
    after = body_after(body, lambda tree, rebuild: rebuild.drop(tree.root.children[1].children[0]))
    assert after == body.replace(b"--i\n\nx\n", b"")


def test_changes_inside_a_dropped_container_are_no_changes() -> None:
    def edit(tree: Tree, rebuild: Rebuild) -> None:
        rebuild.drop(tree.root.children[0])
        rebuild.replace(tree.root.children[0].children[0], NEW)

    body = b"--b\nContent-Type: multipart/mixed; boundary=i\n\n--i\n\nx\n--i--\n--b\n\ny\n--b--\n"
    assert body_after(body, edit) == b"--b\n\ny\n--b--\n"


def test_dropping_all_parts_of_a_nested_multipart_leaves_a_short_text_there() -> None:
    body = b"--b\nContent-Type: multipart/mixed; boundary=i\n\n--i\n\nx\n--i--\n--b\n\ny\n--b--\n"
    after = body_after(body, lambda tree, rebuild: rebuild.drop(tree.root.children[0].children[0]))
    assert [leaf.content for leaf in parse(HEAD + after).leaves()] == [REMOVED, b"y"]


def test_an_attached_message_keeps_its_header_when_its_content_goes() -> None:
    attached = b"Subject: in\n there\nContent-Type: text/html\n\n<p>"
    body = b"--b\nContent-Type: message/rfc822\n\n" + attached + b"\n--b--\n"

    def edit(tree: Tree, rebuild: Rebuild) -> None:
        rebuild.drop(tree.root.children[0].children[0])

    message = parse(HEAD + body_after(body, edit)).root.children[0].children[0]
    assert message.headers.get("subject") == b"in there"
    assert message.headers.get("mime-version") == b"1.0"
    assert (message.content_type, message.content) == ("text/plain", REMOVED)


def test_parts_of_an_encoded_message_are_changed_in_their_encoding() -> None:
    inside = HEAD + BODY
    body = b"--b\n" + entity("application/octet-stream", inside).replace(b"application/octet-stream", b"message/rfc822")
    body += b"\n--b--\n"

    def edit(tree: Tree, rebuild: Rebuild) -> None:
        rebuild.drop(tree.root.children[0].children[0].children[1])

    host = parse(HEAD + body_after(body, edit)).root.children[0]
    assert host.transfer_encoding == "base64"
    assert host.content == HEAD + BODY.replace(b"--b\nContent-Type: text/html\n\n<p>two\n", b"")


# The message itself

SINGLE = (
    b"From: ann@a.example\nContent-Type: text/html;\n charset=utf-8\nContent-Language: de\nSubject: x\n"
    b"Content-Transfer-Encoding: quoted-printable\ncontent-language: en\n\n<p>=3D\n"
)


def test_adding_to_a_single_part_message_wraps_it() -> None:
    result = rebuilt(SINGLE, lambda _, rebuild: rebuild.insert(NEW))
    assert result.content_type is not None
    assert result.header_changes == (
        HeaderChange("Content-Language", 2, None),
        HeaderChange("Content-Language", 1, None),
        HeaderChange("Content-Transfer-Encoding", 1, None),
    )
    tree = parse(with_header(SINGLE, result))
    assert [name for name, _ in tree.root.headers.items()] == [b"From", b"Subject", b"Content-Type"]
    old, new = tree.root.children
    assert old.raw == (
        b"Content-Type: text/html;\n charset=utf-8\nContent-Language: de\n"
        b"Content-Transfer-Encoding: quoted-printable\ncontent-language: en\n\n<p>=3D\n"
    )
    assert new.raw == NEW


def test_adding_before_the_content_of_a_single_part_message() -> None:
    tree = parse(with_header(SINGLE, rebuilt(SINGLE, lambda _, rebuild: rebuild.insert(NEW, 0))))
    assert [leaf.content for leaf in tree.leaves()] == [b"<p>new", b"<p>=\n"]


def test_a_multipart_that_is_not_mixed_is_wrapped_whole() -> None:
    message = (HEAD + BODY).replace(b"mixed", b"alternative")
    tree = parse(with_header(message, rebuilt(message, lambda _, rebuild: rebuild.insert(NEW))))
    assert tree.root.content_type == "multipart/mixed"
    assert tree.root.children[0].raw == b"Content-Type: multipart/alternative; boundary=b\n\n" + BODY
    assert tree.root.children[1].raw == NEW


def test_parts_may_go_from_a_multipart_that_is_wrapped() -> None:
    def edit(tree: Tree, rebuild: Rebuild) -> None:
        rebuild.insert(NEW)
        rebuild.drop(tree.root.children[1])

    message = (HEAD + BODY).replace(b"mixed", b"alternative")
    tree = parse(with_header(message, rebuilt(message, edit)))
    assert [leaf.content for leaf in tree.leaves()] == [b"one", b"three", b"<p>new"]


def test_a_mixed_message_whose_boundary_never_occurs_is_wrapped() -> None:
    message = HEAD + b"just text\n"
    tree = parse(with_header(message, rebuilt(message, lambda _, rebuild: rebuild.insert(NEW))))
    assert [leaf.raw_body for leaf in tree.leaves()] == [b"just text\n", b"<p>new"]


def test_dropping_the_content_of_a_single_part_message_leaves_a_short_text() -> None:
    result = rebuilt(SINGLE, lambda tree, rebuild: rebuild.drop(tree.root))
    assert result.to_bytes() == REMOVED
    assert result.content_type == "text/plain; charset=us-ascii"
    tree = parse(with_header(SINGLE, result))
    assert tree.root.headers.all("content-language") == []
    assert tree.root.text == REMOVED.decode()


def test_replacing_the_content_of_a_single_part_message_brings_its_fields() -> None:
    new = text_entity("Grüße\n", filename="a.txt")
    tree = parse(with_header(SINGLE, rebuilt(SINGLE, lambda tree, rebuild: rebuild.replace(tree.root, new))))
    assert (tree.root.content_type, tree.root.filename, tree.root.text) == ("text/plain", "a.txt", "Grüße\n")
    assert tree.root.headers.get("subject") == b"x"


def test_an_added_part_takes_the_place_of_dropped_content() -> None:
    def edit(tree: Tree, rebuild: Rebuild) -> None:
        rebuild.drop(tree.root)
        rebuild.insert(NEW)

    tree = parse(with_header(SINGLE, rebuilt(SINGLE, edit)))
    assert (tree.root.content_type, tree.root.content) == ("text/html", b"<p>new")


def test_replaced_content_and_added_parts_become_a_multipart() -> None:
    def edit(tree: Tree, rebuild: Rebuild) -> None:
        rebuild.replace(tree.root, NEW)
        for index, new in ((-1, b"\n3"), (0, b"\n1"), (0, b"\n2"), (-1, b"\n4")):
            rebuild.insert(new, index)

    tree = parse(with_header(SINGLE, rebuilt(SINGLE, edit)))
    assert tree.root.content_type == "multipart/mixed"
    assert [leaf.content for leaf in tree.leaves()] == [b"1", b"2", b"<p>new", b"3", b"4"]


def test_a_message_without_mime_fields_is_wrapped_as_plain_text() -> None:
    message = b"Subject: x\n\nbody\n"
    result = rebuilt(message, lambda _, rebuild: rebuild.insert(NEW))
    assert result.header_changes == ()
    assert parse(with_header(message, result)).root.children[0].raw == b"\nbody\n"


# Output


def test_untouched_bytes_are_not_copied(tmp_path: Path) -> None:
    attachment = b"QUJDREVGR0g=\n" * 100_000
    message = HEAD + b"--b\n\none\n--b\nContent-Type: x/y\n\n" + attachment + b"--b--\n"
    path = tmp_path / "message"
    path.write_bytes(message)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        tree = parse(mapped)
        rebuild = Rebuild(tree)
        rebuild.replace(tree.root.children[0], NEW)
        result = rebuild.result()
        assert sum(piece.end - piece.start for piece in result.pieces if piece.buffer is not mapped) == len(NEW)
        with (tmp_path / "body").open("wb") as output:
            result.write(output.fileno())
    assert (tmp_path / "body").read_bytes() == message[len(HEAD) :].replace(b"\none", NEW)


def test_a_pipe_that_takes_little_at_a_time_gets_everything() -> None:
    pieces = tuple(Piece(b"%06d" % number * 50, number % 7, 300) for number in range(3000))
    result = Rebuilt(pieces=pieces, content_type=None, header_changes=())
    reader, writer = os.pipe()
    received = bytearray()

    def drain() -> None:
        with os.fdopen(reader, "rb") as file:
            while chunk := file.read1(4096):
                received.extend(chunk)

    thread = threading.Thread(target=drain)
    thread.start()
    try:
        result.write(writer)
    finally:
        os.close(writer)
        thread.join(10)
    assert bytes(received) == result.to_bytes()
    assert len(received) == result.size


# Any message


@given(st.binary(max_size=300))
def test_without_a_change_any_bytes_come_back(message: bytes) -> None:
    tree = parse(message)
    result = Rebuild(tree).result()
    assert message[: tree.root.body_start] + result.to_bytes() == message
    assert (result.content_type, result.header_changes) == (None, ())


TEXT = st.text("ab-=\n", max_size=20).map(lambda text: text.replace("--", "-").encode())


def multipart(parts: list[bytes], kind: bytes, *, is_closed: bool) -> bytes:
    boundary = b"b%d" % (sum(map(len, parts)) + len(parts))  # the sum is larger than any inside
    text = b"Content-Type: multipart/%b; boundary=%b\n\n" % (kind, boundary)
    text += b"".join(b"--%b\n%b\n" % (boundary, part) for part in parts)
    return text + b"--%b--" % boundary if is_closed else text[:-1]


def nested(parts: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    kinds = st.sampled_from([b"mixed", b"alternative"])
    many = st.lists(parts, min_size=1, max_size=4)
    return st.one_of(
        st.builds(lambda inner, kind, closed: multipart(inner, kind, is_closed=closed), many, kinds, st.booleans()),
        parts.map(lambda part: b"Content-Type: message/rfc822\n\nSubject: in\n" + part),
    )


ENTITIES = st.recursive(TEXT.map(lambda text: b"Content-Type: text/html\n\n" + text), nested, max_leaves=10)


def expected_leaves(part: Entity, edits: dict[Entity, bytes | None]) -> list[bytes]:
    if part in edits:
        new = edits[part]
        if new is None:
            return [REMOVED] if part.is_message_root else []
        return [parse(new).root.content]
    if part.is_leaf:
        return [part.content]
    found = [content for child in part.children for content in expected_leaves(child, edits)]
    return found or [REMOVED]


@given(ENTITIES, st.data(), st.booleans())
def test_parsing_after_a_change_shows_exactly_the_change(message: bytes, data: st.DataObject, is_crlf: bool) -> None:
    message = b"Subject: x\n" + message
    if is_crlf:
        message = message.replace(b"\n", b"\r\n")
    tree = parse(message)
    chosen = data.draw(st.lists(st.sampled_from(list(tree.walk())), max_size=4, unique=True))
    edits = {part: data.draw(st.sampled_from([None, NEW])) for part in chosen}
    rebuild = Rebuild(tree)
    for part, new in edits.items():
        if new is None:
            rebuild.drop(part)
        else:
            rebuild.replace(part, new)
    additions = data.draw(st.lists(st.sampled_from([0, -1]), max_size=3))
    for index in additions:
        rebuild.insert(b"Content-Type: x/y\n\nadded", index)

    after = parse(with_header(message, rebuild.result()))

    kept = [] if edits.get(tree.root, NEW) is None and additions else expected_leaves(tree.root, edits)
    if tree.root.content_type == "multipart/mixed" and additions and kept == [REMOVED]:
        kept = [content for child in tree.root.children for content in expected_leaves(child, edits)]
    before, behind = ([b"added"] * additions.count(index) for index in (0, -1))
    shown = [leaf.content.replace(b"\r\n", b"\n") for leaf in after.leaves()]
    assert shown == before + [content.replace(b"\r\n", b"\n") for content in kept] + behind


# A part that is left alone in its container

ALTERNATIVE = (
    b"--b\nX: 1\nContent-Type: text/plain;\n charset=utf-8\n\none\n--b\nContent-Type: text/html\n\n<p>two\n--b--\n"
)


def collapsed(message: bytes, edit: Callable[[Tree, Rebuild], object]) -> Rebuilt:
    tree = parse(message)
    rebuild = Rebuild(tree, collapse=True)
    edit(tree, rebuild)
    return rebuild.result()


def test_the_last_part_becomes_the_message_if_wanted() -> None:
    message = HEAD.replace(b"mixed", b"alternative") + ALTERNATIVE
    result = collapsed(message, lambda tree, rebuild: rebuild.drop(tree.root.children[1]))
    assert result.content_type == "text/plain; charset=utf-8"
    assert result.to_bytes() == b"one\n"
    kept = rebuilt(message, lambda tree, rebuild: rebuild.drop(tree.root.children[1]))
    assert kept.content_type is None


def test_the_last_part_becomes_the_message_with_its_replacement() -> None:
    def edit(tree: Tree, rebuild: Rebuild) -> None:
        rebuild.drop(tree.root.children[0])
        rebuild.replace(tree.root.children[1], NEW)

    result = collapsed(HEAD + ALTERNATIVE, edit)
    assert (result.content_type, result.to_bytes()) == ("text/html", b"<p>new")


def test_the_last_part_takes_the_place_of_an_inner_container() -> None:
    inner = b"Content-Type: multipart/alternative; boundary=b\n\n" + ALTERNATIVE
    body = b"--o\n" + inner + b"\n--o\n\nthree\n--o--\n"
    head = HEAD.replace(b"=b", b"=o")
    result = collapsed(head + body, lambda tree, rebuild: rebuild.drop(tree.root.children[0].children[1]))
    assert result.to_bytes() == b"--o\nX: 1\nContent-Type: text/plain;\n charset=utf-8\n\none\n--o\n\nthree\n--o--\n"


def test_containers_in_one_another_collapse_together() -> None:
    inner = b"Content-Type: multipart/alternative; boundary=b\n\n" + ALTERNATIVE
    message = HEAD.replace(b"=b", b"=o") + b"--o\n" + inner + b"\n--o\n\nthree\n--o--\n"

    def edit(tree: Tree, rebuild: Rebuild) -> None:
        rebuild.drop(tree.root.children[0].children[1])
        rebuild.drop(tree.root.children[1])

    result = collapsed(message, edit)
    assert (result.content_type, result.to_bytes()) == ("text/plain; charset=utf-8", b"one\n")


def test_an_attached_message_that_collapses_keeps_its_own_fields() -> None:
    attached = HEAD.replace(b"mixed", b"alternative") + ALTERNATIVE
    message = b"Content-Type: message/rfc822\n\n" + attached
    result = collapsed(message, lambda tree, rebuild: rebuild.drop(tree.root.children[0].children[1]))
    inner = parse(message[: message.index(b"\n\n") + 2] + result.to_bytes()).root.children[0]
    assert [name for name, _ in inner.headers.items()] == [b"From", b"MIME-Version", b"Content-Type"]
    assert (inner.content_type, inner.content) == ("text/plain", b"one")


@pytest.mark.parametrize("kind", [b"related", b"digest", b"report"])
def test_a_container_that_says_something_of_its_own_does_not_collapse(kind: bytes) -> None:
    message = HEAD.replace(b"mixed", kind) + ALTERNATIVE
    assert collapsed(message, lambda tree, rebuild: rebuild.drop(tree.root.children[1])).content_type is None


def test_a_container_that_came_with_one_part_does_not_collapse() -> None:
    message = HEAD + b"--b\n\none\n--b--\n"
    result = collapsed(message, lambda tree, rebuild: rebuild.replace(tree.root.children[0], NEW))
    assert result.content_type is None


# Signed and encrypted parts

SIGNED = b"Content-Type: multipart/signed; boundary=s\n\n--s\nContent-Type: multipart/mixed; boundary=i\n\n"
SIGNED += b"--i\n\none\n--i\n\ntwo\n--i--\n--s\nContent-Type: x/y\n\nsig\n--s--"


@pytest.mark.parametrize("path", [(0,), (1,), (0, 1)])
def test_no_part_inside_a_signed_one_is_touched(path: tuple[int, ...]) -> None:
    tree = parse(HEAD + b"--b\n" + SIGNED + b"\n--b--\n")
    part = tree.root.children[0]
    for index in path:
        part = part.children[index]
    for edit in (Rebuild.drop, lambda rebuild, one: rebuild.change_fields(one, {"Content-ID": "<1@b.example>"})):
        rebuild = Rebuild(tree)
        edit(rebuild, part)
        with pytest.raises(EditRefused, match=r"part 1"):
            rebuild.result()


def test_a_signed_part_may_go_as_a_whole_whatever_was_wanted_inside() -> None:
    def edit(tree: Tree, rebuild: Rebuild) -> None:
        rebuild.drop(tree.root.children[0].children[0].children[0])
        rebuild.drop(tree.root.children[0])

    assert body_after(b"--b\n" + SIGNED + b"\n--b\n\nx\n--b--\n", edit) == b"--b\n\nx\n--b--\n"


def test_adding_to_a_signed_message_wraps_it_and_keeps_its_bytes() -> None:
    result = rebuilt(b"From: a\n" + SIGNED, lambda _, rebuild: rebuild.insert(NEW))
    assert SIGNED in result.to_bytes()


# Header fields alone


def test_header_fields_of_a_large_part_are_changed_without_a_copy_of_its_body() -> None:
    attachment = b"QUJDREVGR0g=\n" * 10_000
    fields = b"X: 1\nContent-Type: a/b; name=x.exe\ncontent-disposition: attachment\nContent-Disposition : inline\n"
    message = HEAD + b"--b\n" + fields + b"\n" + attachment + b"--b--\n"
    changes = {"Content-Type": 'c/d;\n name="x.bin"', "Content-Disposition": None, "Content-ID": "<1@b.example>"}
    result = rebuilt(message, lambda tree, rebuild: rebuild.change_fields(tree.root.children[0], changes))
    header = b'X: 1\nContent-Type: c/d;\n name="x.bin"\nContent-ID: <1@b.example>\n'
    assert result.to_bytes() == b"--b\n" + header + b"\n" + attachment + b"--b--\n"
    assert sum(piece.end - piece.start for piece in result.pieces if piece.buffer is not message) == len(header)


@pytest.mark.parametrize("part", [b"\none", b"one", b"", b"X: 1\n\none"])
def test_a_part_gets_its_first_header_field(part: bytes) -> None:
    message = HEAD + b"--b\n" + part + b"\n--b--\n"
    content = parse(message).root.children[0].content
    result = rebuilt(
        message, lambda tree, rebuild: rebuild.change_fields(tree.root.children[0], {"Content-Type": "a/b"})
    )
    changed = parse(HEAD + result.to_bytes()).root.children[0]
    assert (changed.content_type, changed.content) == ("a/b", content)


def test_header_fields_of_the_message_are_changed_by_the_mail_server() -> None:
    changes = {"Content-Language": "fr", "Content-Transfer-Encoding": "quoted-printable", "Content-ID": "<1@b.example>"}
    result = rebuilt(SINGLE, lambda tree, rebuild: rebuild.change_fields(tree.root, changes))
    assert result.content_type is None
    assert result.header_changes == (
        HeaderChange("Content-Language", 2, None),
        HeaderChange("Content-Language", 1, "fr"),
        HeaderChange("Content-ID", 1, "<1@b.example>"),
    )


# Text outside of parts


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_text_outside_of_parts_goes_and_the_parts_stay(newline: bytes) -> None:
    inner = b"Content-Type: multipart/mixed; boundary=i\n\nbefore\n--i\n\none\n--i--\nafter"
    body = (b"preamble\n--b\n" + inner + b"\n--b\n\ntwo\n--b--\nepilogue\n").replace(b"\n", newline)
    head = HEAD.replace(b"\n", newline)

    def edit(tree: Tree, rebuild: Rebuild) -> None:
        rebuild.clear_outside(tree.root)
        rebuild.clear_outside(tree.root.children[0])

    expected = body
    for text in (b"preamble\n", b"before\n", b"\nafter", b"epilogue\n"):
        expected = expected.replace(text.replace(b"\n", newline), b"")
    assert body_after(body, edit, head) == expected
