# SPDX-License-Identifier: GPL-3.0-or-later
"""The canonical rebuild: one reading is left, and a second rebuild finds nothing to do."""

import base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defang_worker.mime import HeaderChange, Limits, Rebuild, Tree, canonical, entity, parse
from defang_worker.mime.canonical_fields import canonical_value, safe_name
from defang_worker.mime.canonical_rebuild import CannotRebuild
from defang_worker.mime.one_reading import delivered, examined, rebuilt, second_reading
from defang_worker.mime.protected import EditRefused
from defang_worker.mime.views import examine
from tests.worker.mime.variants import Variant, variants

CORPUS = Path(__file__).parent / "corpus"
MESSAGES = sorted(CORPUS.glob("*.eml"))
NEW = b"Content-Type: text/html\n\n<p>new"
HEAD = b"From: ann@a.example\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n"

# What no rewriting makes whole, or keeps valid, and header fields that no mail server could be told to change.
REFUSED = {
    "T01": "fragment",
    "T11": "signed or encrypted",
    "T12": "signed or encrypted",
    "H06": "misspelt",
    "L05": "misspelt",
}


def again(tree: Tree) -> bytes:
    """The message after its canonical rebuild."""
    examine(tree)
    return delivered(tree, Rebuild(tree).canonical_result())


@pytest.mark.parametrize("is_crlf", [True, False])
@pytest.mark.parametrize("path", MESSAGES, ids=lambda path: path.stem)
def test_one_reading_is_left_and_a_second_rebuild_changes_nothing(path: Path, is_crlf: bool) -> None:
    message = path.read_bytes() if is_crlf else path.read_bytes().replace(b"\r\n", b"\n")
    tree = parse(message)
    examine(tree)
    if path.stem in REFUSED:
        with pytest.raises(CannotRebuild, match=REFUSED[path.stem]):
            Rebuild(tree).canonical_result()
        return
    result = Rebuild(tree).canonical_result()
    assert second_reading(examined(tree, result)) is None
    once = delivered(tree, result)
    again_tree = parse(once)
    examine(again_tree)
    second = Rebuild(again_tree).canonical_result()
    assert (second.content_type, second.header_changes) == (None, ())
    assert delivered(again_tree, second) == once


@pytest.mark.parametrize("path", MESSAGES, ids=lambda path: path.stem)
def test_an_attached_sample_has_one_reading_left_too(path: Path) -> None:
    outer = HEAD.replace(b"=b", b"=outermost").replace(b"\n", b"\r\n")
    outer += b"--outermost\r\nContent-Type: message/rfc822\r\n\r\n%b\r\n--outermost--\r\n" % path.read_bytes()
    tree = parse(outer)
    examine(tree)
    if path.stem == "T01":
        with pytest.raises(CannotRebuild, match="fragment"):
            Rebuild(tree).canonical_result()
        return
    assert second_reading(examined(tree, Rebuild(tree).canonical_result())) is None


# At the top there is also what a mail server could not be told to change, in front of or in the header.
REFUSED_AT_THE_TOP = {"B17", "H06", "H16", "L03", "L05", "L06", "L08", "T01", "T09"}
REFUSED_INSIDE = {"T01", "T09"}


@pytest.mark.parametrize("variant", variants(), ids=lambda variant: variant.construct)
@pytest.mark.parametrize("is_attached", [False, True])
def test_every_variant_has_one_reading_left_or_is_refused(variant: Variant, is_attached: bool) -> None:
    outer = HEAD.replace(b"=b", b"=outermost") + b"--outermost\nContent-Type: message/rfc822\n\n"
    message = outer + variant.message + b"\n--outermost--\n" if is_attached else variant.message
    tree = parse(message)
    examine(tree)
    try:
        result = rebuilt(tree, Rebuild(tree))
    except EditRefused:
        refused = REFUSED_INSIDE if is_attached else REFUSED_AT_THE_TOP
        if variant.construct not in refused:
            raise
        return
    again_tree = parse(delivered(tree, result))
    examine(again_tree)
    second = Rebuild(again_tree).canonical_result()
    assert (second.content_type, second.header_changes, second.to_bytes()) == (None, (), result.to_bytes())


def test_parts_in_one_another_beyond_pythons_limit_are_refused() -> None:
    limits = Limits(max_depth=2000, max_parts=5000)
    tree = parse(b"Content-Type: message/rfc822\n\n" * 1500 + b"Subject: x\n\ny\n", limits)
    with pytest.raises(CannotRebuild, match="too deep"):
        Rebuild(tree).canonical_result()


def test_content_elsewhere_is_told_in_words() -> None:
    body = b'--b\nContent-Type: message/external-body; access-type=url; URL="http://a.example/x.exe"\n\n'
    body += b"Content-Type: a/b\n\n\n"
    tree = parse(HEAD + body + b"--b--\n")
    result = Rebuild(tree).canonical_result()
    assert second_reading(examined(tree, result)) is None
    (part,) = parse(delivered(tree, result)).root.children
    assert part.content_type == "text/plain"
    assert "http://a.example/x.exe" in part.text


def lines_of(content: bytes) -> bytes:
    return content.replace(b"\r\n", b"\n").strip(b"\n")


@pytest.mark.parametrize("stem", [f"C{number:02}" for number in range(1, 11)])
def test_well_formed_mail_keeps_its_leaves(stem: str) -> None:
    tree = parse((CORPUS / f"{stem}.eml").read_bytes())
    leaves = [
        (leaf.content_type, canonical(safe_name(leaf.filename)), lines_of(leaf.content)) for leaf in tree.leaves()
    ]
    new = parse(again(tree))
    assert [
        (leaf.content_type, canonical(safe_name(leaf.filename)), lines_of(leaf.content)) for leaf in new.leaves()
    ] == leaves


def test_everything_but_the_parts_goes() -> None:
    body = b"preamble\n--b\nX: 1\nContent-ID: <1@a.example>\nContent-Type: TEXT/html; x=y\nContent-Type: a/b\n\n<p>\n"
    body += b"--b \nContent-type: application/x (c); name=a.b; name=c.d\n"
    body += b"content-disposition: foo\n\n\x00\xff\n--b--\nepilogue"
    tree = parse(HEAD + body)
    result = Rebuild(tree).canonical_result()
    one, two = parse(delivered(tree, result)).root.children
    assert [*one.headers.items()] == [
        (b"Content-Type", b'text/html; charset="us-ascii"'),
        (b"Content-Transfer-Encoding", b"quoted-printable"),
        (b"Content-ID", b"<1@a.example>"),
    ]
    assert [*two.headers.items()] == [
        (b"Content-Type", b'application/x; name="a.b"'),
        (b"Content-Transfer-Encoding", b"base64"),
        (b"Content-Disposition", b'attachment; filename="a.b"'),
    ]
    assert (one.content, two.content) == (b"<p>", b"\0\xff")
    assert b"preamble" not in result.to_bytes()
    assert b"epilogue" not in result.to_bytes()


def test_edits_are_made_on_the_way() -> None:
    body = b"--b\n\none\n--b\nContent-Type: a/b; name=x.exe\n\ntwo\n--b\n\nthree\n--b--\n"
    tree = parse(HEAD + body)
    rebuild = Rebuild(tree)
    rebuild.drop(tree.root.children[0])
    rebuild.change_fields(tree.root.children[1], {"Content-Type": 'a/b; name="x.bin"'})
    rebuild.replace(tree.root.children[2], NEW)
    rebuild.insert(entity("text/plain", "first"), 0)
    rebuild.insert(entity("text/plain", "last"))
    new = parse(delivered(tree, rebuild.canonical_result()))
    assert [lines_of(leaf.content) for leaf in new.leaves()] == [b"first", b"two", b"<p>new", b"last"]
    assert new.root.children[1].filename == "x.bin"


def test_a_single_part_is_wrapped_replaced_or_emptied() -> None:
    message = b"Subject: x\nContent-Type: text/plain\nContent-Type: a/b\nContent-Language: de\n\nbody\n"
    for edit, leaves in (
        (lambda rebuild, root: None, [b"body"]),
        (lambda rebuild, root: rebuild.drop(root), [b"The content of this message was removed."]),
        (lambda rebuild, root: rebuild.replace(root, NEW), [b"<p>new"]),
        (lambda rebuild, root: rebuild.insert(NEW), [b"body", b"<p>new"]),
        (lambda rebuild, root: rebuild.insert(NEW, 0), [b"<p>new", b"body"]),
        (lambda rebuild, root: (rebuild.insert(NEW), rebuild.drop(root)), [b"<p>new"]),
    ):
        tree = parse(message)
        rebuild = Rebuild(tree)
        edit(rebuild, tree.root)
        new = parse(delivered(tree, rebuild.canonical_result()))
        assert [lines_of(leaf.content) for leaf in new.leaves()] == leaves
        assert new.root.headers.get("content-language") is None
        assert len(new.root.headers.all("content-type")) == 1
        assert new.root.headers.get("mime-version") == b"1.0"


def test_an_attached_message_is_rewritten_with_its_header() -> None:
    attached = (
        b"Subject: =?utf-8?q?=C3=BC?=\nTo: \xc3\xbc <u@a.example>\x00\n\t(more)\nMIME-Version: 2\n\n"
        + b"x" * 1200
        + b"\n"
    )
    host = b"Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\n" + base64.encodebytes(attached)
    new = parse(again(parse(HEAD + b"--b\n" + host + b"\n--b--\n"))).root.children[0]
    assert [*new.headers.items()] == [(b"Content-Type", b"message/rfc822")]
    message = new.children[0]
    assert [name for name, _ in message.headers.items()] == [
        b"Subject",
        b"To",
        b"MIME-Version",
        b"Content-Type",
        b"Content-Transfer-Encoding",
    ]
    assert message.headers.get("to") == b"=?utf-8?b?w7w=?= <u@a.example> \t(more)"
    assert message.content == b"x" * 1200 + b"\n"


# Signed and encrypted parts

SIGNED = b"Content-Type: multipart/signed; boundary=s\n\n--s\n\none \n--s\nContent-Type: x/y\n\nsig\n--s--"


def test_a_signed_part_is_copied_byte_by_byte() -> None:
    tree = parse(HEAD + b"junk\n--b\n" + SIGNED + b"\n--b\n\nx\n--b--\njunk")
    assert SIGNED in Rebuild(tree).canonical_result().to_bytes()


def test_nothing_is_changed_inside_of_a_signed_part() -> None:
    tree = parse(HEAD + b"--b\n" + SIGNED + b"\n--b--\n")
    rebuild = Rebuild(tree)
    rebuild.drop(tree.root.children[0].children[0])
    with pytest.raises(EditRefused, match=r"part 1\.1"):
        rebuild.canonical_result()
    rebuild.drop(tree.root.children[0])
    assert b"one" not in rebuild.canonical_result().to_bytes()


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (SIGNED, "signed"),
        (HEAD.replace(b"Content-Type:", b"Content-Type :") + b"--b\n\nx\n--b--\n", "misspelt"),
        (b"content-id\t: <1>\n\nx\n", "misspelt"),
        (b"\xef\xbb\xbfContent-Type: text/plain\n\nx\n", "misspelt"),
        (b"Content-Type: message/partial; number=2\n\nx\n", "fragment"),
    ],
)
def test_what_cannot_be_rewritten_is_refused(message: bytes, reason: str) -> None:
    with pytest.raises(CannotRebuild, match=reason):
        Rebuild(parse(message)).canonical_result()


# The header of the message


def test_every_copy_of_a_field_goes_and_odd_fields_are_rewritten() -> None:
    message = (
        b"Subject: a\x00b\nX-Long: " + b"y" * 2000 + b"\nSubject: fine\nMIME-Version: 1.0 (x)\nMIME-Version: 1.0\n"
        b"Content-Description: d\nCONTENT-DESCRIPTION: e\nContent-Type: text/plain\n\nbody\n"
    )
    tree = parse(message)
    result = Rebuild(tree).canonical_result()
    assert result.content_type == 'text/plain; charset="us-ascii"'
    changes = result.header_changes
    assert changes[:3] == (
        HeaderChange("Content-Description", 2, None),
        HeaderChange("Content-Description", 1, None),
        HeaderChange("Content-Transfer-Encoding", 1, "quoted-printable"),
    )
    assert changes[3:6] == (
        HeaderChange("MIME-Version", 2, None),
        HeaderChange("MIME-Version", 1, "1.0"),
        HeaderChange("Subject", 1, "a b"),
    )
    assert all(len(line) <= 998 for line in delivered(tree, result).split(b"\n"))


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_are_rewritten_or_refused_and_the_second_time_the_same(body: bytes, is_multipart: bool) -> None:
    head = HEAD if is_multipart else b"From: a\nContent-Type: text/plain\n\n"
    try:
        once = again(parse(head + body))
        tree = parse(once)
        examine(tree)
        second = Rebuild(tree).canonical_result()
    except CannotRebuild:
        return
    assert delivered(tree, second) == once


# Names and values


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("Report 2024.PDF", "Report 2024.PDF"),
        ("Grüße.txt", "Grüße.txt"),
        ("blocked.exe. . ", "blocked.exe"),
        ("C:\\temp\\blocked.exe", "blocked.exe"),
        ("a/../b.exe", "b.exe"),
        ("x\u202efdp.exe", "xfdp.exe"),
        ("blocked.exe\0.txt", "blocked.exe.txt"),
        ("blocked\uff0e\uff45\uff58\uff45", "blocked.exe"),
        ("blocked.exe::$DATA", "blocked.exe"),
        ("blocked.{3050f4d8-98B5}", "blocked._3050f4d8-98B5_"),
        ('a"b;c=d?.txt', "a_b_c_d_.txt"),
        ("'quoted.exe'", "quoted.exe"),
        ("a   b", "a b"),
        ("...", "unnamed"),
        ("", ""),
    ],
)
def test_names_become_safe_on_disk(name: str, safe: str) -> None:
    assert safe_name(name) == safe
    assert safe_name(safe) == safe


@given(st.text(max_size=40))
def test_a_safe_name_is_safe(name: str) -> None:
    safe = safe_name(name)
    assert safe_name(safe) == safe
    assert not set('/\\:"<>|?*;') & set(safe)


@given(
    st.binary(max_size=300) | st.builds(lambda text, times: text * times, st.binary(max_size=20), st.integers(1, 2000))
)
def test_a_canonical_value_is_a_field_of_short_lines_and_stays(value: bytes) -> None:
    text = canonical_value(value)
    assert text.isascii()
    assert all(line[:1] in " \t" for line in text.split("\n")[1:])
    assert all(len(line) < 998 for line in text.split("\n"))
    assert canonical_value(text.encode()) == text
