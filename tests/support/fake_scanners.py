# SPDX-License-Identifier: GPL-3.0-or-later
"""As much of clamd and of an ICAP server as their clients need: handlers for a `ScriptedService`."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

VIRUS = b"a very bad thing"
"""What both take for a virus, and call Test.Virus."""
PLAIN = b"From: a@example.com\nSubject: x\n\nHello\n"
NESTED = (
    b"Content-Type: multipart/mixed; boundary=b\n\n--b\n\ntext\n--b\nContent-Type: application/octet-stream\n"
    b"Content-Transfer-Encoding: base64\n\nYSB2ZXJ5IGJhZCB0aGluZw==\n--b--\n"
)
"""Has the virus in its part 2."""


class FakeClamd:
    """As much of clamd as there is in its manual: sessions with FILDES and INSTREAM. Every item goes to `items`."""

    def __init__(self, *, max_stream_bytes: int = 1 << 20, takes_files: bool = True) -> None:
        self.items: list[bytes] = []
        self.max_stream_bytes = max_stream_bytes
        self.takes_files = takes_files
        self.replies: dict[bytes, bytes] = {}
        """What is said of an item with these bytes in it, instead of `OK`."""

    def __call__(self, connected: socket.socket) -> None:
        _Session(self, connected).serve()


class _Session:
    """One connection to it."""

    def __init__(self, clamd: FakeClamd, connected: socket.socket) -> None:
        self._clamd = clamd
        self._connected = connected
        self._data = b""
        self._files: list[int] = []

    def serve(self) -> None:
        if self._until(b"\n") == b"nVERSION":
            self._connected.sendall(b"ClamAV 1.4.6/27800/Mon Nov 23 2026\n")
            return
        number = 0
        while (command := self._until(b"\n")) not in (b"nEND", b""):
            number += 1
            if not self._answer(number, command):
                break
        for descriptor in self._files:
            os.close(descriptor)

    def _answer(self, number: int, command: bytes) -> bool:
        if command == b"nFILDES":
            self._take(1)
            if not self._clamd.takes_files:
                os.close(self._files.pop(0))
                self._say(number, b"No file descriptor received. ERROR")
                return False
            with os.fdopen(self._files.pop(0), "rb") as file:
                item = file.read()
            source = b"fd[12]: "
        else:
            assert command == b"nINSTREAM", command
            item, source = b"", b"stream: "
            while size := int.from_bytes(self._take(4)):
                if len(item) + size > self._clamd.max_stream_bytes:
                    self._say(number, b"INSTREAM size limit exceeded. ERROR")
                    return False
                item += self._take(size)
        self._clamd.items.append(item)
        said = next((text for part, text in self._clamd.replies.items() if part in item), b"OK")
        self._say(number, source + (b"Test.Virus FOUND" if VIRUS in item else said))
        return True

    def _say(self, number: int, text: bytes) -> None:
        self._connected.sendall(b"%d: %b\n" % (number, text))

    def _more(self) -> bool:
        piece, files, _, _ = socket.recv_fds(self._connected, 65536, 4)
        self._data += piece
        self._files += files
        return bool(piece)

    def _until(self, end: bytes) -> bytes:
        while end not in self._data:
            if not self._more():
                return b""
        text, _, self._data = self._data.partition(end)
        return text

    def _take(self, count: int) -> bytes:
        while len(self._data) < count:
            if not self._more():
                raise ConnectionResetError
        taken, self._data = self._data[:count], self._data[count:]
        return taken


# ICAP, RFC 3507

OPTIONS = (
    b"ICAP/1.0 200 OK\r\nMethods: RESPMOD, REQMOD\r\nService: Test engine 1.0\r\nISTag: x\r\n"
    b"%bEncapsulated: null-body=0\r\n\r\n"
)
PAGE = b"<html>blocked</html>"


def blocked(fields: bytes = b"") -> bytes:
    http = b"HTTP/1.1 403 Forbidden\r\nContent-Length: %d\r\n\r\n" % len(PAGE)
    return b"ICAP/1.0 200 OK\r\n%bEncapsulated: res-hdr=0, res-body=%d\r\n\r\n%b%x\r\n%b\r\n0\r\n\r\n" % (
        fields,
        len(http),
        http,
        len(PAGE),
        PAGE,
    )


NO_CHANGE = b"ICAP/1.0 204 No Content\r\nISTag: x\r\n\r\n"


class FakeIcap:
    """Takes requests in whole, and answers as its parts say. `items` has what it was shown, `heads` each request."""

    def __init__(self, *, preview: int | None = 4, infected: bytes | None = None) -> None:
        self.preview = preview
        self.infected = blocked(b"X-Infection-Found: Type=0; Resolution=2; Threat=Test.Virus;\r\n")
        if infected is not None:
            self.infected = infected
        self.clean: bytes | Callable[[bytes], bytes] = NO_CHANGE
        self.heads: list[bytes] = []
        self.items: list[bytes] = []

    def __call__(self, connected: socket.socket) -> None:
        stream = connected.makefile("rb")
        while head := self._head(stream):
            self.heads.append(head)
            if head.startswith(b"OPTIONS "):
                preview = b"" if self.preview is None else b"Preview: %d\r\n" % self.preview
                connected.sendall(OPTIONS % preview)
                continue
            http = int(head.rpartition(b"-body=")[2].split(b"\r\n")[0])
            stream.read(http)
            item, is_all = self._chunks(stream)
            if b"Preview: " in head and not is_all:
                connected.sendall(b"ICAP/1.0 100 Continue\r\n\r\n")
                item += self._chunks(stream)[0]
            self.items.append(item)
            clean = self.clean(item) if callable(self.clean) else self.clean
            connected.sendall(self.infected if VIRUS in item else clean)

    @staticmethod
    def _head(stream: object) -> bytes:
        lines = b""
        while (line := stream.readline()) not in (b"\r\n", b""):  # type: ignore[attr-defined]
            lines += line
        return lines

    @staticmethod
    def _chunks(stream: object) -> tuple[bytes, bool]:
        """The chunks up to the last, and whether that says that there are no more in a preview."""
        data = b""
        while (line := stream.readline()).split(b";")[0].strip() != b"0":  # type: ignore[attr-defined]
            data += stream.read(int(line, 16))  # type: ignore[attr-defined]
            assert stream.readline() == b"\r\n"  # type: ignore[attr-defined]
        assert stream.readline() == b"\r\n"  # type: ignore[attr-defined]
        return data, b"ieof" in line
