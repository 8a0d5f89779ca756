# SPDX-License-Identifier: GPL-3.0-or-later
"""Every construct in several variants: the file is found in some reading, and the construct gets its name."""

import csv
from pathlib import Path

import pytest

from defang_worker.mime import parse
from defang_worker.mime.defects import DEFECTS, Severity
from defang_worker.mime.views import examine
from tests.worker.mime.everything import everything, verdict
from tests.worker.mime.odd_variants import odd_variants
from tests.worker.mime.variants import MARK, Variant, variants

with (Path(__file__).parent / "corpus" / "constructs.tsv").open(encoding="utf-8") as _file:
    DEFECT_OF = {
        row["construct"]: row["defect"] for row in csv.DictReader(_file, delimiter="\t", quoting=csv.QUOTE_NONE)
    }

VARIANTS = [*variants(), *odd_variants()]
OUTER = b"From: a@b.example\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=outermost\n\n--outermost\n"


def with_crlf(message: bytes) -> bytes:
    return message if b"\r\n" in message else message.replace(b"\n", b"\r\n")


def label(variant: Variant) -> str:
    return variant.construct


def test_every_construct_but_those_of_archives_has_three_variants_at_least() -> None:
    counts = dict.fromkeys(DEFECT_OF, 0)
    for variant in VARIANTS:
        counts[variant.construct] += 1
    few = {construct for construct, count in counts.items() if count < 3 and construct[0] != "Z"}
    assert few == {"B18"}


@pytest.mark.parametrize("variant", VARIANTS, ids=label)
def test_the_file_is_found_and_the_construct_named(variant: Variant) -> None:
    for message in (variant.message, with_crlf(variant.message)):
        seen = everything(message)
        assert variant.names <= seen.names
        assert MARK.encode() in seen.content
        examination = examine(parse(message))
        name = DEFECT_OF[variant.construct]
        if DEFECTS[name].severity > Severity.INFO:
            assert examination.worst > Severity.INFO
        if variant.is_named:
            assert name in {defect.name for defect in examination.defects}


@pytest.mark.parametrize("variant", VARIANTS, ids=label)
def test_the_file_is_found_in_an_attached_message_too(variant: Variant) -> None:
    inside = OUTER + b"Content-Type: message/rfc822\n\n"
    message = inside.replace(b"\n", b"\r\n") if b"\r\n" in variant.message else inside
    seen = everything(message + variant.message + b"\n--outermost--\n")
    assert variant.names <= seen.names
    assert MARK.encode() in seen.content


@pytest.mark.parametrize("variant", [variant for variant in VARIANTS if variant.construct[0] != "L"], ids=label)
def test_line_ends_do_not_change_the_verdict(variant: Variant) -> None:
    assert verdict(variant.message) == verdict(with_crlf(variant.message))
