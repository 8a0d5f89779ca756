# SPDX-License-Identifier: GPL-3.0-or-later
"""Status tags never stand in a message's way, and fit what a multiplexor reads at once."""

from __future__ import annotations

import os

import pytest

from defang_common.wire import percent
from defang_worker.status import StatusTags, doing, use


def test_depth_counts_what_was_entered_and_not_left() -> None:
    ours, theirs = os.pipe()
    tags = StatusTags(theirs)
    tags.enter("Scanning", "Q1")
    tags.enter("Parsing", "Q1")
    tags.leave("Parsing", "Q1")
    tags.leave("Scanning", "Q1")
    os.close(theirs)
    told = [percent.decode(line) for line in os.read(ours, 4096).splitlines()]
    assert told == [b"1: > Scanning Q1", b"2: > Parsing Q1", b"1: < Parsing Q1", b"0: < Scanning Q1"]
    os.close(ours)


def test_long_tag_is_cut_between_escapes() -> None:
    ours, theirs = os.pipe()
    StatusTags(theirs).enter("ü" * 200, "Q1")
    line = os.read(ours, 4096)
    assert len(line) <= 63
    assert percent.encode(percent.decode(line.rstrip(b"\n"))) == line.rstrip(b"\n")
    os.close(ours)
    os.close(theirs)


@pytest.mark.parametrize("is_closed", [True, False])
def test_closed_or_full_pipe_costs_the_tag_only(is_closed: bool) -> None:
    ours, theirs = os.pipe()
    tags = StatusTags(theirs)
    if is_closed:
        os.close(ours)
    for _ in range(5000):
        tags.enter("Scanning a message with a long name", "Q1")
    if not is_closed:
        os.close(ours)
    os.close(theirs)


def test_descriptor_is_not_left_to_programs_that_a_filter_starts() -> None:
    ours, theirs = os.pipe()
    os.set_inheritable(theirs, True)
    StatusTags(theirs)
    assert not os.get_inheritable(theirs)
    os.close(ours)
    os.close(theirs)


def test_filter_may_tell_what_it_is_doing() -> None:
    ours, theirs = os.pipe()
    use(StatusTags(theirs))
    with pytest.raises(RuntimeError), doing("asking the database"):
        raise RuntimeError
    use(StatusTags(None))
    with doing("nothing that anybody sees"):
        os.close(theirs)
    told = [percent.decode(line) for line in os.read(ours, 4096).splitlines()]
    assert told == [b"1: > asking the database ", b"0: < asking the database "]
    os.close(ours)
