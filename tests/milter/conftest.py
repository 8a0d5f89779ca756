# SPDX-License-Identifier: GPL-3.0-or-later
"""Fakes for the front end: a milter context that records its calls, a multiplexor that answers as told."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import milter
import pytest

from defang_common.wire.abilities import QUESTION_TO_MUX
from defang_milter.callbacks import Callbacks, Site
from defang_milter.command_line import parse
from defang_milter.mux_client import MuxClient

Call = tuple[object, ...]
Answerer = bytes | Callable[[bytes], bytes]

MY_IP = b"192.0.2.1"


@dataclass
class FakeContext:
    """What pymilter's context does, without libmilter: text through UTF-8, one private object, calls in order.

    `refused` names calls that fail as they do where the MTA lacks the action.
    """

    macros: dict[str, bytes] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    calls: list[Call] = field(default_factory=list)
    private: Any = None

    def getsymval(self, name: str, /) -> str | None:
        value = self.macros.get(name)
        return None if value is None else value.decode()

    def setreply(self, code: str, dsn: str | None, /, *lines: str) -> None:
        self._note("setreply", code, dsn, *lines)

    def addheader(self, name: str, value: str, index: int = -1, /) -> None:
        if index < 0:
            self._note("addheader", name, value)
        else:
            self._note("insheader", index, name, value)

    def chgheader(self, name: str, index: int, value: str | None, /) -> None:
        self._note("chgheader", name, index, value)

    def addrcpt(self, recipient: str, parameters: str | None = None, /) -> None:
        self._note("addrcpt", recipient)

    def delrcpt(self, recipient: str, /) -> None:
        self._note("delrcpt", recipient)

    def chgfrom(self, sender: str, parameters: str | None = None, /) -> None:
        self._note("chgfrom", sender)

    def replacebody(self, chunk: bytes | str, /) -> None:
        self._note("replacebody", chunk)

    def quarantine(self, reason: str, /) -> None:
        self._note("quarantine", reason)

    def progress(self) -> None:
        self._note("progress")

    def setsymlist(self, stage: int, macros: str, /) -> None:
        self._note("setsymlist", stage, macros)

    def getpriv(self) -> Any:
        return self.private

    def setpriv(self, value: object, /) -> Any:
        old, self.private = self.private, value
        return old

    def _note(self, name: str, *args: object) -> None:
        for arg in args:
            if isinstance(arg, str):
                arg.encode()
        if name in self.refused:
            raise milter.error(f"cannot {name}")
        self.calls.append((name, *args))


class FakeMux:
    """A multiplexor at a unix socket. `answers` has, by command word, the reply or a function from request line to it.

    A reply of None closes without a byte. `requests` has all lines in order.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.requests: list[bytes] = []
        self.answers: dict[bytes, Answerer] = {
            b"free": b"4\n",
            b"scan": b"ok\n",
            # As MIMEDefang's, unless a test says otherwise.
            QUESTION_TO_MUX: b"error: Unknown command\n",
        }
        self.questions = 0
        self.delay_s = 0.0
        self.hold_open = threading.Event()
        self.hold_open.set()
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(path))
        self._socket.listen(256)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self.hold_open.set()
        # A closed descriptor does not wake a thread in accept; a connection does.
        with socket.socket(socket.AF_UNIX) as last:
            last.connect(str(self.path))
        self._thread.join(5)
        self._socket.close()

    def _serve(self) -> None:
        while True:
            link, _ = self._socket.accept()
            with link, link.makefile("rb") as lines:
                request = lines.readline()
                if not request:
                    return
                self._answer(link, request)

    def _answer(self, link: socket.socket, request: bytes) -> None:
        if request == QUESTION_TO_MUX + b"\n":
            self.questions += 1
        else:
            self.requests.append(request)
        answer = self.answers[request.split()[0]]
        if self.delay_s:
            time.sleep(self.delay_s)
        reply = answer(request) if callable(answer) else answer
        # Whoever asked may have given up.
        with suppress(BrokenPipeError):
            link.sendall(reply)
        self.hold_open.wait(10)


@pytest.fixture
def mux(spool: Path) -> Iterator[FakeMux]:
    fake = FakeMux(spool / "mux.sock")
    yield fake
    fake.close()


def _as_answered(status: int) -> int:
    """What libmilter tells an MTA that waits for an answer where the callback gave none."""
    return milter.CONTINUE if status == milter.NOREPLY else status


class Play:
    """The callbacks with a context, called as libmilter calls them for an MTA that wants all answers but some.

    Those to header and body are what the callbacks returned.
    """

    def __init__(
        self, spool: Path, *options: str, validation_name: bytes | None = None, progress_interval_s: float = 60
    ) -> None:
        self.spool = spool
        self.context = FakeContext(macros={"i": b"Q1", "j": b"mx.example.org"})
        settings = parse(["-p", "unix:unused", "-z", str(spool), "-m", str(spool / "mux.sock"), *options])
        client = MuxClient(str(settings.mux_socket), timeout_s=60, keep_alive_interval_s=progress_interval_s)
        self.callbacks = Callbacks(settings, Site(my_ip=MY_IP, validation_name=validation_name), client)

    def connect(self, address: tuple[str, int] = ("192.0.2.7", 45678)) -> int:
        return _as_answered(self.callbacks.connect(self.context, "client.example.com", socket.AF_INET, address))

    def helo(self, name: str = "helo.example.com") -> int:
        return _as_answered(self.callbacks.helo(self.context, name))

    def mail(self, sender: bytes = b"<sender@example.com>", *args: bytes) -> int:
        return self.callbacks.envfrom(self.context, sender, *args)

    def rcpt(self, recipient: bytes = b"<r1@example.org>", *args: bytes) -> int:
        return _as_answered(self.callbacks.envrcpt(self.context, recipient, *args))

    def header(self, name: str, value: bytes) -> int:
        return self.callbacks.header(self.context, name, value)

    def eoh(self) -> int:
        return _as_answered(self.callbacks.eoh(self.context))

    def body(self, chunk: bytes) -> int:
        return self.callbacks.body(self.context, chunk)

    def eom(self) -> int:
        return self.callbacks.eom(self.context)

    def close(self) -> int:
        return self.callbacks.close(self.context)

    def to_mail(self) -> None:
        assert [self.connect(), self.helo(), self.mail()] == [milter.CONTINUE] * 3

    def to_end(self) -> int:
        """A whole small message on a connection of its own; the answer to its end."""
        self.to_mail()
        assert self.rcpt() == milter.CONTINUE
        assert self.header("Subject", b"test") == milter.NOREPLY
        assert self.eoh() == milter.CONTINUE
        assert self.body(b"text\r\n") == milter.NOREPLY
        return self.eom()

    def directories(self) -> list[Path]:
        return sorted(self.spool.glob("mdefang-*"))


def directory_of(request: bytes) -> Path:
    """The working directory in a scan request."""
    return Path(request.split()[2].decode())


def scan_giving(results: bytes, **files: bytes) -> Callable[[bytes], bytes]:
    """A scan that leaves these RESULTS, and files of these names, in the working directory."""

    def scan(request: bytes) -> bytes:
        directory = directory_of(request)
        for name, content in {"RESULTS": results, **files}.items():
            (directory / name).write_bytes(content)
        return b"ok\n"

    return scan


@pytest.fixture
def play(spool: Path, mux: FakeMux) -> Callable[..., Play]:
    """Makes a Play with the given options; the multiplexor's scans find nothing wrong."""
    mux.answers[b"scan"] = scan_giving(b"F\n")

    def make(*options: str, **site: Any) -> Play:
        return Play(spool, *options, **site)

    return cast("Callable[..., Play]", make)
