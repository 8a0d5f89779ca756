# SPDX-License-Identifier: GPL-3.0-or-later
"""What the check `Clamd` adds to clamd's own time: `python -m benchmarks.scanning`, as root, for it starts a clamd.

A clean message of 100 KB is scanned in turn by `run_checks`, from the moment that nothing is read of it yet (so reading
it, decoding its parts, thread and connection count), and by a bare client, which has the same bytes ready, and does
nothing but hand them over one connection and wait for the replies. clamd remembers what was clean, so its own time is
short, and the difference, which is measured, all the clearer. It is wall time, for that is what a message waits; the
least of many rounds, for whatever else the machine does only adds. Exit status 1 if a limit is passed.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from benchmarks.messages import named
from defang_common.wire import commands
from defang_worker import Message, Settings
from defang_worker.checks import Clamd
from defang_worker.checks.viruses.items import items_of
from tests.support.clamav import running_clamd

if TYPE_CHECKING:
    from tests.support.clamav import RealClamd

LIMIT_MS: Final = 2.0
_ROUNDS: Final = 500
_WARM_UP_ROUNDS: Final = 20

Scan = Callable[[], None]


@dataclass(slots=True, kw_only=True)
class Case:
    """Something to have scanned, by the check and by a bare client; both get a message, and give what is measured."""

    name: str
    check: Callable[[bytes], Scan]
    bare: Callable[[bytes], Scan]
    check_ms: list[float] = field(default_factory=list)
    bare_ms: list[float] = field(default_factory=list)

    @property
    def added_ms(self) -> float:
        """What the check took more, each in its quickest round."""
        return min(self.check_ms) - min(self.bare_ms)


def message_of(raw: bytes) -> Message:
    """The message, with nothing read of it yet."""
    return Message(commands.decode(b"S<a@example.com>\nF\n"), raw, "/nowhere", Settings())


def checked(check: Clamd, raw: bytes) -> Scan:
    """The scan that a filter has made."""
    message = message_of(raw)

    def scan() -> None:
        result = message.run_checks(check)[check]
        assert result.outcome.value == "not-found", result

    return scan


def bare(address: str, raw: bytes, *, parts: bool, by_files: bool) -> Scan:
    """The same by a client that knows nothing else."""
    pieces = [bytes(item.data) for item in items_of(message_of(raw), parts=parts)]
    files = [_file_of(piece) for piece in pieces] if by_files else []

    def scan() -> None:
        with _connected(address) as connected:
            connected.sendall(b"nIDSESSION\n")
            for file in files:
                socket.send_fds(connected, [b"nFILDES\n "], [file])
            for piece in pieces[len(files) :]:
                connected.sendall(b"nINSTREAM\n" + len(piece).to_bytes(4) + piece + bytes(4))
            replies = b""
            while replies.count(b"\n") < len(pieces):
                replies += connected.recv(4096)
        assert replies.count(b" OK\n") == len(pieces), replies
        for file in files:
            os.close(file)

    return scan


def _file_of(data: bytes) -> int:
    file = os.memfd_create("mail")
    os.write(file, data)
    os.lseek(file, 0, os.SEEK_SET)
    return file


def _connected(address: str) -> socket.socket:
    if not address.startswith("/"):
        host, _, port = address.rpartition(":")
        return socket.create_connection((host, int(port)))
    connected = socket.socket(socket.AF_UNIX)
    connected.connect(address)
    return connected


def cases(clamd: RealClamd) -> list[Case]:
    """All ways that the check has."""
    alone, all_of_it, by_bytes, by_tcp = (
        Clamd(clamd.socket, parts=False),
        *map(Clamd, [clamd.socket] * 2),
        Clamd(clamd.tcp),
    )
    by_bytes.takes_no_files.add(clamd.socket)

    def case(name: str, check: Clamd, *, parts: bool = True, by_files: bool = False) -> Case:
        address = check.endpoints.addresses[0]
        return Case(
            name=name,
            check=lambda raw: checked(check, raw),
            bare=lambda raw: bare(address, raw, parts=parts, by_files=by_files),
        )

    return [
        case("the message alone, as a file", alone, parts=False, by_files=True),
        case("message and four parts, as files", all_of_it, by_files=True),
        case("message and four parts, as bytes", by_bytes),
        case("message and four parts, as bytes by TCP", by_tcp),
    ]


def measure(rounds: int) -> list[Case]:
    """All in turn, round by round."""
    raw = named("100k").as_bytes().replace(b"\r\n", b"\n")
    with running_clamd() as clamd:
        measured = cases(clamd)
        for number in range(_WARM_UP_ROUNDS + rounds):
            for case in measured:
                for prepare, took_ms in ((case.bare, case.bare_ms), (case.check, case.check_ms)):
                    scan = prepare(raw)
                    start = time.perf_counter()
                    scan()
                    if number >= _WARM_UP_ROUNDS:
                        took_ms.append((time.perf_counter() - start) * 1000)
    return measured


def table(measured: Sequence[Case]) -> str:
    """What was measured."""
    lines = ["| 100 KB: | bare client | check | added | limit | |", "| --- | ---: | ---: | ---: | ---: | --- |"]
    for case in measured:
        word = "" if case.added_ms <= LIMIT_MS else "too much"
        numbers = (min(case.bare_ms), min(case.check_ms), case.added_ms, LIMIT_MS)
        lines.append(f"| {case.name} | {' | '.join(f'{number:.2f} ms' for number in numbers)} | {word} |")
    return "\n".join(lines)


def main() -> int:
    """The command's exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scanning", description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=_ROUNDS, help=f"of each way ({_ROUNDS})")
    options = parser.parse_args()
    if os.geteuid() != 0:
        print("benchmarks: root has to start this: clamd runs as a user of its own", file=sys.stderr)
        return 1
    measured = measure(options.rounds)
    print(table(measured))
    return 0 if all(case.added_ms <= LIMIT_MS for case in measured) else 1


if __name__ == "__main__":
    sys.exit(main())
