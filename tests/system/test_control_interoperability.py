# SPDX-License-Identifier: GPL-3.0-or-later
"""Debian's md-mx-ctrl drives our multiplexor and ours drives Debian's: the same output for the same state.

Both multiplexors run the same worker program (Debian's), get the same requests, and hold one worker busy. Then each
command is given by both control programs to both. Masked is only what cannot agree: times, process IDs.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import socketserver
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.support.daemons import MX_CTRL, USER, Chain, Daemons, Origin, make_spool, private_home
from tests.support.process import wait_until

pytestmark = pytest.mark.system

FILTER = Path(__file__).parent / "interop" / "held.pl"
COMMAND_LIMIT_S = 60
# The held request lasts as long as all tests here together.
HELD_LIMIT_S = 900
MUX_OPTIONS = ("-m", "3", "-x", "4", "-w", "1", "-q", "8", "-b", str(HELD_LIMIT_S))
INPUTMSG = b"From: <a@example.com>\nSubject: x\n\nbody\n"
COMMANDS = b"S<a@example.com>\nQ%s\nHclient\nI192.0.2.7\nR<b@example.org> ? ? ?\nF\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Printed:
    """What a control program gave back."""

    status: int
    out: str
    err: str


def control(program: Origin, mux_socket: Path, *words: str, lines: str = "") -> Printed:
    argv = [str(MX_CTRL[program]), "-s", str(mux_socket), *words]
    done = subprocess.run(argv, input=lines.encode(), capture_output=True, timeout=COMMAND_LIMIT_S, check=False)
    return Printed(status=done.returncode, out=done.stdout.decode(), err=done.stderr.decode())


class HeldMux:
    """A multiplexor with some requests behind it, and one that lasts until `let_go`."""

    def __init__(self, origin: Origin, home: Path) -> None:
        spool = home / "spool"
        make_spool(spool)
        chain = Chain(filter=FILTER, mux=origin, worker=Origin.DEBIAN, mux_options=MUX_OPTIONS)
        self.daemons = Daemons(chain, home, spool)
        self.daemons.start_mux()
        self.mux_socket = self.daemons.mux_socket
        self._holder = threading.Thread(target=self._request, args=("held",), daemon=True)

    def fill(self) -> None:
        """The history: all workers started one by one, then requests of every kind, one of them still running."""
        # All three before the first request: which worker gets what depends on the order in which they became idle.
        ready = "three idle workers"
        wait_until(lambda: control(Origin.DEBIAN, self.mux_socket, "rawstatus").out.startswith("IIIS "), ready)
        for kind in ("relayok", "helook", "senderok", "recipok", "recipok", "scan", "scan", "scan", "ping"):
            self._request(kind)
        self._directory("held").joinpath("hold").touch()
        self._holder.start()
        wait_until(lambda: "B" in control(Origin.DEBIAN, self.mux_socket, "rawstatus").out, "a busy worker")

    def let_go(self) -> None:
        self._directory("held").joinpath("hold").unlink()
        self._holder.join(COMMAND_LIMIT_S)

    def _directory(self, name: str) -> Path:
        directory = self.daemons.spool / f"mdefang-{name}"
        if not directory.exists():
            directory.mkdir(mode=0o700)
            (directory / "COMMANDS").write_bytes(COMMANDS % name.encode())
            (directory / "INPUTMSG").write_bytes(INPUTMSG)
            (directory / "HEADERS").write_bytes(INPUTMSG.partition(b"\n\n")[0] + b"\n")
            for path in (directory, *directory.iterdir()):
                shutil.chown(path, USER, USER)
        return directory

    def _request(self, kind: str) -> bytes:
        where = "192.0.2.7 client.example.com"
        directory = self._directory(kind)
        line = {
            "relayok": f"relayok {where} 4567 192.0.2.1 25 NOQUEUE",
            "helook": f"helook {where} helo.example.com 4567 192.0.2.1 25 NOQUEUE",
            "senderok": f"senderok <a@example.com> {where} helo {directory} QS",
            "held": f"senderok <held%25@example.com> {where} helo {directory} QH",
            "recipok": f"recipok <b@example.org> <a@example.com> {where} <b@example.org> helo {directory} QR ? ? ?",
            "scan": f"scan Q1 {directory}",
            "ping": "ping",
        }[kind]
        if kind == "scan":
            shutil.rmtree(directory / "Work", ignore_errors=True)
        with socket.socket(socket.AF_UNIX) as mux:
            mux.settimeout(HELD_LIMIT_S)
            mux.connect(str(self.mux_socket))
            mux.sendall(line.encode() + b"\n")
            answer = b"".join(iter(lambda: mux.recv(4096), b""))
        if not answer.startswith((b"ok", b"PONG")):
            raise AssertionError(f"{line}: {answer!r}")
        return answer


@contextmanager
def held_mux(origin: Origin) -> Iterator[HeldMux]:
    with private_home("control-") as home:
        mux = HeldMux(origin, home)
        try:
            mux.fill()
            yield mux
        finally:
            with ExitStack() as stack:
                stack.callback(mux.daemons.stop)
                for directory in mux.daemons.work_dirs():
                    stack.callback(shutil.rmtree, directory)
                stack.callback(mux.let_go)


@pytest.fixture(scope="module")
def muxes() -> Iterator[dict[Origin, HeldMux]]:
    with held_mux(Origin.OURS) as ours, held_mux(Origin.DEBIAN) as debian:
        yield {Origin.OURS: ours, Origin.DEBIAN: debian}


# Seconds since something, and the process ID behind a worker's state.
_TIMES = re.compile(r"(?<=ago=)\d+|(?<=Age )\d+|(?<=^PID )\d+|(?<=^\d [BIK] )\d+", re.MULTILINE)
# In the tables: the mean milliseconds, and the shorter spans, whose requests may have passed out of sight.
_TABLE_MASKS = {
    "load": re.compile(r"^(10 Sec| 1 Min).*|(?<=\d\.\d\d) +\d+\.\d(?= )", re.MULTILINE),
    "hload": re.compile(r"^ +1h.*|(?<=\d) +\d+\.\d\d +\d+\.\d(?= )", re.MULTILINE),
    "load1": re.compile(r"(?<=\d\.\d) +\d+\.\d$", re.MULTILINE),
}
# In the raw lines the same by their places (protocol.md); the uptime too.
_RAW_MASKS = {
    "status": {5},
    "load": {0, 1, 4, 5, 8, 9, 10, 11, 12, 13, 16, 17, 28},
    "hload": {0, 4, *range(8, 16)},
    "load1": {2, 5, 8, 11, 20},
}

COMMANDS_THAT_PRINT = (
    "status",
    "rawstatus",
    "barstatus",
    "load",
    "load-relayok",
    "load-senderok",
    "load-recipok",
    "rawload",
    "rawload-relayok",
    "rawload-senderok",
    "rawload-recipok",
    "hload",
    "hload-relayok",
    "hload-senderok",
    "hload-recipok",
    "rawhload",
    "rawhload-relayok",
    "rawhload-senderok",
    "rawhload-recipok",
    "load1 600",
    "rawload1 600",
    "histo",
    "msgs",
    "workers",
    "slaves",
    "busyworkers",
    "busyslaves",
    "workerinfo 0",
    "workerinfo 1",
    "slaveinfo 2",
    "workerinfo 3",
    "workerinfo 99",
    "workerinfo x",
    "rawload1 601",
    "rawload1 x",
    "free",
    "tick",
    "foo_no_such_command",
    "no-such-command",
    "echo",
    "ECHO one two",
)


def masked(command: str, text: str) -> str:
    """The output without what cannot be equal in two multiplexors that were not started in the same second."""
    word = command.split(maxsplit=1)[0].partition("-")[0]
    if word.startswith("raw") and "error" not in text:
        places = _RAW_MASKS[word.removeprefix("raw")]
        return " ".join("TIME" if place in places else word for place, word in enumerate(text.split()))
    if word in _TABLE_MASKS:
        text = _TABLE_MASKS[word].sub(" TIME", text)
    return _TIMES.sub("TIME", text)


class Replay(socketserver.UnixStreamServer):
    """Answers each question always as the multiplexor did the first time, so that no age ticks between two askers."""

    def __init__(self, mux_socket: Path, path: Path) -> None:
        self._mux_socket = mux_socket
        self._replies: dict[bytes, bytes] = {}
        super().__init__(str(path), _ReplayedReply)

    def reply(self, question: bytes) -> bytes:
        """The multiplexor's reply, raises OSError."""
        if question not in self._replies:
            with socket.socket(socket.AF_UNIX) as mux:
                mux.settimeout(COMMAND_LIMIT_S)
                mux.connect(str(self._mux_socket))
                mux.sendall(question)
                self._replies[question] = b"".join(iter(lambda: mux.recv(4096), b""))
        return self._replies[question]


class _ReplayedReply(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        assert isinstance(self.server, Replay)
        self.wfile.write(self.server.reply(self.rfile.readline()))


@contextmanager
def replay(mux: HeldMux) -> Iterator[Path]:
    """The socket at which a replay answers."""
    path = mux.daemons.home / "replay.sock"
    with Replay(mux.mux_socket, path) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield path
        finally:
            server.shutdown()
            thread.join()
            path.unlink()


@pytest.mark.parametrize("command", COMMANDS_THAT_PRINT)
def test_both_control_programs_print_the_same_of_both_multiplexors(muxes: dict[Origin, HeldMux], command: str) -> None:
    words = command.split()
    printed = {}
    for origin, mux in muxes.items():
        with replay(mux) as path:
            ours, theirs = (control(program, path, *words) for program in (Origin.OURS, Origin.DEBIAN))
        if command == "status" and origin is Origin.OURS:
            # protocol.md, Differences from MIMEDefang: `status-with-protections`.
            common, _, protections = ours.out.partition("\n\nProtections of workers:\n")
            assert protections.startswith("  core-dumps ")
            ours = replace(ours, out=f"{common}\n")
        assert ours == theirs
        printed[origin] = (theirs.status, masked(command, theirs.out), theirs.err)
    assert printed[Origin.OURS] == printed[Origin.DEBIAN]


@pytest.mark.parametrize("seconds", ["5", "x"])
def test_a_question_that_the_multiplexor_refuses_fails_with_its_words(
    muxes: dict[Origin, HeldMux], seconds: str
) -> None:
    """protocol.md, Differences from MIMEDefang: `refusal-as-it-is`."""
    for mux in muxes.values():
        ours, original = (
            control(program, mux.mux_socket, "load1", seconds) for program in (Origin.OURS, Origin.DEBIAN)
        )
        assert (ours.status, ours.out) == (1, "")
        assert ours.err.startswith("error: Invalid 'back' amount")
        assert (original.status, original.out) == (1, f"Could not interpret response: {ours.err}")


@pytest.mark.parametrize("command", ["load1", "workerinfo"])
def test_missing_number_is_told_by_our_multiplexor_alone(muxes: dict[Origin, HeldMux], command: str) -> None:
    """protocol.md, Differences from MIMEDefang: `missing-number`."""
    told = {origin: control(Origin.DEBIAN, mux.mux_socket, command).out for origin, mux in muxes.items()}
    assert told[Origin.OURS].startswith("error: Invalid ")
    assert told[Origin.DEBIAN] == "error: no such command\n"


def test_arguments_are_encoded_and_answers_decoded(muxes: dict[Origin, HeldMux]) -> None:
    for mux in muxes.values():
        told = [control(program, mux.mux_socket, "echo", "a b", "100%", "q'\"\\", "caf\u00e9") for program in Origin]
        assert told[0] == told[1]
        assert told[0].out == "ok 4 a b 100% q'\"\\ caf\u00e9\n"


def test_commands_from_standard_input_are_sent_as_they_are(muxes: dict[Origin, HeldMux]) -> None:
    lines = "status\nmsgs\necho a%20b\nworkerinfo 99\nbarstatus\nrawload1 601\n"
    for mux in muxes.values():
        with replay(mux) as path:
            told = [control(program, path, "-i", lines=lines) for program in Origin]
        assert told[0] == told[1]
        assert "ok 1 a b\n" in told[0].out
        assert told[0].status == 0


def test_help_names_every_command_that_the_original_names(muxes: dict[Origin, HeldMux]) -> None:
    """The words behind the commands are each program's own, and ours tells what `raw` does but once."""

    def named(text: str) -> set[str]:
        return {line.split()[0].removeprefix("raw") for line in text.splitlines() if " -- " in line}

    original = control(Origin.DEBIAN, muxes[Origin.DEBIAN].mux_socket, "help")
    for mux in muxes.values():
        told = [control(program, mux.mux_socket, "help") for program in Origin]
        assert told[0] == told[1]
        assert named(original.out) <= named(told[0].out)


@pytest.mark.parametrize(("words", "status"), [(("-h",), 0), ((), 1), (("-z",), 1), (("-i", "-h"), 0)])
def test_usage_lists_the_commands_and_exits_as_the_original(
    muxes: dict[Origin, HeldMux], words: tuple[str, ...], status: int
) -> None:
    for program in Origin:
        for mux in muxes.values():
            told = control(program, mux.mux_socket, *words)
            assert told.status == status
            named = ("-s", "-i", "-h") if words == ("-z",) else ("-s", "-i", "-h", "workerinfo", "reread")
            assert all(word in told.err + told.out for word in named)


def test_a_multiplexor_that_does_not_run_is_an_error(muxes: dict[Origin, HeldMux]) -> None:
    mux_socket = muxes[Origin.DEBIAN].mux_socket
    for words in (("status",), ("rawload",), ("load",), ("workers",)):
        told = [control(program, mux_socket, "-s", "/nonexistent", *words) for program in Origin]
        assert [one.status for one in told] == [1, 1]
        assert all(one.out == "" and "Is multiplexor running?" in one.err for one in told)


def test_json_can_be_had_of_both_multiplexors(muxes: dict[Origin, HeldMux]) -> None:
    """Debian's control program is too old for it."""
    for mux in muxes.values():
        status = json.loads(control(Origin.OURS, mux.mux_socket, "jsonstatus").out)
        assert sorted(status[f"Worker{number}"] for number in range(4)) == ["busy", "idle", "idle", "stopped"]
        load = json.loads(control(Origin.OURS, mux.mux_socket, "jsonload1", "600").out)
        assert (load["busyworkers"], load["idleworkers"], load["stoppedworkers"], load["senderok"]) == (1, 2, 1, 1)


def test_reread_replaces_the_idle_workers(muxes: dict[Origin, HeldMux]) -> None:
    for mux in muxes.values():
        for program in Origin:
            assert_replaces_the_idle_workers(program, mux.daemons)


def assert_replaces_the_idle_workers(program: Origin, daemons: Daemons) -> None:
    before = set(daemons.workers())
    assert control(program, daemons.mux_socket, "reread") == Printed(
        status=0, out="Forced reread of filter rules\n", err=""
    )
    held = {int(line.split()[2]) for line in control(program, daemons.mux_socket, "busyworkers").out.splitlines()}
    assert held < before
    wait_until(lambda: before & set(daemons.workers()) == held, "the idle workers have ended")
    wait_until(
        lambda: control(Origin.DEBIAN, daemons.mux_socket, "rawstatus").out.count("I") == 2, "new workers are idle", 40
    )
