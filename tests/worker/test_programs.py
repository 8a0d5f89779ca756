# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs that filters start: what they put out, and how they are stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from defang_common.wire import commands
from defang_worker import Message, Settings
from defang_worker.mime import Tree, parse
from defang_worker.mime.one_reading import delivered
from defang_worker.programs import ProgramFailed, run
from tests.worker.conftest import COMMANDS

UPPER = [sys.executable, "-c", "import sys; sys.stdout.write(sys.stdin.read().upper())"]
TWO_PARTS = (
    b"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n"
    b"--b\nContent-Type: text/plain; charset=us-ascii\nX-Own: kept\n\nfirst\n"
    b"--b\nContent-Type: application/x-data; name=a.dat\nContent-Transfer-Encoding: base64\n\nc2Vjb25k\n--b--\n"
)


def make(raw: bytes, directory: Path) -> Message:
    return Message(commands.decode(COMMANDS), raw, str(directory), Settings())


def after(message: Message) -> Tree:
    rebuilt = message.finish_body()
    assert rebuilt is not None
    return parse(delivered(parse(message.raw), rebuilt))


def test_output_is_what_the_program_made_of_its_input() -> None:
    assert run(UPPER, b"abc") == b"ABC"


def test_input_and_output_may_be_larger_than_a_pipe() -> None:
    big = b"x" * 3_000_000
    assert run(["/bin/cat"], big) == big


def test_arguments_are_not_seen_by_a_shell() -> None:
    assert run(["/bin/echo", "$HOME; `id`", "*"], b"") == b"$HOME; `id` *\n"


def test_program_that_reads_nothing_does_no_harm() -> None:
    assert run(["/bin/echo", "done"], b"x" * 3_000_000) == b"done\n"


@pytest.mark.parametrize("status", [1, 75, 255])
def test_every_status_but_zero_is_a_failure_with_what_the_program_said(status: int) -> None:
    with pytest.raises(ProgramFailed, match=rf"exit status {status}: no such thing"):
        run([sys.executable, "-c", f"import sys; sys.stderr.write('no such\\nthing'); sys.exit({status})"], b"")


def test_program_that_a_signal_ends_is_a_failure() -> None:
    with pytest.raises(ProgramFailed, match="signal 15"):
        run([sys.executable, "-c", "import os; os.kill(os.getpid(), 15)"], b"")


def test_missing_program_is_a_failure() -> None:
    with pytest.raises(ProgramFailed, match="/no/such/program"):
        run(["/no/such/program"], b"")


@pytest.mark.parametrize("argv", [[], "cat /etc/passwd"])
def test_command_line_in_one_string_is_refused(argv: list[str]) -> None:
    with pytest.raises(ProgramFailed, match="list of its words"):
        run(argv, b"")


def test_time_limit_ends_the_program_and_all_that_it_started(tmp_path: Path) -> None:
    # The grandchild holds a FIFO open for writing: its reader sees the end once nobody does.
    fifo = tmp_path / "held"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(ProgramFailed, match="took too long"):
        run(["/bin/sh", "-c", f"sleep 1000 9>{fifo} & echo started; wait"], b"", timeout_s=1.0)
    os.set_blocking(reader, True)
    assert os.read(reader, 1) == b""
    os.close(reader)


def test_time_limit_holds_for_a_program_that_closes_its_output() -> None:
    with pytest.raises(ProgramFailed, match="took too long"):
        run(["/bin/sh", "-c", "exec >&- 2>&-; sleep 1000"], b"", timeout_s=0.3)


def test_what_a_program_leaves_running_is_ended(tmp_path: Path) -> None:
    fifo = tmp_path / "held"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    # The redirection of the FIFO is made before the shell goes on, so the end of file means that it was closed again.
    script = f"exec 9>{fifo}; sleep 1000 >/dev/null 2>&1 & exec 9>&-; echo done"
    assert run(["/bin/sh", "-c", script], b"", timeout_s=20) == b"done\n"
    os.set_blocking(reader, True)
    assert os.read(reader, 1) == b""
    os.close(reader)


def test_program_ends_with_the_worker_that_waits_for_it(tmp_path: Path) -> None:
    fifo = tmp_path / "held"
    os.mkfifo(fifo)
    script = f"from defang_worker.programs import run; run(['/bin/sh', '-c', 'sleep 1000 9>{fifo} & wait'], b'')"
    worker = subprocess.Popen([sys.executable, "-c", script])
    reader = os.open(fifo, os.O_RDONLY)  # waits until the program has it open
    worker.terminate()
    assert os.read(reader, 1) == b""
    os.close(reader)
    assert worker.wait() == -signal.SIGTERM


def test_worker_minds_signals_as_before_once_a_program_is_done() -> None:
    before = signal.getsignal(signal.SIGTERM)
    run(["/bin/true"], b"")
    assert signal.getsignal(signal.SIGTERM) is before


def test_thread_may_start_programs() -> None:
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(run, UPPER, b"abc").result() == b"ABC"


def test_endless_output_is_a_failure() -> None:
    with pytest.raises(ProgramFailed, match="more than 100000 bytes"):
        run(["/usr/bin/yes"], b"", max_output_bytes=100_000)


def test_part_gets_what_the_program_makes_of_it_and_keeps_its_header(tmp_path: Path) -> None:
    message = make(TWO_PARTS, tmp_path)
    first, second = message.root.children
    assert first.filter_through(UPPER)
    assert second.filter_through(UPPER)
    assert (first.text, second.data) == ("FIRST", b"SECOND")
    changed = after(message).root.children
    assert [part.content for part in changed] == [b"FIRST", b"SECOND"]
    assert changed[0].headers.get("x-own") == b"kept"
    assert changed[1].filename == "a.dat"
    assert changed[1].transfer_encoding == "base64"


def test_program_that_changes_nothing_leaves_the_message_alone(tmp_path: Path) -> None:
    message = make(TWO_PARTS, tmp_path)
    assert not message.root.children[1].filter_through(["/bin/cat"])
    assert message.finish_body() is None


def test_binary_output_in_a_text_gets_an_encoding_that_carries_it(tmp_path: Path) -> None:
    message = make(TWO_PARTS, tmp_path)
    message.root.children[0].filter_through(["/usr/bin/printf", r"a\rb\000c"])
    assert after(message).root.children[0].content == b"a\rb\0c"


def test_only_part_of_a_simple_message_keeps_the_message_header(tmp_path: Path) -> None:
    message = make(b"Subject: x\nContent-Type: text/plain\n\nhello\n", tmp_path)
    assert message.root.filter_through(UPPER)
    changed = after(message).root
    assert changed.content == b"HELLO\n"
    assert changed.headers.get("subject") == b"x"


def test_container_cannot_be_filtered_through(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="only a part with a body"):
        make(TWO_PARTS, tmp_path).root.filter_through(UPPER)


def test_program_runs_in_the_directory_of_the_message(tmp_path: Path) -> None:
    message = make(TWO_PARTS, tmp_path)
    message.root.children[0].filter_through(["/bin/pwd"])
    assert message.root.children[0].text.strip() == str(tmp_path)


def test_failure_in_a_filter_defers_the_message(tmp_path: Path) -> None:
    message = make(TWO_PARTS, tmp_path)
    with pytest.raises(ProgramFailed):
        message.root.children[0].filter_through(["/bin/false"])
    assert message.root.children[0].text == "first"
