# SPDX-License-Identifier: GPL-3.0-or-later
"""Only this site can mark mail as its own, for that content and for a while."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defang_worker.effects import mark, seal
from defang_worker.effects.contract import EffectFailed, LetterKind
from defang_worker.effects.secret import KEPT_IN, secret

SECRET = b"s" * 32
NOW_S = 1_800_000_000
RAW = b"Subject: lunch\nContent-Type: text/plain;\n charset=utf-8\n\nHello  you\n.\n"
MADE = seal.Seal(kind=LetterKind.RELEASE, time_s=NOW_S, client_ip="2001:db8::1", queue_id="Q1")


def value(made: seal.Seal = MADE, key: bytes = SECRET, raw: bytes = RAW) -> str:
    field = seal.field(made, key, seal.digest(raw)).decode()
    assert re.fullmatch(r"X-Defang-Resent: [!-~ ]{1,200}\n [!-~]{64}\n", field)
    return field.partition(": ")[2].replace("\n", "")


def opened(given_value: str, *, key: bytes = SECRET, raw: bytes = RAW, now_s: float = NOW_S) -> seal.Seal | None:
    return seal.opened(given_value, key, seal.digest(raw), now_s)


def test_seal_tells_what_was_sealed() -> None:
    assert opened(value()) == MADE
    nothing = seal.Seal(kind=LetterKind.COPY, time_s=NOW_S, client_ip="", queue_id="a b\n")
    assert opened(value(nothing)) == seal.Seal(kind=LetterKind.COPY, time_s=NOW_S, client_ip="", queue_id="")


def test_what_mail_servers_do_to_a_message_does_not_break_it() -> None:
    on_its_way = b"Received: from x\n by y\n" + RAW.replace(b"Subject: lunch\n", b"Subject: =?a?q?b?=\nDate: now\n")
    on_its_way = (
        on_its_way.replace(b"\n charset", b"\r\n\tcharset").replace(b"Hello  you\n", b"Hello\n you\r\n") + b"\n\n"
    )
    assert opened(value(), raw=on_its_way) == MADE


@pytest.mark.parametrize(
    "raw",
    [RAW.replace(b"you", b"You"), RAW.replace(b"text/plain", b"text/html"), RAW + b"more", b""],
    ids=["body", "type", "longer", "empty"],
)
def test_other_content_is_not_covered(raw: bytes) -> None:
    assert opened(value(), raw=raw) is None


def test_another_secret_opens_nothing() -> None:
    assert opened(value(), key=b"t" * 32) is None


@pytest.mark.parametrize(
    ("age_s", "is_good"), [(0, True), (seal.MAX_AGE_S, True), (seal.MAX_AGE_S + 1, False), (-60, True), (-3600, False)]
)
def test_seal_ages(age_s: int, is_good: bool) -> None:
    assert (opened(value(), now_s=NOW_S + age_s) is not None) is is_good


@given(position=st.integers(0, 150), char=st.characters(min_codepoint=33, max_codepoint=126))
def test_no_character_of_it_can_be_changed(position: int, char: str) -> None:
    good = value()
    bad = good[:position] + char + good[position + 1 :]
    assert (opened(bad) is not None) is (bad == good)


@given(st.text())
def test_nothing_made_up_is_taken(text: str) -> None:
    assert opened(text) is None


def test_mark_is_found_below_what_servers_put_on_top() -> None:
    field = seal.field(MADE, SECRET, seal.digest(RAW))
    assert mark.is_there(b"Received: from x\n" * 100 + field + RAW)
    assert not mark.is_there(RAW)


def test_secret_is_made_once_for_all(tmp_path: Path) -> None:
    first = secret(str(tmp_path))
    secret.cache_clear()
    assert secret(str(tmp_path)) == first
    assert len(first) == 32
    assert (tmp_path / KEPT_IN).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [KEPT_IN]


@pytest.mark.parametrize("content", ["", "abcd\n", "no digits at all, but long enough to be a secret of some kind\n"])
def test_secret_that_is_none_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / KEPT_IN).write_text(content)
    with pytest.raises(EffectFailed, match="no secret of 32 bytes"):
        secret(str(tmp_path))


def test_secret_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EffectFailed, match="no secret to mark mail with"):
        secret(str(tmp_path / "none"))
