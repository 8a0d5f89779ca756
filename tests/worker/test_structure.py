# SPDX-License-Identifier: GPL-3.0-or-later
"""`defang-worker structure`: the tree, the JSON, the extracted contents, and the exit status."""

from __future__ import annotations

import base64
import binascii
import gzip
import hashlib
import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defang_worker.mime import canonical
from defang_worker.mime.archives import Archive, Member
from defang_worker.mime.defects import Defect
from defang_worker.structure import command
from defang_worker.structure.describe import MessageFacts, describe
from defang_worker.structure.drawing import draw, escaped
from tests.support import archive_maker
from tests.worker.mime.test_corpus import CORPUS, ROWS, listed

if TYPE_CHECKING:
    from collections.abc import Iterator

WAIT_S = 60
LEAF_KEYS = {"part", "content_type", "is_leaf", "filenames", "size", "sha256", "encoding", "view", "defects"}


def zipped(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("_", "."), content)
    return file.getvalue()


UUENCODED = b"begin 644 blocked.exe\n" + binascii.b2a_uu(b"some words") + b"`\nend\n"
ZIP = zipped(a_txt=b"in a zip", inner_dat=zipped(blocked_exe=b"in a zip in a zip"))
MESSAGE = (
    b"Subject: lunch\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n"
    b"--b\nContent-Type: text/plain\n\nHere it is:\n" + UUENCODED + b"\nBye\n"
    b"--b\nContent-Type: message/rfc822\n\nSubject: inner\n\ninner text\n"
    b"--b\nContent-Type: application/zip\nContent-Transfer-Encoding: base64\n"
    b'Content-Disposition: attachment; filename="papers.zip"\n\n' + base64.encodebytes(ZIP) + b"--b--\n"
)


@pytest.fixture
def message(tmp_path: Path) -> Path:
    path = tmp_path / "lunch.eml"
    path.write_bytes(MESSAGE)
    return path


def shown_as_json(*files: Path | str, capsys: pytest.CaptureFixture[str], extract_to: Path | None = None) -> list[Any]:
    status = command.run(
        [str(file) for file in files], as_json=True, extract_to=str(extract_to) if extract_to else None
    )
    assert status == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def index(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / "index.jsonl").read_text(encoding="ascii").splitlines()]


# JSON


def test_each_part_of_each_view_is_an_entry(message: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (shown,) = shown_as_json(message, capsys=capsys)
    assert set(shown) == {"file", "size", "defects", "parts"}
    assert all(set(part) == LEAF_KEYS for part in shown["parts"])
    assert (shown["file"], shown["size"]) == (str(message), len(MESSAGE))
    assert [(part["part"], part["content_type"], part["is_leaf"], part["view"]) for part in shown["parts"]] == [
        ("", "multipart/mixed", False, "primary"),
        ("1", "text/plain", True, "primary"),
        ("1+1", "application/octet-stream", True, "uuencode"),
        ("2", "message/rfc822", False, "primary"),
        ("2.1", "text/plain", True, "primary"),
        ("3", "application/zip", True, "primary"),
    ]


def test_size_and_digest_are_those_of_the_decoded_body(message: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts = {part["part"]: part for part in shown_as_json(message, capsys=capsys)[0]["parts"]}
    for number, content in {"1+1": b"some words", "2.1": b"inner text", "3": ZIP}.items():
        assert (parts[number]["size"], parts[number]["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    assert parts["3"]["encoding"] == "base64"


def test_names_of_members_and_of_files_inside_are_listed(message: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = {part["part"]: part["filenames"] for part in shown_as_json(message, capsys=capsys)[0]["parts"]}
    assert names["1"] == names["1+1"] == ["blocked.exe"]
    assert names["3"] == ["papers.zip", "a.txt", "inner.dat", "blocked.exe"]


def test_defects_have_name_severity_and_part(message: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (shown,) = shown_as_json(message, capsys=capsys)
    assert {"name": "uuencode-in-text", "severity": "info", "part": "1"} in shown["defects"]
    assert {"name": "uuencode-in-text", "severity": "info", "part": "1"} in shown["parts"][1]["defects"]


def test_a_line_is_a_message_whatever_the_names_hold(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.eml").write_bytes(b'Content-Disposition: attachment; filename="a\xe2\x80\xa8b\\\n \x1b[1m"\n\n')
    (tmp_path / "b.eml").write_bytes(b"")
    first, second = shown_as_json(tmp_path, capsys=capsys)
    assert (Path(first["file"]).name, Path(second["file"]).name) == ("a.eml", "b.eml")
    assert second["parts"][0]["size"] == 0


# Extracted contents


def test_contents_of_all_leaves_and_members_are_extracted(
    message: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "new" / "out"
    shown_as_json(message, message, capsys=capsys, extract_to=target)
    assert sorted(entry.name for entry in target.iterdir()) == ["0001", "0002"]
    entries = index(target / "0002")
    found = {
        (entry["part"], tuple(entry["filenames"])): (target / "0002" / entry["path"]).read_bytes() for entry in entries
    }
    assert found[("1+1", ("blocked.exe",))] == b"some words"
    assert found[("2.1", ())] == b"inner text"
    assert found[("3", ("papers.zip",))] == ZIP
    assert found[("3", ("a.txt",))] == b"in a zip"
    assert found[("3", ("inner.dat/blocked.exe",))] == b"in a zip in a zip"
    assert all(
        entry["sha256"] == hashlib.sha256(found[(entry["part"], tuple(entry["filenames"]))]).hexdigest()
        for entry in entries
    )
    assert all(
        entry["archive_member"] == (entry["part"] == "3" and entry["filenames"] != ["papers.zip"]) for entry in entries
    )


def test_extracted_files_have_names_of_our_own_and_are_the_owners_alone(
    message: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "out"
    shown_as_json(message, capsys=capsys, extract_to=target)
    assert all(path.name == "index.jsonl" or path.suffix == ".bin" for path in (target / "0001").iterdir())
    assert {path.stat().st_mode & 0o777 for path in (target / "0001").iterdir()} == {0o600}
    assert target.stat().st_mode & 0o777 == 0o700


def test_nothing_that_was_extracted_before_is_overwritten(
    message: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "out"
    (target / "0007").mkdir(parents=True)
    (target / "0007" / "00001.bin").write_bytes(b"mine")
    shown_as_json(message, capsys=capsys, extract_to=target)
    assert (target / "0007" / "00001.bin").read_bytes() == b"mine"
    assert (target / "0008" / "index.jsonl").exists()


def test_a_member_that_cannot_be_read_is_in_the_index_all_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown_as_json(CORPUS / "Z03.eml", capsys=capsys, extract_to=tmp_path / "out")
    (member,) = [entry for entry in index(tmp_path / "out" / "0001") if entry["archive_member"]]
    assert (member["filenames"], member["path"], member["sha256"]) == (["blocked.exe"], None, None)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["construct"])
def test_names_and_markers_of_the_samples_are_shown(
    row: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (shown,) = shown_as_json(CORPUS / row["file"], capsys=capsys, extract_to=tmp_path / "out")
    names = {canonical(name) for part in shown["parts"] for name in part["filenames"]}
    contents = b"\n".join(path.read_bytes() for path in (tmp_path / "out" / "0001").glob("*.bin"))
    assert listed(row["names"]) <= names
    assert all(marker.encode() in contents for marker in listed(row["markers"]))
    if row["kind"] == "benign":
        assert names == listed(row["names"])
        assert {defect["severity"] for defect in shown["defects"]} <= {"info"}


# The tree for people


def test_the_tree_shows_numbers_types_names_sizes_and_views(message: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.run([str(message)], as_json=False, extract_to=None) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{message}: {len(MESSAGE)} B, info: ")
    assert '    1+1  application/octet-stream  "blocked.exe"  10 B  [uuencode]' in [line[2:] for line in lines]
    assert any(
        line.strip().startswith('3  application/zip  "papers.zip"') and line.endswith("base64") for line in lines
    )
    assert any(line.strip() == 'holds "a.txt", "inner.dat", "inner.dat/blocked.exe"' for line in lines)
    assert "\x1b" not in "".join(lines)


def test_colours_show_how_bad_it_is() -> None:
    facts = MessageFacts(
        size=0, defects=(Defect.of("duplicate-content-type"), Defect.of("nested-message")), incomplete="depth", parts=()
    )
    (line,) = draw("a.eml", facts, is_coloured=True)
    assert "\x1b[1;31mhigh: duplicate-content-type\x1b[0m; \x1b[2minfo: nested-message\x1b[0m" in line
    assert "not examined completely (depth)" in line
    assert next(draw("a.eml", facts, is_coloured=False)) == (
        "a.eml: 0 B, high: duplicate-content-type; info: nested-message, not examined completely (depth)"
    )


@given(st.text(max_size=300))
def test_what_is_shown_of_a_name_is_visible(name: str) -> None:
    assert escaped(name).isprintable()
    assert len(escaped(name)) <= 10 * 124


@given(st.binary(max_size=200))
def test_any_bytes_are_described_and_drawn(message: bytes) -> None:
    facts = describe(message)
    assert facts.parts[0].view == "primary"
    assert all(line.isprintable() for line in draw("x", facts, is_coloured=False))


# The program


def run(*words: str, stdin: bytes = b"", cwd: Path | None = None) -> subprocess.CompletedProcess[bytes]:
    code = [sys.executable, "-m", "defang_worker", "structure", *words]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONIOENCODING": "ascii"}
    return subprocess.run(code, input=stdin, capture_output=True, timeout=WAIT_S, check=False, cwd=cwd, env=environment)


def test_standard_input_is_read() -> None:
    done = run("--json", "-", stdin=MESSAGE)
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout)["size"] == len(MESSAGE)


def test_a_file_that_cannot_be_read_is_named_and_the_others_are_shown(message: Path) -> None:
    done = run("--json", str(message.parent / "none.eml"), str(message))
    assert done.returncode == 1
    assert done.stderr == b"defang-worker: %s: No such file or directory\n" % os.fsencode(message.parent / "none.eml")
    assert json.loads(done.stdout)["file"] == str(message)


def test_a_directory_that_cannot_be_written_is_named(message: Path) -> None:
    done = run("--extract", str(message), str(message))
    assert done.returncode == 1
    assert b"lunch.eml: File exists" in done.stderr


def test_a_working_directory_stands_for_its_message(tmp_path: Path) -> None:
    (tmp_path / "INPUTMSG").write_bytes(MESSAGE)
    (tmp_path / "COMMANDS").write_bytes(b"F\n")
    done = run("--json", ".", cwd=tmp_path)
    assert [json.loads(line)["file"] for line in done.stdout.splitlines()] == ["INPUTMSG"]


def test_names_beyond_the_terminals_characters_are_shown_escaped(tmp_path: Path) -> None:
    path = tmp_path / "größe\udcff.eml"
    path.write_bytes("Content-Disposition: attachment; filename=größe.exe\n\n".encode())
    done = run(str(path))
    assert done.returncode == 0
    assert rb'"gr\xf6\xdfe.exe"' in done.stdout
    done = run("--json", str(path))
    assert os.fsencode(json.loads(done.stdout)["file"]) == os.fsencode(path)


def test_a_reader_that_has_seen_enough_is_no_error_to_shout_about(tmp_path: Path) -> None:
    (tmp_path / "a.eml").write_bytes(MESSAGE * 50)
    command = [sys.executable, "-m", "defang_worker", "structure", "--json", *["a.eml"] * 40]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(WAIT_S) == 1


def test_a_server_does_not_load_it() -> None:
    code = "import sys, defang_worker.__main__; sys.exit('defang_worker.structure' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=WAIT_S, check=False).returncode == 0


# Archives


def _with_attachment(content: bytes) -> bytes:
    head = b'Content-Type: application/octet-stream; name="papers.bin"\nContent-Transfer-Encoding: base64\n\n'
    return b"MIME-Version: 1.0\n" + head + base64.encodebytes(content)


def test_an_archive_is_gone_through_once(monkeypatch: pytest.MonkeyPatch) -> None:
    gone_through: list[Archive] = []
    go_through = Archive.__iter__

    def counted(archive: Archive) -> Iterator[Member]:
        gone_through.append(archive)
        return go_through(archive)

    monkeypatch.setattr(Archive, "__iter__", counted)
    facts = describe(_with_attachment(ZIP))
    assert facts.parts[0].members
    assert len(gone_through) == 1


def test_of_a_member_cut_off_what_is_there_is_extracted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = b"".join(b"line %d\n" % number for number in range(5_000))
    packed = archive_maker.zipped({"first.txt": b"plain words", "cut.txt": words})
    message = tmp_path / "cut.eml"
    message.write_bytes(_with_attachment(packed[: len(packed) // 2]))
    (shown,) = shown_as_json(message, capsys=capsys, extract_to=tmp_path / "out")
    assert "archive-truncated" in {defect["name"] for defect in shown["defects"]}
    first, cut = (entry for entry in index(tmp_path / "out" / "0001") if entry["archive_member"])
    assert (first["filenames"], first["whole"]) == (["first.txt"], True)
    assert (cut["filenames"], cut["whole"]) == (["cut.txt"], False)
    content = (tmp_path / "out" / "0001" / cut["path"]).read_bytes()
    assert len(content) > 1_000
    assert words.startswith(content)


def test_archives_of_one_message_share_their_limits() -> None:
    """Each would be small enough for itself."""
    bomb = base64.encodebytes(gzip.compress(archive_maker.tarred({"zeros": bytes(900_000)})))
    head = b"--b\nContent-Type: application/gzip\nContent-Transfer-Encoding: base64\n\n"
    message = b"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n" + (head + bomb + b"\n") * 100
    assert describe(message + b"--b--\n").incomplete == "nesting-too-deep"
    assert describe(message[: len(message) // 4] + b"--b--\n").incomplete != "nesting-too-deep"
