# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/filters/suggested_minimum.py and MIMEDefang's filter of that name: same verdicts, surviving parts and events.

Both run over the sample corpus and a message for each row of what they do. What is meant to differ stands in
suggested_minimum/differences.tsv with both outcomes and the reason.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.daemons import private_home
from tests.system.suggested_minimum.messages import MESSAGES
from tests.system.suggested_minimum.outcomes import TheirWorker, ours, their_worker

pytestmark = pytest.mark.system

with (Path(__file__).parent / "suggested_minimum" / "differences.tsv").open(encoding="ascii") as _file:
    DIFFERENCES = {row["message"]: row for row in csv.DictReader(_file, delimiter="\t", quoting=csv.QUOTE_NONE)}


@pytest.fixture(scope="module")
def theirs() -> Iterator[TheirWorker]:
    with private_home("suggested-") as home, their_worker(home) as worker:
        yield worker


def shown(outcome: object) -> str:
    return str(outcome).encode("unicode_escape").decode("ascii")


@pytest.mark.parametrize("name", MESSAGES)
def test_both_filters_decide_alike_or_differ_as_is_told(theirs: TheirWorker, name: str) -> None:
    their_outcome, our_outcome = shown(theirs.outcome(MESSAGES[name])), shown(ours(MESSAGES[name]))
    if name in DIFFERENCES:
        row = DIFFERENCES[name]
        assert (their_outcome, our_outcome) == (row["theirs"], row["ours"])
    else:
        assert our_outcome == their_outcome


def test_each_difference_is_of_a_message_and_has_a_reason() -> None:
    assert DIFFERENCES.keys() <= MESSAGES.keys()
    for row in DIFFERENCES.values():
        assert row["theirs"] != row["ours"]
        assert row["reason"]


def test_ours_lets_nothing_through_that_the_original_stops() -> None:
    for row in DIFFERENCES.values():
        assert row["theirs"].startswith(("accept", "tempfail"))
        assert "event bad_filename" in row["ours"]
