# SPDX-License-Identifier: GPL-3.0-or-later
"""The control command: what it sends, what it prints, how it exits; and that Debian's does the same."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from defang_common import __version__
from defang_mux import ctl
from defang_mux.layouts import Unfit, find

ORIGINAL = "/usr/bin/md-mx-ctrl"
COMMAND_LIMIT_S = 60

STATUS = "IBSKX 12 7 10 3 99\n"
LOAD = (
    "1 2 3 40 1.000000 1.500000 2.250000 3.100000 10.123456 20.5 30.55 40.45 1 2 3 4 5 6 7 8 1 2 3 4 100 12 10 3 99\n"
)
LOAD1 = "120 1.5 2.25 6 1.0 0.05 0 0 0 7 2 3.33 1 2 3 4 100 12 10 3 99 60 1 2 3 4\n"
HLOAD = "1 20 300 4000 0.0 1.5 2.5 3.55 0.0 10.1 20.2 3000.25 0 5 600 80000\n"
BAD_BACK = "error: Invalid 'back' amount (must be 10-600)\n"


class FakeMux:
    """Gives one reply to everything that has none of its own in `replies`, and remembers what was sent."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.reply = b""
        self.replies: dict[bytes, bytes] = {}
        self.got: list[bytes] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(os.fspath(path))
        self._listener.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                self.got.append(connection.recv(65536))
                connection.sendall(self.replies.get(self.got[-1], self.reply))

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def mux(spool: Path) -> Iterator[FakeMux]:
    fake = FakeMux(spool / "mx.sock")
    yield fake
    fake.close()


def typed(program: list[str], mux: FakeMux, words: list[str], lines: bytes = b"") -> tuple[int, bytes, bytes]:
    done = subprocess.run(
        [*program, "-s", os.fspath(mux.path), *words],
        input=lines,
        capture_output=True,
        timeout=COMMAND_LIMIT_S,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    return done.returncode, done.stdout, done.stderr


def ours(mux: FakeMux, *words: str, lines: bytes = b"") -> tuple[int, bytes, bytes]:
    return typed([sys.executable, "-m", "defang_mux.ctl"], mux, list(words), lines)


def laid_out(command: str, reply: str) -> str:
    layout = find(command)
    assert layout is not None
    return layout.lay_out(reply)


# Layouts


@pytest.mark.parametrize(
    ("command", "reply", "text"),
    [
        (
            "status",
            STATUS,
            (
                "Max workers: 5\nWorker 0: idle\nWorker 1: busy\nWorker 2: stopped\nWorker 3: killed\n"
                "Worker 4: unknown state 'X'\n"
            ),
        ),
        ("rawstatus", STATUS, STATUS),
        ("barstatus", STATUS, "  1/5 B....    3/10 QQQ....... 12\n"),
        ("barstatus", "IB 5 2 0 0 9\n", "  1/2 B. 5\n"),
        (
            "barstatus",
            "B" * 10 + "I" * 27 + " 5 6 30 11 4\n",
            " 10/37 BBBBBBB..................   11/30 QQQQQQQQ............ 5\n",
        ),
        ("barstatus", "B" * 26 + " 5 6 21 21 4\n", " 26/26 " + "B" * 25 + "   21/21 " + "Q" * 20 + " 5\n"),
        (
            "load",
            LOAD,
            (
                "  Load              Msgs        Msgs/Sec     Avg ms/Scan   Avg Busy Workers\n"
                "10 Sec               1            0.10            10.1            1.00\n"
                " 1 Min               2            0.03            20.5            1.50\n"
                " 5 Min               3            0.01            30.6            2.25\n"
                "10 Min              40            0.07            40.5            3.10\n"
            ),
        ),
        (
            "hload-recipok",
            HLOAD,
            (
                "  Load              RCPT        RCPT/Sec     Avg ms/RCPT   Avg Busy Workers\n"
                "    1h               1            0.00             0.0            0.00\n"
                "    4h              20            4.00            10.1            1.50\n"
                "   12h             300            0.50            20.2            2.50\n"
                "   24h            4000            0.05          3000.2            3.55\n"
            ),
        ),
        ("rawload-relayok", LOAD, LOAD),
        (
            "load1 60",
            LOAD1,
            (
                "Statistics for last 60 seconds:\n"
                "       Cmd             Num           Num/s      AvgWorkers           AvgMS\n"
                "      Scan             120             2.0             1.5             2.2\n"
                "   Relayok               6             0.1             1.0             0.1\n"
                "  Senderok               0             0.0             0.0             0.0\n"
                "   Recipok               7             0.1             2.0             3.3\n"
                "\n"
                "Current Snapshot:\n"
                "Workers: busy=1 idle=2 stopped=3 killed=4\n"
                "Cmds:   scan=1 relayok=2 senderok=3 recipok=4\n"
                "Queue:  size=10 queued=3\n"
            ),
        ),
        ("rawload1 60", LOAD1, LOAD1),
    ],
)
def test_reply_is_laid_out_as_by_the_original(command: str, reply: str, text: str) -> None:
    assert laid_out(command, reply) == text


@pytest.mark.parametrize(
    ("command", "request_line"),
    [
        ("status", "status"),
        ("jsonstatus", "status"),
        ("rawhload-senderok", "hload-senderok"),
        ("jsonload1 60", "load1 60"),
        ("load1 60 7", "load1 60 7"),
    ],
)
def test_made_up_commands_ask_for_the_real_ones(command: str, request_line: str) -> None:
    layout = find(command)
    assert layout is not None
    assert layout.request == request_line


@pytest.mark.parametrize("command", ["workers", "STATUS", "status x", "load1", "rawload1", "load-helook", "", "Own a"])
def test_other_commands_have_no_layout(command: str) -> None:
    assert find(command) is None


@pytest.mark.parametrize("reply", ["", "1 2 3\n", BAD_BACK, "a " * 29])
@pytest.mark.parametrize("command", ["load", "hload", "load1 60", "jsonload1 60", "status", "barstatus", "jsonstatus"])
def test_reply_of_another_shape_is_not_laid_out(command: str, reply: str) -> None:
    with pytest.raises(Unfit):
        laid_out(command, reply)


def test_json_is_json_and_has_no_newline() -> None:
    status = laid_out("jsonstatus", STATUS)
    assert status.startswith('{"timestamp": "')
    assert status.endswith("}")
    assert json.loads(status) | {"timestamp": "", "hostname": ""} == {
        "timestamp": "",
        "hostname": "",
        "Worker0": "idle",
        "Worker1": "busy",
        "Worker2": "stopped",
        "Worker3": "killed",
        "Worker4": "unknown state 'X'",
    }
    load = laid_out("jsonload1 60", LOAD1)
    assert load.endswith(
        '"busyworkers":1, "idleworkers":2, "stoppedworkers":3, "killedworkers":4,'
        '"scan":1, "relayok":2, "senderok":3, "recipok":4,"queue_size":10, "queued_requests":3}'
    )
    assert json.loads(load)["queued_requests"] == 3


# The program


def test_arguments_are_encoded_one_by_one_and_the_reply_is_decoded(mux: FakeMux) -> None:
    mux.reply = b"ok a%20b%41"
    assert ours(mux, "Cust", "a b", "", "q'\"\\%\u00e9") == (0, b"ok a bA\n", b"")
    assert mux.got == [b"Cust a%20b  q%27%22%5C%25%C3%A9\n"]


def test_bytes_that_are_no_text_come_through(mux: FakeMux) -> None:
    mux.reply = b"\xff%FE\n"
    assert ours(mux, "workers") == (0, b"\xff\xfe\n", b"")


def test_reply_of_nothing_prints_nothing(mux: FakeMux) -> None:
    assert ours(mux, "busyworkers") == (0, b"", b"")


def test_failed_reread_is_an_error_with_all_its_lines(mux: FakeMux) -> None:
    mux.reply = b"error: /f.py:3: NameError\nTraceback:\n  x\n"
    assert ours(mux, "reread") == (1, b"", b"error: /f.py:3: NameError\nTraceback:\n  x\n")
    mux.reply = b"Forced reread of filter rules\n"
    assert ours(mux, "reread") == (0, b"Forced reread of filter rules\n", b"")


def test_question_that_cannot_be_answered_is_an_error(mux: FakeMux) -> None:
    mux.reply = b"error: No request of that message is remembered\n"
    assert ours(mux, "why", "Q1") == (1, b"", mux.reply)
    assert ours(mux, "jsonslow", "x") == (1, b"", mux.reply)


def test_status_goes_on_with_protections_for_people_alone(mux: FakeMux) -> None:
    mux.replies = {
        b"status\n": b"IS 5 2 0 0 9\n",
        b"help\n": b"status           -- x\nprotections      -- y\n",
        b"protections\n": b"core-dumps none\nlandlock not wanted\n",
    }
    workers = b"Max workers: 2\nWorker 0: idle\nWorker 1: stopped\n"
    assert ours(mux, "status") == (
        0, workers + b"\nProtections of workers:\n  core-dumps none\n  landlock not wanted\n", b"",
    )  # fmt: skip
    assert ours(mux, "-i", lines=b"status\n")[1] == workers


def test_protections_are_not_asked_of_a_multiplexor_that_would_pass_the_question_on(mux: FakeMux) -> None:
    mux.replies = {b"status\n": b"I 5 2 0 0 9\n", b"help\n": b"help -- x\nstatus -- y\n"}
    assert ours(mux, "status") == (0, b"Max workers: 1\nWorker 0: idle\n", b"")
    assert mux.got == [b"status\n", b"help\n"]


def test_error_reply_to_status_goes_to_standard_error(mux: FakeMux) -> None:
    mux.reply = b"error: x\n"
    assert ours(mux, "status") == (1, b"", b"ERROR error: x\n")


@pytest.mark.parametrize("words", [["load1", "5"], ["jsonload1", "5"], ["load"], ["hload-recipok"]])
def test_error_reply_to_a_question_about_load_is_shown_as_it_is(mux: FakeMux, words: list[str]) -> None:
    mux.reply = BAD_BACK.encode()
    assert ours(mux, *words) == (1, b"", BAD_BACK.encode())


def test_other_reply_that_cannot_be_laid_out_goes_to_standard_output(mux: FakeMux) -> None:
    mux.reply = b"1 2 3\n"
    assert ours(mux, "load1", "60") == (1, b"Could not interpret response: 1 2 3\n", b"")


def test_commands_from_standard_input_are_sent_as_typed_and_none_ends_the_others(mux: FakeMux) -> None:
    mux.reply = STATUS.encode()
    status, out, err = ours(mux, "-i", lines=b"rawstatus\nload1 60\n\nCust a%20b\r\nlast")
    assert (status, err) == (0, b"")
    assert mux.got == [b"status\n", b"load1 60\n", b"\n", b"Cust a%20b\n", b"last\n"]
    assert out.count(STATUS.encode()) == 5


def test_no_multiplexor_is_an_error_with_a_hint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(
        ctl.AskFailed, match=f"connect: {tmp_path}/none: No such file or directory: Is multiplexor running"
    ):
        ctl.ask(os.fspath(tmp_path / "none"), b"free")


@pytest.mark.parametrize(("words", "status"), [(["-h"], 0), ([], 1)])
def test_usage_needs_no_multiplexor(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], status: int
) -> None:
    assert ctl.main(["-s", os.fspath(tmp_path / "none"), *words]) == status
    assert capsys.readouterr() == ((ctl.HELP, "") if status == 0 else ("", ctl.HELP))
    assert f"(default: {ctl.DEFAULT_SOCKET})" in ctl.HELP


@pytest.mark.parametrize("word", ["-v", "--version"])
def test_version_is_told(capsys: pytest.CaptureFixture[str], word: str) -> None:
    assert ctl.main([word]) == 0
    assert capsys.readouterr().out == f"md-mx-ctrl version {__version__}\n"


def test_unknown_option_is_told_last(capsys: pytest.CaptureFixture[str]) -> None:
    assert ctl.main(["-z"]) == 1
    assert capsys.readouterr().err == f"{ctl.USAGE}md-mx-ctrl: option -z not recognized\n"


def test_usage_and_help_of_the_multiplexor_are_shown(mux: FakeMux) -> None:
    mux.reply = b"help   -- words\n"
    text = ctl.HELP.encode() + b"help   -- words\n"
    for words in ("-h", "--help"):
        assert ours(mux, words) == (0, text, b"")
    assert ours(mux) == (1, b"", text)
    assert mux.got == [b"help\n"] * 3
    assert ours(mux, "--no-such")[0] == 1


# The same as the original


SAME: list[tuple[str, list[str]]] = [
    *((reply, [word]) for word in ("status", "rawstatus", "barstatus") for reply in (
        STATUS, "I 0 0 0 0 0\n", "B" * 10 + "I" * 27 + " 5 6 30 11 4\n", "B" * 37 + " 5 6 30 30 4\n",
        "S" * 25 + "B 5 6 19 1 4\n", "B" + "I" * 99 + " 1 2 128 3 4\n", "error: xx\n")),
    *((LOAD, [word + kind]) for word in ("load", "rawload") for kind in ("", "-relayok", "-senderok", "-recipok")),
    *((HLOAD, [word + kind]) for word in ("hload", "rawhload") for kind in ("", "-relayok", "-senderok", "-recipok")),
    *((LOAD1, words) for words in (["load1", "60"], ["rawload1", "60"], ["load1", "60", "7"], ["load1"])),
    (BAD_BACK, ["rawload1", "5"]),
    ("1 2 3\n", ["load1", "60"]),
    *((reply, words) for reply in ("a%20b%41 %zz\n", "3.3", "", "a\nb%0A") for words in (
        ["workers"], ["Cust", "a b", "", "q'\"\\%\u00e9"], ["reread"], ["msgs"], ["version"], ["STATUS"],
        ["status", "x"], ["free"])),
]  # fmt: skip


@pytest.mark.system
def test_everything_sent_and_printed_is_as_by_the_original(mux: FakeMux) -> None:
    for reply, words in SAME:
        mux.reply = reply.encode()
        mux.got = []
        assert ours(mux, *words) == typed([ORIGINAL], mux, words), (reply, words)
        # Ours asks for more behind the status of workers.
        assert mux.got[0] == mux.got[-1]


@pytest.mark.system
def test_commands_from_standard_input_do_as_in_the_original(mux: FakeMux) -> None:
    for reply, lines in ((STATUS, "status\nrawload\n\nload1 60\n status\nCust a%20b\n"), (LOAD1, "load1 60\nstatus\n")):
        mux.reply = reply.encode()
        mux.got = []
        assert ours(mux, "-i", lines=lines.encode()) == typed([ORIGINAL], mux, ["-i"], lines.encode())
        half = len(mux.got) // 2
        assert mux.got[:half] == mux.got[half:]


def test_reader_that_has_seen_enough_is_no_traceback(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "defang_mux.ctl", "-v"],
        check=False,
        stdout=writer,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        timeout=COMMAND_LIMIT_S,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")
