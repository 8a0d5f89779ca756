# SPDX-License-Identifier: GPL-3.0-or-later
"""The program itself, started as a multiplexor or a person starts it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from defang_common import __version__

WAIT_S = 60


def run(*words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "defang_worker", *words]
    return subprocess.run(command, input=stdin, capture_output=True, timeout=WAIT_S, check=False)


@pytest.fixture
def filter_path(spool: Path) -> str:
    """A filter that prints, starts a program that prints, and tells when it starts and stops."""
    path = spool / "filter.py"
    path.write_text(
        textwrap.dedent(
            """
            import subprocess
            import sys

            from defang_worker import Filter, Message


            class Printing(Filter):
                def on_start(self) -> None:
                    print("started")

                def filter_begin(self, message: Message) -> None:
                    print("ok 1 from a filter")
                    sys.__stdout__.write("ok 2 from a filter\\n")
                    sys.__stdout__.flush()
                    subprocess.run(["/bin/sh", "-c", "cat; echo ok 3 from a program"], check=True)
                    self.log.warning("looked at %s\\nand more", message.subject)

                def on_stop(self) -> int:
                    print("stopped")
                    return 7
            """
        )
    )
    return str(path)


def test_standard_output_has_nothing_but_answers(filter_path: str, workdir: Path) -> None:
    scan = b"scan Q1 %s\n" % os.fsencode(workdir)
    done = run("-f", filter_path, "-server", stdin=b"ping\n" + scan + b"ping\n")
    assert done.stdout == b"PONG\nok\nPONG\n"
    log = done.stderr.decode().splitlines()
    assert log[0] == "started"
    assert {"ok 1 from a filter", "ok 2 from a filter", "ok 3 from a program"} < set(log)
    assert "<4>Q1: looked at lunch | and more" in log
    assert log[-1] == "stopped"
    assert done.returncode == 7
    assert (workdir / "RESULTS").read_bytes() == b"F\n"


# Puts a pipe to descriptor 3, where the status tags go, and becomes the program.
AT_3 = "import os, sys; os.dup2(int(sys.argv[1]), 3); os.execv(sys.executable, [sys.executable, *sys.argv[2:]])"


@pytest.mark.parametrize("words", [["server", "--status-tags"], ["-serveru"]])
def test_status_tags_tell_what_is_being_done(words: list[str], workdir: Path) -> None:
    ours, theirs = os.pipe()
    try:
        command = [sys.executable, "-c", AT_3, str(theirs), "-m", "defang_worker", "-f", "/dev/null", *words]
        request = b"scan Q1 %s\n" % os.fsencode(workdir)
        done = subprocess.run(
            command, input=request, capture_output=True, timeout=WAIT_S, check=False, pass_fds=(theirs,)
        )
        assert (done.stdout, done.returncode) == (b"ok\n", 0)
        assert os.read(ours, 4096) == b"1:%20>%20Filtering%20Q1\n0:%20<%20Filtering%20Q1\n"
    finally:
        os.close(ours)
        os.close(theirs)


def test_status_tags_without_their_descriptor_are_refused() -> None:
    done = run("-f", "/dev/null", "-serveru")
    assert done.returncode == 2
    assert b"descriptor 3 is not open" in done.stderr


def test_interrupt_from_the_terminal_is_the_multiplexors_affair(filter_path: str) -> None:
    command = [sys.executable, "-m", "defang_worker", "-f", filter_path, "-server"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as worker:
        assert worker.stdin
        assert worker.stdout
        worker.stdin.write(b"ping\n")
        worker.stdin.flush()
        assert worker.stdout.readline() == b"PONG\n"
        worker.send_signal(signal.SIGINT)
        worker.stdin.write(b"ping\n")
        worker.stdin.flush()
        assert worker.stdout.readline() == b"PONG\n"
        worker.terminate()
        assert worker.wait(WAIT_S) == -signal.SIGTERM


def test_answer_that_nobody_reads_ends_the_program(filter_path: str) -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    command = [sys.executable, "-m", "defang_worker", "-f", filter_path, "-server"]
    done = subprocess.run(command, input=b"ping\n", stdout=theirs, stderr=subprocess.PIPE, timeout=WAIT_S, check=False)
    os.close(theirs)
    assert done.returncode == os.EX_IOERR
    assert done.stderr.decode().splitlines() == [
        "started",
        "<3>the multiplexor is gone: [Errno 32] Broken pipe",
        "stopped",
    ]


def test_filter_that_cannot_be_loaded_has_an_exit_status_of_its_own(spool: Path) -> None:
    (spool / "filter.py").write_text("def filter_begin(message):\n    return (\n")
    done = run("-f", str(spool / "filter.py"), "-server", stdin=b"ping\n")
    assert (done.returncode, done.stdout) == (os.EX_CONFIG, b"")
    assert done.stderr.decode().splitlines() == [
        f"<3>filter not loaded: {spool}/filter.py:2: SyntaxError: '(' was never closed"
    ]


THREAD = (
    "import threading, time\nthreading.Thread(target=time.sleep, args=(9e9,)).start()\n"
    "def filter_begin(message):\n    pass\n"
)


@pytest.mark.parametrize(
    ("more", "words", "status"),
    [
        ("nonsense\n", ["-server"], os.EX_CONFIG),
        ("nonsense\n", ["test"], os.EX_CONFIG),
        ("", ["test"], os.EX_OK),
        ("", ["check"], os.EX_OK),
        ("def on_start():\n    raise ValueError\n", ["-server"], os.EX_TEMPFAIL),
    ],
)
def test_threads_of_the_file_keep_nobody_who_has_no_use_for_it(
    spool: Path, more: str, words: list[str], status: int
) -> None:
    (spool / "filter.py").write_text(THREAD + more)
    done = run("-f", str(spool / "filter.py"), *words)
    assert done.returncode == status
    assert done.stdout or done.stderr


def test_filter_that_cannot_start_has_another(spool: Path) -> None:
    (spool / "filter.py").write_text("def on_start():\n    raise OSError('no database')\n")
    done = run("-f", str(spool / "filter.py"), "-server", stdin=b"ping\n")
    assert (done.returncode, done.stdout) == (os.EX_TEMPFAIL, b"")
    assert done.stderr.startswith(
        b"<3>filter not started: on_start: %s/filter.py:2: OSError: no database" % bytes(spool)
    )


def test_failing_on_stop_shows_in_the_exit_status(spool: Path) -> None:
    (spool / "filter.py").write_text("def on_stop():\n    raise SystemExit(0)\n")
    assert run("-f", str(spool / "filter.py"), "server").returncode == 1


@pytest.mark.parametrize("mode", ["test", "-test"])
def test_test_mode_says_what_was_found(filter_path: str, mode: str) -> None:
    done = run("-f", filter_path, mode)
    assert done.returncode == 0
    assert (
        done.stdout.decode() == f"{filter_path}: the filter can be used; callbacks: on_start, on_stop, filter_begin\n"
    )


@pytest.mark.parametrize(
    ("says", "status"), [("None", 0), ("0", 0), ("3", 3), ("1 / 0", os.EX_TEMPFAIL), ("'yes'", os.EX_TEMPFAIL)]
)
def test_test_mode_runs_the_filters_own_test_between_start_and_stop(spool: Path, says: str, status: int) -> None:
    (spool / "filter.py").write_text(
        "def on_start(): print('begin')\n"
        f"def on_validate():\n    print('test')\n    return {says}\n"
        "def on_stop(): print('end')\n"
    )
    done = run("-f", str(spool / "filter.py"), "test")
    assert done.returncode == status
    assert done.stdout.startswith(b"begin\ntest\n")
    assert (b"the filter can be used" in done.stdout) == (status == 0)
    assert (b"end" in done.stdout) == (status == 0)


def test_one_directory_can_be_scanned(workdir: Path) -> None:
    done = run("scan", "--filter", "/dev/null", str(workdir))
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert (workdir / "RESULTS").read_bytes() == b"F\n"


def test_checks_of_a_directory_that_was_kept_have_all_their_time(workdir: Path, spool: Path) -> None:
    site = spool / "filter.py"
    site.write_text(
        textwrap.dedent(
            """
            from tests.worker.checks.fakes import FakeCheck

            def filter_begin(message):
                message.run_checks(FakeCheck())
            """
        )
    )
    early = time.time() - 300
    os.utime(workdir / "COMMANDS", (early, early))
    assert run("scan", "--filter", str(site), str(workdir)).returncode == 0
    assert (workdir / "RESULTS").read_bytes() == b"F\n"


def test_directory_without_a_message_is_an_error(spool: Path) -> None:
    done = run("-f", "/dev/null", "scan", str(spool))
    assert done.returncode == 1
    assert b"COMMANDS" in done.stderr


def test_version() -> None:
    assert run("--version").stdout.decode() == run("-v").stdout.decode() == f"defang-worker version {__version__}\n"


def test_help_names_the_modes() -> None:
    text = run("--help").stdout.decode()
    assert all(word in text for word in ("server", "scan", "test", "-serveru", "--filter"))


def test_help_of_every_mode_says_what_it_does_and_its_exit_status() -> None:
    modes = re.findall(r"^    ([a-z-]+) ", run("--help").stdout.decode(), re.MULTILINE)
    assert {"server", "scan", "test", "check", "test-mail", "quarantine", "structure"} <= set(modes)
    for mode in modes:
        text = run(mode, "--help").stdout.decode()
        assert re.search(r"\n\n[A-Z][^.]+\.\n\n", text), mode
        assert "Exit status: 0" in text or "Exit status: that" in text, mode


@pytest.mark.parametrize("words", [[], ["serve"], ["-server", "more"], ["scan"]])
def test_wrong_words_are_refused(words: list[str]) -> None:
    done = run(*words)
    assert done.returncode == 2
    assert done.stderr.startswith(b"usage: defang-worker")


def test_start_takes_no_module_that_only_some_filters_need() -> None:
    code = "import sys, defang_worker.__main__; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=WAIT_S, check=True)
    heavy = ["email", "asyncio", "socket", "ssl", "subprocess", "sqlite3", "http", "difflib"]
    heavy += ["zipfile", "hashlib", "pathlib", "urllib", "json", "tempfile", "random"]
    assert not set(heavy) & set(done.stdout.decode().split())
