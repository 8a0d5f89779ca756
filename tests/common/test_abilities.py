# SPDX-License-Identifier: GPL-3.0-or-later
"""What programs of ours tell of themselves, and that nobody else is taken for one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defang_common.wire import requests
from defang_common.wire.abilities import (
    ALL,
    HEADER_FILES_WANTED,
    NONE,
    QUESTION_TO_MUX,
    QUESTION_TO_WORKER,
    Abilities,
    Ability,
    decode,
    encode,
)
from defang_common.wire.answers import SCAN_OK


@given(st.frozensets(st.sampled_from(Ability)))
def test_abilities_are_read_as_they_were_told(told: Abilities) -> None:
    assert decode(encode(told)) == told


def test_words_of_a_newer_program_are_passed_over() -> None:
    assert decode(b"abilities flight state 9\n") == {Ability.STATE}


@pytest.mark.parametrize(
    "answer", [b"", b"\n", b"error: Unknown command\n", b"ok state\n", b"abilities", b"abilities state", b"state\n"]
)
def test_any_other_answer_means_none(answer: bytes) -> None:
    assert decode(answer) == NONE


@given(st.binary())
def test_no_answer_is_an_error(answer: bytes) -> None:
    assert decode(answer) <= ALL


def test_the_questions_are_no_requests_that_anybody_sends() -> None:
    assert isinstance(requests.decode(QUESTION_TO_MUX), requests.Own)
    assert isinstance(requests.decode(QUESTION_TO_WORKER), requests.Own)
    assert len({QUESTION_TO_MUX, QUESTION_TO_WORKER}) == 2


def test_wanting_files_does_not_pass_for_success() -> None:
    assert not HEADER_FILES_WANTED.startswith(SCAN_OK.rstrip())
