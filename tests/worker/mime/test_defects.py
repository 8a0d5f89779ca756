# SPDX-License-Identifier: GPL-3.0-or-later
"""The closed set of defects is the table of constructs."""

import csv
from pathlib import Path

from defang_worker.mime.defects import DEFECTS, Defect, Severity, worst_severity

CONSTRUCTS = Path(__file__).parent / "corpus" / "constructs.tsv"


def test_the_table_is_that_of_the_constructs() -> None:
    with CONSTRUCTS.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    expected = {row["defect"]: (row["construct"], Severity[row["severity"].upper()]) for row in rows}
    assert expected == DEFECTS


def test_a_defect_takes_its_severity_from_the_table_until_it_is_corrected() -> None:
    defect = Defect.of("bare-cr", "1.2", 17)
    assert defect == Defect("bare-cr", Severity.HIGH, "1.2", 17)
    assert defect.with_severity(Severity.LOW).severity is Severity.LOW


def test_the_worst_of_no_defects_is_info() -> None:
    assert worst_severity(()) is Severity.INFO
    assert worst_severity([Defect.of("name-elsewhere"), Defect.of("bare-cr")]) is Severity.HIGH
