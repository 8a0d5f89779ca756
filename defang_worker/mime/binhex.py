# SPDX-License-Identifier: GPL-3.0-or-later
"""BinHex 4.0 files in text (RFC 1741): a line that says so, then `:`, letters for six bits each, `:`.

Inside are runs packed by a count, a header with the name, and the two forks of a Macintosh file; each that is not
empty becomes a file here. A wrong checksum is overlooked: clients show the file all the same.
"""

import re
import struct
from binascii import crc_hqx
from collections.abc import Iterator
from typing import Final

from defang_worker.mime.decode import ALPHABET, decode_run
from defang_worker.mime.embedded import EmbeddedFile

_MARK: Final = b"onverted with BinHex"
_START: Final = re.compile(rb"^[ \t]*+:", re.MULTILINE)
_DATA: Final = re.compile(rb"[!-,0-689@-NP-VX-Z\[`a-fh-mp-r\-\s]*+")
_LETTERS: Final = b"!\"#$%&'()*+,-012345689@ABCDEFGHIJKLMNPQRSTUVXYZ[`abcdefhijklmpqr"
_TO_BASE64: Final = bytes.maketrans(_LETTERS, ALPHABET)
_RUN: Final = b"\x90"
# Between the line that says so and the data there is an empty line at most, but list software may have been at it.
_MAX_GAP_BYTES: Final = 300
# After the name: version, type, creator, flags, lengths of the two forks, checksum.
_HEADER: Final = struct.Struct(">x4s4sHIIH")
_FORK_CRC_BYTES: Final = 2
_LONGEST_NAME: Final = 63
# Runs unpack to 95 times the size at most; honest files hardly shrink at all. More than this is cut off.
_MAX_RATIO: Final = 8
_FREE_BYTES: Final = 1024 * 1024


def embedded_files(content: bytes) -> Iterator[EmbeddedFile]:
    """Yield the BinHex files in `content`, which is text after transfer decoding; never raises."""
    mark = content.find(_MARK)
    if mark < 0 and content[:4].lstrip()[:1] == b":":  # the type of the part may have said so
        yield from _files(content, 0, content.find(b":"), is_marked=False)
    while mark >= 0:
        after = mark + len(_MARK)
        if colon := _START.search(content, after, after + _MAX_GAP_BYTES):
            after = colon.end()
            yield from _files(content, content.rfind(b"\n", 0, mark) + 1, after - 1, is_marked=True)
        mark = content.find(_MARK, after)


def _files(content: bytes, start: int, colon: int, *, is_marked: bool) -> Iterator[EmbeddedFile]:
    letters = _DATA.match(content, colon + 1)
    if letters is None:
        return
    end = letters.end() + (content[letters.end() : letters.end() + 1] == b":")
    packed = decode_run(letters[0].translate(_TO_BASE64, b" \t\r\n\v\f"))
    data = unpack_runs(packed, max(_MAX_RATIO * len(packed), _FREE_BYTES))
    length = data[0] if data else 0
    header_end = 1 + length + _HEADER.size
    if not 0 < length <= _LONGEST_NAME or len(data) < header_end:
        return
    _type, _creator, _flags, data_bytes, resource_bytes, crc = _HEADER.unpack_from(data, 1 + length)
    if not is_marked and crc_hqx(data[: header_end - 2], 0) != crc:
        return
    names = (data[1 : 1 + length].decode("mac_roman"),)
    resource_start = header_end + data_bytes + _FORK_CRC_BYTES
    forks = (data[header_end : header_end + data_bytes], data[resource_start : resource_start + resource_bytes])
    for fork in [fork for fork in forks if fork] or [b""]:
        yield EmbeddedFile("binhex", names, fork, start, end)


def unpack_runs(packed: bytes, max_bytes: int) -> bytes:
    """Return `packed` with its runs (a byte, 0x90, a count) written out, cut off at `max_bytes`."""
    first, *rest = packed.split(_RUN)
    pieces = [first]
    last = first[-1:]
    size = len(first)
    at = 0
    while at < len(rest) and size <= max_bytes:
        text = rest[at]
        at += 1
        if not text and at < len(rest):  # the count is 0x90 itself
            text = _RUN + rest[at]
            at += 1
        count = text[0] if text else 1
        # A count of 0 stands for 0x90 itself; a run repeats the byte before, which is there once already.
        run = last * (count - 1) if count else _RUN
        last = text[-1:] if len(text) > 1 else (last if count else _RUN)
        pieces += (run, text[1:])
        size += len(run) + len(text)
    return b"".join(pieces)[:max_bytes]
