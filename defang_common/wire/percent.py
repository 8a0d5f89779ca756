# SPDX-License-Identifier: GPL-3.0-or-later
"""The %XX escape of every word on the wire (protocol.md, Escapes).

Two sets of unsafe bytes exist: COMMANDS leaves quotes and the backslash as they are,
everything else escapes them too. One decoder reads both.
"""

import re

_UNSAFE = re.compile(rb"[\x00-\x20\x7f-\xff%\\'\"]")
_UNSAFE_IN_COMMANDS = re.compile(rb"[\x00-\x20\x7f-\xff%]")
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")
_HALF_ESCAPE = re.compile(rb"%[0-9A-F]?\Z")

# A number: for bytes, `in` raises a TypeError within and takes it back, which costs more than the search.
_SIGN = ord("%")

_ESCAPED = [b"%%%02X" % byte for byte in range(256)]
_BYTE = {b"%02x" % byte: bytes((byte,)) for byte in range(256)}


def _escape(match: re.Match[bytes]) -> bytes:
    return _ESCAPED[match[0][0]]


def _unescape(match: re.Match[bytes]) -> bytes:
    return _BYTE[match[1].lower()]


def encode(raw: bytes) -> bytes:
    """The word for `raw` in a request, an answer or RESULTS: printable ASCII without blanks."""
    return _UNSAFE.sub(_escape, raw)


def encode_for_commands(raw: bytes) -> bytes:
    """The word for `raw` in COMMANDS, where quotes and backslash stay raw."""
    return _UNSAFE_IN_COMMANDS.sub(_escape, raw)


def cut(encoded: bytes, most: int) -> bytes:
    """What `encode` gave, if it has at most so many bytes, else its beginning, up to a whole escape."""
    return encoded if len(encoded) <= most else _HALF_ESCAPE.sub(b"", encoded[:most])


def decode(word: bytes) -> bytes:
    """The bytes that `word` stands for; a `%` without two hex digits stays as it is."""
    if _SIGN not in word:
        return word
    return _ESCAPE.sub(_unescape, word)
