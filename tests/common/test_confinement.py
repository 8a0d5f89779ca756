# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked of workers, as variables."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defang_common.wire.confinement import NOT_CONFINED, Confinement, decode, is_asked
from defang_common.wire.errors import Malformed

_directories = st.lists(st.text(st.characters(blacklist_characters=":\0"), min_size=1).map("/".__add__)).map(tuple)


@given(st.integers(0, 999_999_999), st.none() | _directories, st.booleans())
def test_what_is_asked_is_what_is_understood(limit: int, writable: tuple[str, ...] | None, deny: bool) -> None:
    asked = Confinement(cpu_limit_s=limit, writable=writable, deny_calls=deny)
    assert decode(asked.environment()) == asked
    assert is_asked(asked.environment()) == (asked != NOT_CONFINED)


@pytest.mark.parametrize(
    "variables",
    [
        {"DEFANG_CPU_LIMIT_S": "-1"},
        {"DEFANG_CPU_LIMIT_S": ""},
        {"DEFANG_CPU_LIMIT_S": "1234567890"},
        {"DEFANG_WRITABLE_DIRS": "/a:b"},
        {"DEFANG_DENY_SYSTEM_CALLS": "yes"},
    ],
)
def test_what_is_not_understood_is_refused(variables: dict[str, str]) -> None:
    with pytest.raises(Malformed):
        decode(variables)
