# SPDX-License-Identifier: GPL-3.0-or-later
"""Which signatures are left valid. The hashes of bodies are those of RFC 6376 (sections 3.4.3, 3.4.4, appendix A)."""

import base64
import hashlib
import time

import pytest

from defang_worker.mime import Entity, parse
from defang_worker.mime.signatures import (
    HeaderField,
    HeaderSignature,
    Outcome,
    PartKind,
    SignatureForecast,
    canonical_body,
    forecast_headers,
    forecast_parts,
)

BODY = b"Hi.\n\nWe lost the game. Are you hungry yet?\n\nJoe.\n"
BODY_HASH = b"2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8="


def signature(tags: bytes = b"", *, c: bytes = b"simple/simple", h: bytes = b"From:To:Subject") -> HeaderField:
    value = b" v=1; a=rsa-sha256; s=brisbane; d=example.com;\n c=%b; h=%b;\n bh=%b;\n b=abc; %b"
    return b"DKIM-Signature", value % (c, h, BODY_HASH, tags)


def header(*more: HeaderField) -> list[HeaderField]:
    return [*more, (b"From", b" Joe <joe@example.com>"), (b"To", b" Suzie"), (b"Subject", b" Is  dinner\n ready?")]


def forecast(
    before: list[HeaderField], after: list[HeaderField] | None = None, new_body: bytes | None = None, body: bytes = BODY
) -> HeaderSignature:
    (one,) = forecast_headers(before, before if after is None else after, body, new_body)
    return one


@pytest.mark.parametrize(
    ("body", "method", "digest"),
    [
        (b"", "simple", "frcCV1k9oG9oKj3dpUqdJg1PxRT2RSN/XKdLCPjaYaY="),
        (b"\n\n", "simple", "frcCV1k9oG9oKj3dpUqdJg1PxRT2RSN/XKdLCPjaYaY="),
        (b"", "relaxed", "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="),
        (BODY, "simple", BODY_HASH.decode()),
        (BODY.replace(b"\n", b"\r\n") + b"\r\n\r\n", "simple", BODY_HASH.decode()),
    ],
)
def test_bodies_have_the_hashes_that_the_standard_tells(body: bytes, method: str, digest: str) -> None:
    assert base64.b64encode(hashlib.sha256(canonical_body(body, method)).digest()).decode() == digest


def test_relaxed_body_of_the_standard() -> None:
    assert canonical_body(b" C \r\nD \t E\r\n\r\n\r\n", "relaxed") == b" C\r\nD E\r\n"


def test_a_signature_survives_where_nothing_changes() -> None:
    one = forecast(header(signature()))
    assert (one.domain, one.selector, one.field) == ("example.com", "brisbane", "DKIM-Signature")
    assert one.was_intact
    assert one.survives


def test_a_signature_that_was_wrong_before_is_told() -> None:
    assert not forecast(header(signature()), body=BODY + b"footer of a list\n").was_intact
    assert not forecast(header(signature(b"l=9999"))).was_intact


@pytest.mark.parametrize(
    ("new_body", "c", "survives"),
    [
        (BODY + b"\n\n", b"simple/simple", True),
        (BODY + b"x\n", b"simple/simple", False),
        (BODY.replace(b" ", b"  "), b"simple/simple", False),
        (BODY.replace(b" ", b"  "), b"relaxed/simple", False),
        (BODY.replace(b" ", b" \t").replace(b"\n", b" \n"), b"relaxed/relaxed", True),
        (BODY.replace(b" ", b"  "), b"relaxed", False),
    ],
)
def test_a_changed_body_counts_as_its_canonicalization_says(new_body: bytes, c: bytes, survives: bool) -> None:
    one = forecast(header(signature(c=c)), new_body=new_body)
    assert (one.body_survives, one.header_survives) == (survives, True)


def test_what_is_added_behind_the_signed_length_breaks_nothing() -> None:
    length = len(BODY) + BODY.count(b"\n")
    assert forecast(header(signature(b"l=%d" % length)), new_body=BODY + b"more\n").survives
    assert not forecast(header(signature(b"l=%d" % (length + 1))), new_body=BODY + b"more\n").body_survives


@pytest.mark.parametrize(
    ("c", "h", "after", "survives"),
    [
        (b"simple", b"From", [(b"Subject", b" Is dinner ready?")], True),
        (b"simple", b"From:Subject", [(b"Subject", b" Is dinner ready?")], False),
        (b"relaxed", b"From:Subject", [(b"SUBJECT", b" Is dinner ready?")], True),
        (b"relaxed", b"From:Subject", [(b"Subject", b" Lunch?")], False),
        (b"relaxed", b"from:subject", [], False),
        (b"relaxed", b"From:Subject:X-New", [(b"Subject", b" Is dinner ready?"), (b"X-New", b" 1")], False),
    ],
)
def test_fields_count_as_they_are_signed(c: bytes, h: bytes, after: list[HeaderField], survives: bool) -> None:
    before = header(signature(c=c, h=h))
    one = forecast(before, before[:-1] + after)
    assert (one.header_survives, one.body_survives) == (survives, True)


def test_fields_are_taken_from_the_last_one_up() -> None:
    before = header(signature(h=b"Received"), (b"Received", b" 2"), (b"Received", b" 1"))
    assert forecast(before, [(b"Received", b" 3"), *before]).survives
    assert not forecast(before, before[:-4] + before[-3:]).survives


def test_a_signature_that_is_removed_does_not_survive() -> None:
    before = header(signature())
    assert not forecast(before, before[1:]).survives


@pytest.mark.parametrize("value", [b"", b" v=1; l=x; c=; bh=!; a=; h=", b"; =;;h:h=", b" a=rsa-md5; bh=AAAA"])
def test_damaged_signatures_are_read_and_were_never_intact(value: bytes) -> None:
    assert not forecast(header((b"dkim-signature", value))).was_intact


# Parts

ARMOR = b"-----BEGIN PGP SIGNED MESSAGE-----\n\nhello\n-----BEGIN PGP SIGNATURE-----\nx\n-----END PGP SIGNATURE-----\n"
MESSAGE = (
    b"Content-Type: multipart/mixed; boundary=b\n\n--b\n"
    b'Content-Type: multipart/signed; protocol="application/pgp-signature"; boundary=s\n\n--s\n\none\n'
    b"--s\nContent-Type: application/pgp-signature\n\nsig\n--s--\n"
    b"--b\nContent-Type: application/pkcs7-mime\n\nx\n--b\n\n" + ARMOR + b"\n--b--\n"
)


def outcomes(changed: dict[int, bytes | None]) -> list[tuple[str, PartKind, Outcome]]:
    tree = parse(MESSAGE)
    news: dict[Entity, Entity | None] = {
        tree.root.children[at]: None if new is None else parse(new).root for at, new in changed.items()
    }
    return [(one.number, one.kind, one.outcome) for one in forecast_parts(tree, news)]


def test_signed_and_encrypted_parts_are_told_apart() -> None:
    assert outcomes({}) == [
        ("1", PartKind.PGP_SIGNED, Outcome.SURVIVES),
        ("2", PartKind.SMIME, Outcome.SURVIVES),
        ("3", PartKind.PGP_SIGNED, Outcome.SURVIVES),
    ]


def test_parts_that_go_take_their_signatures_along() -> None:
    assert [one[2] for one in outcomes({0: None, 1: b"\nx", 2: None})] == [Outcome.REMOVED] * 3


def test_armored_text_survives_what_is_added_around_it_and_no_change_within() -> None:
    assert outcomes({2: b"\n" + ARMOR + b"\n\nGreetings\n"})[2][2] is Outcome.SURVIVES
    assert outcomes({2: b"\n" + ARMOR.replace(b"hello", b"hallo")})[2][2] is Outcome.BROKEN


def test_a_message_without_signatures_has_nothing_to_lose() -> None:
    assert SignatureForecast().all_survive
    assert not SignatureForecast(refused="part 1").all_survive
    assert forecast_parts(parse(b"Content-Type: text/html\n\nx"), {}) == ()


@pytest.mark.parametrize(
    "line", [b"-----BEGIN PGP MESSAGE-----\n", b"-----BEGIN PGP SIGNED MESSAGE-----\n-----END PGP \n"]
)
def test_framed_texts_that_never_end_cost_one_pass(line: bytes) -> None:
    started = time.process_time()
    assert forecast_parts(parse(b"\n" + line * 20_000), {}) == ()
    # A search from each of them would take minutes.
    assert time.process_time() - started < 10


def test_framed_texts_are_told_in_their_order_each_to_its_own_end() -> None:
    one = b"-----BEGIN PGP SIGNED MESSAGE-----\n-----BEGIN PGP MESSAGE-----\n-----END PGP SIGNATURE-----\n"
    two = b"-----BEGIN PGP MESSAGE-----\nx\n-----END PGP MESSAGE-----\n-----END PGP MESSAGE-----\n"
    kinds = [part.kind for part in forecast_parts(parse(b"\n" + one + b"words\n" + two), {})]
    assert kinds == [PartKind.PGP_SIGNED, PartKind.ENCRYPTED]
