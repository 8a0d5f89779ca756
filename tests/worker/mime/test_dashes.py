# SPDX-License-Identifier: GPL-3.0-or-later
"""What begins with a dash is found where bytes.find finds it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defang_worker.mime import dashes

PATTERNS = [b"\n--", b"--b", b"--=_b"]


@pytest.fixture(autouse=True)
def _small_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dashes, "_WINDOW_BYTES", 7)


@given(
    text=st.text(alphabet="a-\n=_b", max_size=60),
    pattern=st.sampled_from(PATTERNS),
    start=st.integers(0, 70),
    end=st.integers(0, 70),
)
def test_found_where_a_plain_search_finds_it(text: str, pattern: bytes, start: int, end: int) -> None:
    raw = text.encode()
    end = min(end, len(raw))
    assert dashes.find_dashed(pattern, raw, start, end) == raw.find(pattern, start, end)


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("before", range(20))
def test_found_across_the_ends_of_windows(pattern: bytes, before: int) -> None:
    raw = b"-" + b"a" * before + pattern
    assert dashes.find_dashed(pattern, raw, 0, len(raw)) == before + 1
