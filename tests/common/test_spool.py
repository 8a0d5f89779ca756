# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defang_common.wire import spool
from defang_common.wire.errors import Unencodable

DIGITS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWX"


@given(st.integers(0, 60**5 - 1), st.integers(0, 60**2 - 1))
def test_transaction_id_tells_time_and_serial(seconds: int, serial: int) -> None:
    text = spool.transaction_id(seconds, serial)
    digits = [DIGITS.index(char) for char in text]
    assert len(digits) == 7
    assert sum(digit * 60 ** (4 - place) for place, digit in enumerate(digits[:5])) == seconds
    assert digits[5] * 60 + digits[6] == serial


@given(st.integers(0, 2**40), st.integers(0, 2**40))
def test_transaction_id_wraps_and_is_always_a_directory_name(seconds: int, serial: int) -> None:
    text = spool.transaction_id(seconds, serial)
    assert text == spool.transaction_id(seconds % 60**5, serial % 60**2)
    assert spool.directory_name(text) == "mdefang-" + text


def test_transaction_id_is_written_with_the_most_significant_digit_first() -> None:
    assert spool.transaction_id(0, 0) == "0000000"
    assert spool.transaction_id(60, 61) == "0001011"
    assert spool.transaction_id(60**5 - 1, 3599) == "XXXXXXX"


def test_directory_is_named_after_the_queue_id() -> None:
    assert spool.directory_name("Q123") == "mdefang-Q123"


@pytest.mark.parametrize("queue_id", ["", "a/b", "/", "../x", "a\0b"])
def test_queue_id_that_would_lead_elsewhere_is_refused(queue_id: str) -> None:
    with pytest.raises(Unencodable):
        spool.directory_name(queue_id)
