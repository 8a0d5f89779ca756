# SPDX-License-Identifier: GPL-3.0-or-later
"""Connections cut and contents spoiled between the programs, with a message at any stage.

Mail server and front end, front end and multiplexor, front end and worker (by way of the working directory).
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from defang_common.wire.answers import SCAN_OK, encode_results
from tests.support.daemons import USER
from tests.support.fault_site import ANSWER_LIMIT_S, ASKED, STAGES, Site, is_right, is_tempfail

pytestmark = pytest.mark.system


# Mail server and front end


@pytest.mark.parametrize("stage", STAGES)
def test_a_mail_server_that_goes_away_at_any_stage_leaves_nothing(site: Site, stage: str) -> None:
    for in_a_packet in (False, True):
        with site.holding(stage) as (message,):
            message.hang_up(in_a_packet=in_a_packet)
        assert message.result() is None
        site.wait_clean()


def test_a_mail_server_that_goes_away_while_the_front_end_stands_still_leaves_nothing(site: Site) -> None:
    with site.holding(*STAGES) as messages, site.stopped(site.pids("milter", "")):
        for message in messages:
            message.hang_up()
            message.let_go()
    assert all(message.result() is None for message in messages)


# Front end and multiplexor


REQUESTS = {
    "nothing": b"",
    "a newline": b"\n",
    "half a line": b"scan F0 /nowhere",
    "no request": b"what now\n",
    "binary": bytes(range(256)) * 4,
    "NULs": bytes(1000) + b"\n",
    "a line without end": b"scan " + b"x" * 200_000,
}


@pytest.mark.parametrize("stage", ASKED)
def test_a_client_of_the_multiplexor_that_talks_nonsense_harms_nobody(site: Site, stage: str) -> None:
    with site.holding(stage) as (message,):
        for name, request in REQUESTS.items():
            with socket.socket(socket.AF_UNIX) as client, suppress(BrokenPipeError, ConnectionResetError):
                client.settimeout(ANSWER_LIMIT_S)
                client.connect(os.fspath(site.daemons.mux_socket))
                client.sendall(request)
                client.shutdown(socket.SHUT_WR)
                assert not client.recv(4096).startswith(b"ok"), name
            assert not message.is_over()
        message.let_go()
        assert is_right(message.result())


def test_clients_of_the_multiplexor_that_go_away_before_their_answer_leave_nothing(site: Site) -> None:
    with site.holding("scan") as (message,):
        for request in (b"relayok 192.0.2.1 a 1 192.0.2.2 25 F0\n", b"scan F0 /nowhere\n", b"helo"):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(os.fspath(site.daemons.mux_socket))
                client.sendall(request)
        message.let_go()
        assert is_right(message.result())


# Makes of request and reply what the front end gets.
Spoil = Callable[[bytes, bytes], bytes]


class Wire:
    """Stands between milter and multiplexor, and spoils the answers to requests of one word."""

    def __init__(self, path: Path, behind: Path) -> None:
        self._behind = behind
        self.word = b""
        self.spoil: Spoil = lambda _line, reply: reply
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        shutil.chown(path, USER)
        self._listener.listen(16)
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._carry, args=(connection,), daemon=True).start()

    def _carry(self, connection: socket.socket) -> None:
        with connection, socket.socket(socket.AF_UNIX) as onward, suppress(OSError):
            line = connection.recv(65536)
            onward.connect(str(self._behind))
            onward.sendall(line)
            reply = b"".join(iter(lambda: onward.recv(65536), b""))
            connection.sendall(self.spoil(line, reply) if line.split()[0] == self.word else reply)


@pytest.fixture
def wire(site: Site) -> Iterator[Wire]:
    daemons = site.daemons
    assert daemons.milter
    behind = daemons.mux_socket
    between = Wire(daemons.spool / "between.sock", behind)
    daemons.milter.stop()
    daemons.mux_socket = daemons.spool / "between.sock"
    daemons.start_milter()
    site.begin()
    yield between
    daemons.milter.stop()
    between.close()
    daemons.mux_socket.unlink()
    daemons.mux_socket = behind
    site.begin()


SPOILED: dict[str, Spoil] = {
    "cut off": lambda _line, _reply: b"",
    "cut in the middle": lambda _line, reply: reply[: len(reply) // 2],
    "binary": lambda _line, _reply: bytes(range(256)),
    "NULs": lambda _line, reply: bytes(len(reply)) + b"\n",
    "NUL in the middle": lambda _line, reply: reply[:2] + b"\0" + reply[3:],
    "endless": lambda _line, _reply: b"ok 1" + b" 1" * 40_000,
    "nothing but a newline": lambda _line, _reply: b"\n",
    "an error": lambda _line, _reply: b"error: what now\n",
}


@pytest.mark.parametrize("word", [b"relayok", b"helook", b"senderok", b"recipok", b"scan"])
def test_an_answer_that_is_spoiled_on_its_way_is_a_temporary_failure(site: Site, wire: Wire, word: bytes) -> None:
    for name, spoil in SPOILED.items():
        wire.word, wire.spoil = word, spoil
        outcome = site.play()
        assert outcome is not None, name
        assert is_tempfail(outcome), (name, outcome)
        wire.word = b""
        assert site.serves(), name


# Front end and worker

RESULTS: dict[str, bytes | None] = {
    "missing": None,
    "empty": b"",
    "without an end": b"HX-Filtered yes\n",
    "binary": bytes(range(256)),
    "NULs": bytes(4000),
    "words behind the end": b"HX-Filtered yes\nFX\n",
    "a line without end": b"H" + b"x" * 60_000 + b"\nF\n",
    "endless": b"HX-Filtered yes\n" * 20_000 + b"F\n",
}


def test_results_that_are_spoiled_are_a_temporary_failure(site: Site, wire: Wire) -> None:
    for name, content in RESULTS.items():

        def spoil(line: bytes, _reply: bytes, content: bytes | None = content) -> bytes:
            if content is not None:
                (Path(os.fsdecode(line.split()[2])) / "RESULTS").write_bytes(content)
            return SCAN_OK

        wire.word, wire.spoil = b"scan", spoil
        assert is_tempfail(site.play()), name
        wire.word = b""
        assert site.serves(), name
    assert len(re.findall(r"F\d+: eom: .*RESULTS", site.log())) == len(RESULTS)


def test_results_that_are_spoiled_on_the_answer_are_a_temporary_failure(site: Site, wire: Wire) -> None:
    assert site.serves()
    for name, content in RESULTS.items():

        def spoil(_line: bytes, _reply: bytes, content: bytes = content or b"") -> bytes:
            return encode_results(content)

        wire.word, wire.spoil = b"scan", spoil
        assert is_tempfail(site.play()), name
        wire.word = b""
        assert site.serves(), name


def append(file: Path, content: bytes) -> None:
    with file.open("ab") as opened:
        opened.write(content)


# What befalls the directory of a message of which header and body have begun to come.
SPOILED_DIRECTORY: dict[str, Callable[[Path], object]] = {
    "COMMANDS missing": lambda directory: (directory / "COMMANDS").unlink(),
    "COMMANDS empty": lambda directory: os.truncate(directory / "COMMANDS", 0),
    "COMMANDS without its beginning": lambda directory: os.truncate(directory / "COMMANDS", 5),
    "COMMANDS ended": lambda directory: (directory / "COMMANDS").write_bytes(b"R<a@example.org>\nF\n"),
    "COMMANDS closed to us": lambda directory: (directory / "COMMANDS").chmod(0),
    "RESULTS in the way": lambda directory: (directory / "RESULTS").mkdir(),
    "all missing": shutil.rmtree,
}


@pytest.mark.parametrize("how", SPOILED_DIRECTORY)
def test_a_working_directory_that_is_spoiled_is_a_temporary_failure(site: Site, how: str) -> None:
    with site.holding("body") as (message,):
        SPOILED_DIRECTORY[how](site.daemons.spool / f"mdefang-{message.queue_id}")
        message.let_go()
        assert is_tempfail(message.result())
    site.wait_logged(rf"^\S+ {message.queue_id}: eom: ")


def test_what_nobody_knows_in_a_working_directory_is_logged_and_passed_over(site: Site) -> None:
    for content in (b"~what now\n", bytes(100) + b"\n"):
        with site.holding("body") as (message,):
            append(site.daemons.spool / f"mdefang-{message.queue_id}" / "COMMANDS", content)
            message.let_go()
            assert is_right(message.result())
        site.wait_logged(rf"{message.queue_id}: Worker \d+ stderr: COMMANDS: unknown line ignored: ")
