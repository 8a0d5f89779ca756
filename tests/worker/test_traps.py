# SPDX-License-Identifier: GPL-3.0-or-later
"""What a port of a Perl filter is most likely to trip over: the golden cases, or the tests, that hold each."""

from __future__ import annotations

from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]

# The behaviour, and numbers of tests/cases or test modules that hold ours.
TRAPS = {
    "the first verdict wins, and erases edits": ["018", "055", "085"],
    "a verdict does not stop the filter": ["018", "019"],
    "a simple message has one part, which is shown": ["012", "013", "038"],
    "what is a container": ["007", "008", "016", "088"],
    "content in encoded messages and broken multiparts": ["049", "076", "077"],
    "files in texts": ["052", "078"],
    "all names of a part count": ["006", "079"],
    "an archive that cannot be read is no harmless one": ["005"],
    "one way to count headers, and edits show": ["027", "028", "080"],
    "unchanged mail passes byte by byte": ["001"],
    "a rebuild leaves other parts alone": ["014", "086"],
    "an added part does not take the header along": ["074"],
    "order and place of warnings": ["081", "082", "083"],
    "texts are added in the charset of the part": ["068", "083"],
    "what may be done when": ["040", "089", "worker/test_stages.py"],
    "answers of callbacks": ["020", "025", "026", "worker/test_answer.py"],
    "state between callbacks": ["worker/test_state.py"],
    "what the quarantine has": ["054", "055", "084"],
    "copies go when the message is done with, and do not loop": ["058", "059", "060"],
    "programs: every failure counts, no file is shared": ["064", "065"],
    "a fault takes one message": ["022", "023", "024"],
    "limits on parts": ["044"],
    "several subjects": ["011"],
}


@pytest.mark.parametrize("trap", TRAPS)
def test_trap_has_its_cases(trap: str) -> None:
    for place in TRAPS[trap]:
        found = [TESTS / place] if "/" in place else list((TESTS / "cases").glob(f"{place}-*"))
        assert [path.exists() for path in found] == [True], place
