# SPDX-License-Identifier: GPL-3.0-or-later
"""Scanners that are programs: what exit codes and output mean, and how they are ended in time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from defang_common.wire import commands
from defang_worker import Message, Settings
from defang_worker.checks import CommandScanner, Outcome, VirusResult
from defang_worker.checks.budget import Deadline
from defang_worker.checks.viruses.presets import PRESETS
from tests.support.fake_scanners import NESTED, PLAIN

# Looks for the bad thing in all files of the directory that it is given.
GREP = """
import pathlib, sys
found = [path for path in sorted(pathlib.Path(sys.argv[-1]).iterdir()) if b"a very bad thing" in path.read_bytes()]
for path in found:
    print(f"{path}: Test.Virus FOUND")
sys.exit(1 if found else 0)
"""


def scan(check: CommandScanner, raw: bytes = PLAIN, directory: Path | str = "/nowhere") -> VirusResult:
    message = Message(commands.decode(b"S<a@b>\nF\n"), raw, str(directory), Settings())
    return message.run_checks(check)[check]


def script(text: str, **options: object) -> CommandScanner:
    return CommandScanner([sys.executable, "-c", text], name="scanner", **options)  # type: ignore[arg-type]


def test_virus_is_found_with_its_name_and_part(tmp_path: Path) -> None:
    result = scan(script(GREP), NESTED, tmp_path)
    assert (result.outcome, result.names, result.parts) == (Outcome.FOUND, ("Test.Virus",), ("2",))
    assert list(tmp_path.iterdir()) == []  # the files are gone


def test_clean_message_has_nothing() -> None:
    assert scan(script(GREP)).outcome is Outcome.NOT_FOUND


def test_virus_without_a_name_is_unknown() -> None:
    result = scan(script("import sys; sys.exit(1)"))
    assert (result.outcome, result.names) == (Outcome.FOUND, ("unknown",))


@pytest.mark.parametrize(
    ("program", "timeout_s", "says"),
    [
        ("import sys; sys.stderr.write('no database'); sys.exit(2)", 30, "exit status 2: no database"),
        ("import os; os.kill(os.getpid(), 9)", 30, "exit status -9"),
        ("import time; time.sleep(1000)", 0.5, "took too long"),
        ("print('x' * 2_000_000)", 30, "put out more than"),
    ],
)
def test_program_that_fails_could_not_tell(program: str, timeout_s: float, says: str) -> None:
    result = scan(script(program, timeout_s=timeout_s))
    assert result.is_unknown
    assert says in result.detail


def test_missing_program_is_noticed_once(caplog: pytest.LogCaptureFixture) -> None:
    check = CommandScanner(["/no/such/scanner"])
    assert [scan(check).is_unknown for _ in range(3)] == [True] * 3
    assert sum("is down" in record.message for record in caplog.records) == 1


def test_codes_are_those_of_the_table() -> None:
    codes = {3: "clean", 4: "infected", 5: "failed"}
    outcomes = [scan(script(f"import sys; sys.exit({code})", codes=codes)).outcome for code in (3, 4, 5, 0)]
    assert outcomes == [Outcome.NOT_FOUND, Outcome.FOUND, Outcome.UNKNOWN, Outcome.UNKNOWN]


@pytest.mark.parametrize("status", [2, 99])
def test_virus_that_a_failed_program_named_is_found(status: int) -> None:
    found = f"import sys; print(sys.argv[-1] + '/part-2.bin: Test.Virus FOUND'); sys.exit({status})"
    result = scan(script(found, codes={0: "clean", 1: "infected", 2: "failed"}), NESTED)
    assert (result.outcome, result.names, result.parts) == (Outcome.FOUND, ("Test.Virus",), ("2",))
    assert f"exit status {status}" in result.unchecked


def test_complaint_of_a_failed_program_that_reads_like_a_virus_is_none() -> None:
    result = scan(script("import sys; print('/var/lib/database NOT FOUND'); sys.exit(2)"), NESTED)
    assert result.is_unknown
    assert "exit status 2" in result.detail


def test_time_limit_ends_all_that_the_program_started(tmp_path: Path) -> None:
    fifo = tmp_path / "held"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    check = CommandScanner(["/bin/sh", "-c", f"sleep 1000 9>{fifo} & wait"], timeout_s=1.0)
    assert scan(check).is_unknown
    os.set_blocking(reader, True)
    assert os.read(reader, 1) == b""
    os.close(reader)


def test_program_ends_with_the_worker(tmp_path: Path) -> None:
    fifo = tmp_path / "held"
    os.mkfifo(fifo)
    program = f"""
from defang_common.wire import commands
from defang_worker import Message, Settings
from defang_worker.checks import CommandScanner
message = Message(commands.decode(b"S<a@b>\\nF\\n"), b"x", "/nowhere", Settings())
message.run_checks(CommandScanner(["/bin/sh", "-c", "sleep 1000 9>{fifo} & wait"], timeout_s=1000))
"""
    with subprocess.Popen([sys.executable, "-c", program], cwd=Path(__file__).parents[3]) as worker:
        try:
            reader = os.open(fifo, os.O_RDONLY)  # waits until the program has it open
            worker.terminate()
            assert os.read(reader, 1) == b""
            os.close(reader)
            assert worker.wait() == -signal.SIGTERM
        finally:
            worker.kill()


FILE = "/scan-x/part-2.bin"
OUTPUTS = [
    ("clamscan", 1, f"{FILE}: Eicar-Signature FOUND", "Eicar-Signature"),
    ("clamdscan", 1, f"{FILE}: Eicar-Signature FOUND", "Eicar-Signature"),
    ("odscan", 50, f'name="{FILE}", threat="Eicar test file", action="retained"', "Eicar test file"),
    ("uvscan", 13, f"{FILE} ... Found: EICAR test file NOT a virus.", "EICAR test file"),
    ("uvscan", 13, f"{FILE} ... Found the W32/Sober@MM virus !!!", "W32/Sober@MM"),
    ("uvscan", 13, f"{FILE} ... Found trojan or variant New Malware.b !!!", "New Malware.b"),
]


@pytest.mark.parametrize(("name", "status", "line", "virus"), OUTPUTS)
def test_preset_finds_the_name(name: str, status: int, line: str, virus: str) -> None:
    check = CommandScanner.preset(name)
    program = f"import sys; print({line!r}); sys.exit({status})"
    check.argv = (sys.executable, "-c", program)
    result = scan(check, NESTED)
    assert (result.check, result.names, result.parts) == (name, (virus,), ("2",))
    check.argv = (sys.executable, "-c", "")
    assert scan(check, NESTED).outcome is Outcome.NOT_FOUND


def test_every_preset_has_an_output_here() -> None:
    assert {name for name, *_ in OUTPUTS} == set(PRESETS)


def test_preset_takes_more_words_and_other_limits() -> None:
    check = CommandScanner.preset("clamscan", "--database=/db", name="own", timeout_s=5, on_failure="mark")
    assert (check.argv[-1], check.name, check.timeout_s, check.on_failure) == ("--database=/db", "own", 5, "mark")
    with pytest.raises(ValueError, match="known are clamdscan, clamscan, odscan, uvscan"):
        CommandScanner.preset("fprot")


@pytest.mark.parametrize(
    ("argv", "options"),
    [("clamscan /x", {}), ([], {}), (["x"], {"name_pattern": "x"}), (["x"], {"codes": {0: "fine"}})],
)
def test_what_makes_no_sense_is_refused(argv: list[str], options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"words|group|fine"):
        CommandScanner(argv, **options)  # type: ignore[arg-type]


def test_features_tell_whether_the_program_is_there() -> None:
    there = CommandScanner([sys.executable], version_argv=[sys.executable, "-c", "print('Scanner 1.2')"])
    gone = CommandScanner(["/no/such/scanner"])
    (first,), (second,) = there.features(Deadline.after(20)), gone.features(Deadline.after(20))
    assert (first.is_reachable, first.version) == (True, "Scanner 1.2")
    assert (second.is_reachable, second.detail) == (False, "not found, or not executable")
