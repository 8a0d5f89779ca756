# SPDX-License-Identifier: GPL-3.0-or-later
"""What reading a message costs: `python -m benchmarks.mime`, in CPU time, best of several runs.

Two tables: honest messages against what they may cost, and hostile input in doubling sizes, whose cost must double too.
Exit status 1 if a limit is passed.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import io
import mmap
import os
import sys
import tempfile
import time
import tracemalloc
import zipfile
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from benchmarks.messages import KIB, MIB, named
from defang_worker.mime import parse
from defang_worker.mime.decode import decode_base64
from defang_worker.mime.views import examine

if TYPE_CHECKING:
    from collections.abc import Callable

_RUNS: Final = 7
_HOSTILE_RUNS: Final = 3
_DOUBLINGS: Final = 4
_FIRST_SIZE: Final = 32 * KIB
# Of linear cost twice the size takes twice the time; the machine's noise and the caches' limits add to that.
_MAX_FACTOR: Final = 3.0
# Less is noise.
_SHORTEST_MS: Final = 5.0
_BLOCKED: Final = b'Content-Disposition: attachment; filename="blocked.exe"\n'


class Case(NamedTuple):
    """Something to measure."""

    name: str
    limit: float
    unit: str
    measure: Callable[[], float]


def read(message: bytes | mmap.mmap) -> None:
    """Read a message as a filter's worker does: the tree, the examination, type and names of every part."""
    tree = parse(message)
    examination = examine(tree)
    for entity in tree.walk():
        _ = entity.content_type, entity.filenames
    for shadow in examination.shadows:
        _ = shadow.content_type, shadow.filenames


def cpu_ms(work: Callable[[], object], runs: int = _RUNS) -> float:
    """The least CPU time that `work` took, in milliseconds."""
    best = float("inf")
    for _ in range(runs):
        start = time.process_time_ns()
        work()
        best = min(best, (time.process_time_ns() - start) / 1e6)
    return best


def many_times_ms(work: Callable[[], object], times: int) -> float:
    """The same for work that is too short for the clock."""

    def repeated() -> None:
        for _ in range(times):
            work()

    return cpu_ms(repeated) / times


def memory_kib(message: bytes) -> float:
    """The most memory that reading takes above the mapped file, in KiB."""
    with tempfile.TemporaryFile() as file:
        file.write(message)
        file.flush()
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            read(mapped)  # what is imported or compiled once does not count
            tracemalloc.start()
            try:
                read(mapped)
                return tracemalloc.get_traced_memory()[1] / KIB
            finally:
                tracemalloc.stop()


def parts_message(count: int) -> bytes:
    """A message of that many small parts."""
    part = b"--b\nContent-Type: text/plain\n\nwords\n"
    return b"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n" + part * count + b"--b--\n"


def different_parts_message(count: int) -> bytes:
    """A message of that many small attachments, each of another name."""
    parts = [
        b'--b\nContent-Type: application/pdf; name="%d.pdf"\nContent-Transfer-Encoding: base64\n'
        b'Content-Disposition: attachment; filename="%d.pdf"\n\nJVBERi0xLjQKJSVFT0YK\n' % (number, number)
        for number in range(count)
    ]
    return b"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n" + b"".join(parts) + b"--b--\n"


def encoded_names_message(count: int) -> bytes:
    """A message of that many small attachments, each of a name of its own that is no ASCII."""
    parts = []
    for number in range(count):
        word = base64.b64encode("größe %d.pdf".encode() % number)
        parts.append(
            b'--b\nContent-Type: application/pdf; name="=?utf-8?B?%b?="\nContent-Transfer-Encoding: base64\n'
            b'Content-Disposition: attachment; filename="=?utf-8?B?%b?="\n\nJVBERi0xLjQKJSVFT0YK\n' % (word, word)
        )
    return b"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n" + b"".join(parts) + b"--b--\n"


def unseen_ms(message: bytes, times: int) -> float:
    """What reading takes if boundaries, names and texts of no part have been seen before."""
    count = iter(range(times * _RUNS))
    best = float("inf")
    for _ in range(_RUNS):
        unseen = [
            message.replace(b"_Part_", b"_Part%d_" % number)
            .replace(b"utf-8", b"utf-8; x=%d" % number)
            .replace(b".p", b"%d.p" % number)
            for number in (next(count) for _ in range(times))
        ]
        best = min(best, cpu_ms(partial(_read_all, unseen), 1) / times)
    return best


def _read_all(messages: list[bytes]) -> None:
    for message in messages:
        read(message)


def cases() -> list[Case]:
    """What honest mail may cost."""
    # The front end writes line ends as LF; CRLF is what a file from elsewhere has.
    small, middle, large = (named(word).as_bytes().replace(b"\r\n", b"\n") for word in ("2.7k", "100k", "5m"))
    large_crlf = named("5m").as_bytes()
    many, different = parts_message(9_998), different_parts_message(9_998)
    in_words = encoded_names_message(9_998)
    encoded = base64.encodebytes(os.urandom(3 * MIB))
    return [
        Case("2.7 KB, four parts: the tree alone", 0.15, "ms", lambda: many_times_ms(lambda: parse(small), 200)),
        Case("2.7 KB, four parts", 0.15, "ms", lambda: many_times_ms(lambda: read(small), 200)),
        # Of most messages a worker has seen all headers before but the message's own and those with a boundary. Here it
        # has seen none, and reading five more of them takes 0.01 ms each.
        Case("2.7 KB, four parts, nothing seen before", 0.2, "ms", lambda: unseen_ms(small, 100)),
        Case("100 KB, an attachment", 0.3, "ms", lambda: many_times_ms(lambda: read(middle), 50)),
        Case("5 MB, an attachment", 8.0, "ms", lambda: cpu_ms(lambda: read(large))),
        Case("5 MB with CRLF", 8.0, "ms", lambda: cpu_ms(lambda: read(large_crlf))),
        Case("5 MB, memory above the mapping", 1024.0, "KiB", lambda: memory_kib(large)),
        Case("10,000 parts", 100.0, "ms", lambda: cpu_ms(lambda: read(many))),
        Case("10,000 attachments, all different", 400.0, "ms", lambda: cpu_ms(lambda: read(different))),
        Case("10,000 attachments, names in encoded words", 1500.0, "ms", lambda: cpu_ms(lambda: read(in_words), 3)),
        Case(
            "4 MB of base64, against binascii",
            1 / 3,
            "times",
            lambda: cpu_ms(lambda: decode_base64(encoded)) / cpu_ms(lambda: binascii.a2b_base64(encoded)),
        ),
    ]


def _repeated(unit: bytes, before: bytes = b"", after: bytes = b"") -> Callable[[int], bytes]:
    return lambda size: before + unit * (max(size - len(before) - len(after), 0) // len(unit)) + after


_MIXED: Final = b"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n"
_BASE64: Final = b"Content-Type: application/octet-stream\nContent-Transfer-Encoding: base64\n\n"
_QUOTED: Final = b"Content-Type: text/plain\nContent-Transfer-Encoding: quoted-printable\n\n"


def _deep(size: int) -> bytes:
    lines = b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (depth, depth) for depth in range(size // 55)
    )
    return b"MIME-Version: 1.0\n" + lines


def _bomb() -> bytes:
    """A zip of zeros in a zip."""
    content = bytes(MIB)
    for _ in range(2):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.zip", content)
        content = file.getvalue()
    return content


def _signed_in_pieces(size: int) -> bytes:
    """S/MIME whose content comes in pieces of one byte."""
    start = bytes.fromhex("3080 0609 2a864886f70d010702 a080 3080 020101 3100 3080 0609 2a864886f70d010701 a080 2480")
    signed = start + b"\x04\x01x" * (size * 3 // 4 // 3) + bytes(12)
    fields = b"MIME-Version: 1.0\nContent-Type: application/pkcs7-mime\nContent-Transfer-Encoding: base64\n\n"
    return fields + base64.encodebytes(signed)


HOSTILE: Final[dict[str, Callable[[int], bytes]]] = {
    "a delimiter on every line": _repeated(b"--b\n", _MIXED),
    "lines that look like delimiters": _repeated(b"--x\n", _MIXED),
    "delimiters with text after them": _repeated(b"--b x\n\n", _MIXED),
    "terminators": _repeated(b"--b--\n--b\n\nx\n", _MIXED),
    "parts without end": _repeated(b"--b\n" + _BLOCKED + b"\nx\n", _MIXED),
    "multiparts in multiparts": _deep,
    "messages in messages": _repeated(b"Content-Type: message/rfc822\n\n", b"MIME-Version: 1.0\n"),
    "one boundary at all depths": _repeated(b"Content-Type: multipart/mixed; boundary=b\n\n--b\n"),
    "no boundary anywhere": _repeated(b"--b\nContent-Type: multipart/mixed\n\n", _MIXED),
    "header fields": _repeated(b"X: y\n"),
    "Content-Type fields": _repeated(b"Content-Type: text/plain; name=x\n"),
    "lines that are no fields": _repeated(b"not a field\n", b"Subject: x\n", _BLOCKED + b"\nx"),
    "one long field": _repeated(b"x", b"Subject: "),
    "parameters": _repeated(b"; filename=x", b"Content-Disposition: attachment"),
    "continued parameters": lambda size: (
        b"Content-Disposition: attachment" + b"".join(b"; filename*%d=x" % number for number in range(1, size // 17))
    ),
    "opened comments": _repeated(b"(", b"Content-Type: text/plain "),
    "comments in comments": _repeated(b"(x)", b"Content-Type: text/plain ("),
    "quotation marks": _repeated(b'"', b"Content-Disposition: attachment; filename="),
    "backslashes": _repeated(b"\\", b'Content-Disposition: attachment; filename="'),
    "encoded words": _repeated(b"=?utf-8?q?x?= ", b"Content-Disposition: attachment; filename="),
    "halves of encoded words": _repeated(b"=?utf-8?", b"Content-Disposition: attachment; filename="),
    "folds": _repeated(b"\n ", b"Content-Type: text/plain;"),
    "padding in base64": _repeated(b"A=", _BASE64),
    "short lines of base64": _repeated(b"QUJD\n\n", _BASE64),
    "text in base64": _repeated(b"some words\nQUJDQUJDQUJDQUJDQUJD\n", _BASE64),
    "strays in short lines of base64": _repeated(b"QU!\n", _BASE64),
    "runs in base64": _repeated(b"QUI=", _BASE64),
    "padded lines of base64": _repeated(b"QUI=\n", _BASE64),
    "padding in lines of base64": _repeated(b"=\n", _BASE64),
    "words in base64": _repeated(b"QUJD\na b\n", _BASE64),
    "blanks in lines of base64": _repeated(b"QUJDQUJDQUJDQUJD QUJD\n", _BASE64),
    "carriage returns in base64": _repeated(b"A\r", _BASE64),
    "soft breaks": _repeated(b"= ", _QUOTED),
    "wrong pairs": _repeated(b"=G", _QUOTED),
    "uuencoded files": _repeated(b"begin 644 x\n#86)C\n", b"\n"),
    "beginnings of uuencoded files": _repeated(b"begin 644 x\n", b"\n"),
    "yEnc files": _repeated(b"=ybegin line=1 size=1 name=x\n", b"\n"),
    "BinHex files": _repeated(b"(This file must be converted with BinHex 4.0)\n:", b"\n"),
    "one lone carriage return": _repeated(b"words and words\r\n", _MIXED + b"x\ry\r\n"),
    "almost a delimiter": _repeated(b"words and words\n", _MIXED + b"--b x\n\n"),
    "zips in parts": _repeated(
        b"--b\nContent-Transfer-Encoding: base64\n\n" + base64.encodebytes(_bomb()), _MIXED, b"--b--\n"
    ),
    "signed in pieces": _signed_in_pieces,
    "lone carriage returns": _repeated(b"x\r", _MIXED),
    "carriage returns": _repeated(b"\r", b"Subject: x\n"),
    "NUL bytes": _repeated(b"x\0", _MIXED),
    "blank lines": _repeated(b"\n"),
    "long lines": _repeated(b"x" * 2_000 + b"\n", _MIXED),
}


def measure_limits() -> bool:
    """Print the table of honest messages; tell whether all limits are kept."""
    print("| what | measured | limit | |\n| --- | ---: | ---: | --- |")
    is_kept = True
    for case in cases():
        value = case.measure()
        is_kept &= value <= case.limit
        word = "" if value <= case.limit else "too much"
        print(f"| {case.name} | {value:.3g} {case.unit} | {case.limit:.3g} {case.unit} | {word} |", flush=True)
    return is_kept


def measure_doublings(first_size: int, doublings: int) -> bool:
    """Print the table of hostile input; tell whether the cost of all grows as the size does."""
    sizes = [first_size << doubling for doubling in range(doublings)]
    print("| input |", " | ".join(f"{size // KIB} KiB" for size in sizes), "| growth | |")
    print("| --- |", " | ".join("---:" for _ in sizes), "| ---: | --- |")
    is_kept = True
    for name, make in HOSTILE.items():
        costs = [cpu_ms(partial(read, make(size)), _HOSTILE_RUNS) for size in sizes]
        growth = costs[-1] / max(costs[-2], 1e-6)
        is_linear = growth <= _MAX_FACTOR or costs[-1] < _SHORTEST_MS
        is_kept &= is_linear
        cells = " | ".join(f"{cost:.1f}" for cost in costs)
        print(f"| {name} | {cells} | {growth:.1f} | {'' if is_linear else 'more than linear'} |", flush=True)
    return is_kept


def main() -> int:
    """The command's exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mime", description=__doc__.partition("\n")[0])
    parser.add_argument("--first-size", type=int, default=_FIRST_SIZE // KIB, metavar="KIB", help="of hostile input")
    parser.add_argument("--doublings", type=int, default=_DOUBLINGS, metavar="N", help="sizes of hostile input")
    options = parser.parse_args()
    is_kept = measure_limits()
    print("\nHostile input, CPU time in milliseconds:\n")
    is_kept &= measure_doublings(options.first_size * KIB, options.doublings)
    return 0 if is_kept else 1


if __name__ == "__main__":
    sys.exit(main())
