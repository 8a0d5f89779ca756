# SPDX-License-Identifier: GPL-3.0-or-later
"""The sample corpus: malformed and odd messages, and what has to be found in them.

index.tsv lists file, construct, kind, names in canonical form, markers. `malformed`: these must be found, others may
be. `benign`: these and no others.
"""

import csv
import mmap
from pathlib import Path

import pytest

from defang_worker.mime import Rebuild, parse
from defang_worker.mime.defects import DEFECTS, Severity
from defang_worker.mime.views import examine
from tests.worker.mime.everything import everything, verdict

CORPUS = Path(__file__).parent / "corpus"
MESSAGES = sorted(CORPUS.glob("*.eml"))

with (CORPUS / "index.tsv").open(encoding="utf-8") as _file:
    ROWS = list(csv.DictReader(_file, delimiter="\t", quoting=csv.QUOTE_NONE))


def listed(words: str | None) -> set[str]:
    return {word for word in (words or "").split("|") if word}


with (CORPUS / "constructs.tsv").open(encoding="utf-8") as _file:
    DEFECT_OF = {
        row["construct"]: row["defect"] for row in csv.DictReader(_file, delimiter="\t", quoting=csv.QUOTE_NONE)
    }


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["construct"])
def test_listed_names_and_markers_are_found(row: dict[str, str]) -> None:
    seen = everything((CORPUS / row["file"]).read_bytes())
    assert listed(row["names"]) <= seen.names
    assert all(marker.encode() in seen.content for marker in listed(row["markers"]))


@pytest.mark.parametrize("row", [row for row in ROWS if row["kind"] == "malformed"], ids=lambda row: row["construct"])
def test_the_construct_is_named(row: dict[str, str]) -> None:
    examination = examine(parse((CORPUS / row["file"]).read_bytes()))
    name = DEFECT_OF[row["construct"]]
    assert name in {defect.name for defect in examination.defects}
    assert (examination.worst >= Severity.LOW) or DEFECTS[name].severity is Severity.INFO


@pytest.mark.parametrize("row", [row for row in ROWS if row["kind"] == "benign"], ids=lambda row: row["construct"])
def test_an_odd_but_well_formed_message_has_one_reading_and_no_fault(row: dict[str, str]) -> None:
    message = (CORPUS / row["file"]).read_bytes()
    assert everything(message).names == listed(row["names"])
    examination = examine(parse(message))
    assert [defect for defect in examination.defects if defect.severity > Severity.INFO] == []
    assert (examination.view_count, examination.incomplete) == (1, None)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["construct"])
def test_line_ends_do_not_change_what_is_found(row: dict[str, str]) -> None:
    with_crlf = (CORPUS / row["file"]).read_bytes()
    with_lf = with_crlf.replace(b"\r\n", b"\n")
    tree, other = parse(with_crlf), parse(with_lf)
    assert [entity.content_type for entity in tree.walk()] == [entity.content_type for entity in other.walk()]
    assert [entity.filenames for entity in tree.walk()] == [entity.filenames for entity in other.walk()]
    assert everything(with_crlf).names == everything(with_lf).names
    assert verdict(with_crlf) == verdict(with_lf)


@pytest.mark.parametrize("path", MESSAGES, ids=lambda path: path.stem)
def test_every_prefix_of_a_sample_is_read_and_rebuilt(path: Path) -> None:
    message = path.read_bytes()
    for length in range(0, len(message), 7):
        tree = parse(message[:length])
        assert all(isinstance(text, str) for entity in tree.walk() for text in (entity.text, *entity.filenames))
        body = Rebuild(tree).result().to_bytes()
        assert message[: tree.root.body_start] + body == message[:length]


@pytest.mark.parametrize("path", MESSAGES, ids=lambda path: path.stem)
def test_a_memory_map_reads_like_bytes(path: Path) -> None:
    expected = [(entity.number, entity.filenames, entity.content) for entity in parse(path.read_bytes()).walk()]
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        tree = parse(mapped)
        assert [(entity.number, entity.filenames, entity.content) for entity in tree.walk()] == expected


@pytest.mark.parametrize("path", MESSAGES, ids=lambda path: path.stem)
def test_a_sample_attached_to_another_message_shows_the_same_parts(path: Path) -> None:
    message = path.read_bytes()
    outer = (
        b"Content-Type: multipart/mixed; boundary=outermost\r\n\r\n--outermost\r\nContent-Type: message/rfc822\r\n\r\n"
    )
    tree = parse(outer + message + b"\r\n--outermost--\r\n")
    attached = tree.root.children[0].children[0]
    inside = [entity.filenames for entity in tree.walk()][2:]
    assert inside == [entity.filenames for entity in parse(message).walk()]
    assert attached.raw == message
