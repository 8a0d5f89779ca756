# SPDX-License-Identifier: GPL-3.0-or-later
"""The examination: what it shows beside the strict tree, how it corrects severities, where it stops."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defang_worker.mime import parse
from defang_worker.mime.defects import Severity
from defang_worker.mime.views import Examination, examine
from tests.worker.mime.everything import everything
from tests.worker.mime.variants import (
    MARK,
    PART,
    TEXT,
    b64,
    disposition,
    inner,
    message,
    parts,
    uuencoded,
    variants,
    with_file,
)

HEAD = b"From: a@b.example\nMIME-Version: 1.0\n"
MIXED = b"Content-Type: multipart/mixed; boundary=b\n"


def guessable(count: int) -> bytes:
    return HEAD + b"Content-Type: multipart/mixed\n\n" + b"".join(b"--b%d\n\nx\n" % number for number in range(count))


def examined(text: str | bytes) -> Examination:
    return examine(parse(text.encode("latin-1") if isinstance(text, str) else text))


def severity(examination: Examination, name: str) -> Severity:
    return next(defect.severity for defect in examination.defects if defect.name == name)


def test_a_second_look_costs_nothing() -> None:
    tree = parse(message("Hello\n").encode())
    assert examine(tree) is examine(tree)


def test_entities_have_their_defects_and_the_message_has_all() -> None:
    tree = parse(disposition('attachment; filename = "blocked.exe"').encode())
    examination = examine(tree)
    assert [defect.name for defect in tree.root.children[1].defects] == ["space-around-equals"]
    assert [(defect.name, defect.part) for defect in examination.defects] == [("space-around-equals", "2")]


@pytest.mark.parametrize("first", ["Good morning\n", "\nGood morning: all\nis well\n", "\n\nthere were none\n: and\n"])
def test_a_text_is_not_taken_for_a_header_because_something_else_is_odd(first: str) -> None:
    mbox = "From ann@sender.example Mon Jun  7 09:30:00 2026\n" + message(parts("\n" + first, TEXT))
    examination = examined(mbox)
    assert (examination.shadows, examination.view_count) == ((), 1)
    assert [(defect.name, defect.severity) for defect in examination.defects] == [("junk-before-header", Severity.LOW)]


def test_line_ends_of_both_kinds_are_low_as_all_readers_take_them() -> None:
    mixed = message(parts(TEXT, PART)).replace("\n", "\r\n").replace("--b\r\n", "--b\n")
    assert [(defect.name, defect.severity) for defect in examined(mixed).defects] == [("bare-lf", Severity.LOW)]


def test_a_multipart_of_which_the_header_alone_was_sent_back_is_low() -> None:
    bounce = message(parts(TEXT, "Content-Type: message/rfc822\n\n" + message("", MIXED.decode().replace("=b", "=i"))))
    low = [(defect.name, defect.severity) for defect in examined(bounce).defects if defect.severity > Severity.INFO]
    assert low == [("missing-terminator", Severity.LOW)]


def test_the_containers_of_another_reading_are_shown_with_their_names() -> None:
    attached = 'Content-Type: message/rfc822; name="blocked.eml"\n\n' + message("Hello\n", "Content-Type: text/plain\n")
    nested = "Content-Type: multipart/related; boundary=r\n\n--r\n" + attached + "\n--r--\n"
    shadows = examined(message(parts(TEXT) + "--b\n" + nested + "--b--\n")).shadows
    found = {(shadow.content_type, shadow.is_leaf, shadow.filenames) for shadow in shadows if shadow.view == "epilogue"}
    assert {
        ("multipart/related", False, ()),
        ("message/rfc822", False, ("blocked.eml",)),
        ("text/plain", True, ()),
    } == found
    assert sum(shadow.is_multipart for shadow in shadows) == 1
    related = next(shadow for shadow in shadows if shadow.is_multipart)
    assert related.content.startswith(b"--r\nContent-Type: message/rfc822")


def test_a_container_of_another_reading_is_shown_for_its_name_alone() -> None:
    attached = 'Content-Type: message/rfc822; name="blocked.eml"\n\n' + message("", "")
    shadows = examined(message(parts(TEXT) + "--b\n" + attached + "--b--\n")).shadows
    assert "blocked.eml" in {name for shadow in shadows for name in shadow.filenames}


def test_a_container_that_the_message_has_anyway_is_not_shown_twice() -> None:
    shadows = examined(
        message(parts(TEXT, inner(), PART) + "--b\n" + TEXT.replace("morning", "evening") + "--b--\n")
    ).shadows
    assert "Good evening, see below." in {shadow.text for shadow in shadows}
    assert not any(shadow.is_multipart for shadow in shadows)


def test_a_defect_says_where_in_the_message_it_is() -> None:
    text = disposition('attachment; filename = "blocked.exe"')
    defect = examined(text).defects[0]
    assert text[defect.offset :].startswith("Content-Disposition")


def test_readings_that_agree_make_a_medium_defect_low() -> None:
    assert (
        severity(examined(disposition('attachment; filename = "blocked.exe"')), "space-around-equals") is Severity.LOW
    )


def test_readings_that_differ_in_names_make_it_high() -> None:
    examination = examined(message(f"--b\n{TEXT}--b junk\n{PART}--b--\n"))
    assert severity(examination, "delimiter-trailing-text") is Severity.HIGH
    assert examination.view_count > 1


def test_readings_that_differ_in_content_make_it_medium() -> None:
    examination = examined(message(f"--b\n{TEXT}--b junk\nContent-Type: text/plain\n\nmore\n--b--\n"))
    assert severity(examination, "delimiter-trailing-text") is Severity.MEDIUM


def test_names_that_differ_before_the_extension_alone_keep_honest_mail_deliverable() -> None:
    text = disposition("attachment; filename=\"uber.pdf\"; filename*=utf-8''%C3%BCber.pdf")
    assert examined(text).worst is Severity.MEDIUM


def test_a_field_that_only_says_the_same_again_is_low() -> None:
    text = with_file(
        "Content-Type: application/pdf\nContent-Type: application/pdf\nContent-Transfer-Encoding: base64\n"
    )
    assert severity(examined(text), "duplicate-content-type") is Severity.LOW


def test_a_shadow_part_reads_like_an_entity_and_knows_its_view_and_host() -> None:
    tree = parse(message(f"--b\n{TEXT}--b junk\n{PART}--b--\n").encode())
    shadow = next(shadow for shadow in examine(tree).shadows if shadow.filename == "blocked.exe")
    assert (shadow.is_shadow, shadow.is_leaf, shadow.disposition, shadow.extension) == (
        True,
        True,
        "attachment",
        ".exe",
    )
    assert shadow.view == "loose-delimiter"
    assert shadow.host is tree.root.children[0]
    assert (shadow.number, shadow.content_type) == ("1", "application/octet-stream")
    assert shadow.matches(r"\.exe$")
    assert MARK in shadow.text


def test_a_file_in_a_text_is_shown_and_makes_no_view() -> None:
    examination = examined(message("Hello\n" + uuencoded(), "Content-Type: text/plain\n"))
    assert [(shadow.view, shadow.filename) for shadow in examination.shadows] == [("uuencode", "blocked.exe")]
    assert (examination.view_count, examination.worst) == (1, Severity.INFO)


def test_text_around_parts_is_shown_but_for_what_everybody_writes() -> None:
    hidden = message(f"Words {MARK}\n" + parts(TEXT) + f"More {MARK}\n")
    assert [shadow.view for shadow in examined(hidden).shadows] == ["preamble-text", "epilogue-text"]
    usual = message("This is a multi-part message in MIME format.\n" + parts(TEXT))
    assert examined(usual).shadows == ()


def test_text_around_the_parts_of_an_encoded_multipart_is_shown() -> None:
    text = message(
        b64(f"Words {MARK}\n" + parts(TEXT)),
        'Content-Type: multipart/mixed; boundary="b"\nContent-Transfer-Encoding: base64\n',
    )
    assert MARK.encode() in everything(text.encode()).content


@pytest.mark.parametrize(
    ("make", "limit"),
    [
        (lambda: guessable(9_000), "view-lines"),
        (lambda: HEAD + MIXED + b"\n" + b"--b x\n\nx\n" * 3_000 + b"--b--\n", "view-count"),
        (lambda: HEAD + b'Content-Type: a/b; name="x' + b"\\" * 400_000 + b"\n\nx\n", "header-size"),
        (lambda: HEAD + b"Content-Type: text/plain\n\n" + b"begin 644 a\n#86)C\n`\nend\n" * 1_001, "embedded-count"),
        (lambda: HEAD + (MIXED + b"\n--b\n") * 120 + b"\nx", "depth"),
        (lambda: HEAD + b"Content-Type: message/rfc822\n\n" * 120, "depth"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_a_limit_that_is_met_has_a_name(make: Callable[[], bytes], limit: str) -> None:
    assert examined(make()).incomplete == limit


def test_four_hundred_boundaries_are_no_more_work_than_the_limits_allow() -> None:
    names = b"; ".join(b'boundary="b%d"' % number for number in range(400))
    examination = examined(HEAD + b"Content-Type: multipart/mixed; " + names + b"\n\n--b7\n\nx\n--b7--\n")
    assert "duplicate-boundary" in {defect.name for defect in examination.defects}


SAMPLES = [variant.message for variant in variants() if len(variant.message) < 3_000][::4]


@given(st.data())
def test_damage_at_any_place_is_read_without_an_exception(data: st.DataObject) -> None:
    sample = data.draw(st.sampled_from(SAMPLES))
    at = data.draw(st.integers(0, len(sample)))
    damage = data.draw(
        st.one_of(st.binary(max_size=4), st.sampled_from([b"\r", b"\0", b"\n", b"--b\n", b'"', b"(", b"="]))
    )
    examination = examined(sample[:at] + damage + sample[at + len(damage) :])
    assert all(len(shadow.text) >= 0 <= len(shadow.number) for shadow in examination.shadows)


@given(st.sampled_from(SAMPLES), st.integers(0, 3_000))
def test_any_prefix_is_read_without_an_exception(sample: bytes, length: int) -> None:
    assert examined(sample[:length]).view_count >= 1
