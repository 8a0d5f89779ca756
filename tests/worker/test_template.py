# SPDX-License-Identifier: GPL-3.0-or-later
"""The template as a program, with the multiplexor's end of its socket in the test's hands; and its rehearsal."""

from __future__ import annotations

import logging
import os
import socket
import tempfile
from pathlib import Path

import pytest

from defang_common.wire import percent
from defang_common.wire import template as wire
from defang_common.wire.answers import encode_results
from defang_worker import rehearsal
from defang_worker.log_lines import QueueIdFormatter
from tests.support.template import WAIT_S, fork, hear, template

FILTER = """
import os, sys
known = set(sys.modules)

def filter_begin(message):
    pass

def filter_unknown_command(command, words):
    return " ".join(sorted(set(sys.modules) - known)) or "none"
"""


# Looks at parts, and so has the engine look at all of a message; one that other programs read in another way is made
# to have one reading.
WHOLE_FILTER = """
from defang_worker import Settings
settings = Settings(ambiguity="default")

def filter_part(message, part):
    if part.extension == ".exe":
        part.drop(warning="An attachment was removed.")
"""
TESTS = Path(__file__).parents[1]


def test_template_forks_workers_that_serve_and_ends_with_its_socket(spool: Path) -> None:
    path = spool / "filter.py"
    path.write_text(FILTER)
    with template(path) as (control, process):
        assert hear(control) == wire.Hello()
        assert hear(control) == wire.Ready()
        workers = [fork(control, number) for number in (7, 8)]
        assert [number for number, _, _ in workers] == [7, 8]
        for _, stdin, stdout in workers:
            os.write(stdin, b"ping\n")
            assert os.read(stdout, 100) == b"PONG\n"
        control.close()
        assert process.wait(WAIT_S) == 0
        # The workers live on, until the end of their input.
        for _, stdin, stdout in workers:
            os.write(stdin, b"ping\n")
            assert os.read(stdout, 100) == b"PONG\n"
            os.close(stdin)
            assert os.read(stdout, 100) == b""
            os.close(stdout)


@pytest.mark.parametrize(
    ("more", "said", "status"), [("nonsense\n", wire.Fault, os.EX_CONFIG), ("", wire.Unforkable, os.EX_OK)]
)
def test_threads_of_the_file_do_not_keep_a_template_that_is_of_no_use(
    spool: Path, more: str, said: type[wire.Said], status: int
) -> None:
    path = spool / "filter.py"
    start = "import threading, time\nthreading.Thread(target=time.sleep, args=(9e9,)).start()\n"
    path.write_text(f"{start}def filter_begin(message):\n    pass\n{more}")
    with template(path) as (control, process):
        assert hear(control) == wire.Hello()
        assert isinstance(hear(control), said)
        control.shutdown(socket.SHUT_WR)
        assert process.wait(WAIT_S) == status


def test_first_message_of_a_forked_worker_loads_no_module(spool: Path, workdir: Path) -> None:
    path = spool / "filter.py"
    path.write_text(FILTER)
    with template(path) as (control, _):
        assert hear(control) == wire.Hello()
        assert hear(control) == wire.Ready()
        _, stdin, stdout = fork(control, 1)
        os.write(stdin, b"modules\n")
        before = os.read(stdout, 4096)
        os.write(stdin, b"scan Q1 %b\n" % os.fsencode(workdir))
        assert os.read(stdout, 100) == b"ok\n"
        os.write(stdin, b"modules\n")
        assert os.read(stdout, 4096) == before
        os.close(stdin)
        os.close(stdout)


def test_no_message_makes_a_forked_worker_load_a_module_that_looks_at_messages(spool: Path, workdir: Path) -> None:
    letters = [*TESTS.glob("cases/*/INPUTMSG"), *TESTS.glob("worker/mime/corpus/*.eml")]
    assert len(letters) > 100
    path = spool / "filter.py"
    path.write_text(FILTER + WHOLE_FILTER)
    with template(path) as (control, _):
        assert hear(control) == wire.Hello()
        assert hear(control) == wire.Ready()
        _, stdin, stdout = fork(control, 1)
        for letter in letters:
            (workdir / "INPUTMSG").write_bytes(letter.read_bytes().replace(b"\r\n", b"\n"))
            (workdir / "RESULTS").write_bytes(b"")
            os.write(stdin, b"scan Q1 %b\n" % os.fsencode(workdir))
            assert os.read(stdout, 100) == b"ok\n", letter
        os.write(stdin, b"modules\n")
        loaded = percent.decode(os.read(stdout, 65536)).split()
        assert not [name for name in loaded if name.startswith(b"defang_worker.mime")]
        os.close(stdin)
        os.close(stdout)


def test_filter_that_cannot_be_loaded_is_told_with_its_traceback(spool: Path) -> None:
    path = spool / "filter.py"
    path.write_text("def f():\n    raise KeyError('x')\nf()\n")
    with template(path) as (control, process):
        assert hear(control) == wire.Hello()
        said = hear(control)
        assert isinstance(said, wire.Fault)
        first, *others = said.text.split("\n")
        assert first.startswith(f"{path}:2: KeyError")
        assert others[0].startswith("Traceback")
        assert process.wait(WAIT_S) == 78


def test_nonsense_ends_the_template_and_no_worker_comes_of_it(spool: Path) -> None:
    path = spool / "filter.py"
    path.write_text(FILTER)
    with template(path) as (control, process):
        assert hear(control) == wire.Hello()
        assert hear(control) == wire.Ready()
        control.send(b"fork 1")
        assert process.wait(WAIT_S) != 0
        assert control.recv(100) == b""


def test_rehearsal_says_nothing_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    answers = rehearsal.rehearse(QueueIdFormatter())
    assert answers == [encode_results(b"HX-Rehearsal done\nF\n")] * 10
    assert list(tmp_path.iterdir()) == []
    assert caplog.text == ""
    assert logging.root.manager.disable == logging.NOTSET


def test_rehearsal_is_left_out_where_no_file_can_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/proc")
    assert rehearsal.rehearse(QueueIdFormatter()) == []
