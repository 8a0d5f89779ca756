# SPDX-License-Identifier: GPL-3.0-or-later
"""What filters keep from callback to callback, as a last word on the lines between our programs (protocol.md, State).

Two values travel: one lives as long as the SMTP session, one as long as the message. The front end keeps both in base64
and never looks into them (`Carried`), the multiplexor cuts the word off for workers that do not know it (`split`), the
worker reads and writes it. Nobody sends it to a program that does not know it (`abilities`). A request's word may end
with the wish for RESULTS on the answer (protocol.md, RESULTS on the answer).
"""

import binascii
import re
from typing import Final

from .errors import Malformed

MAX_VALUE_BYTES: Final = 64 * 1024
"""The longest of either value, before base64. A site's own limit is in the worker's settings."""

MAX_WORD_BYTES: Final = len(b' """') + 2 * 4 * -(-MAX_VALUE_BYTES // 3)

_UNCHANGED: Final = b"-"
# The escape never leaves a quotation mark on a line, so no word of a client's can look like this one.
STATE_MARK: Final = b' "'
"""Begins the word."""
_WISH: Final = b'"'
_MARKS_WITH_WISH: Final = 3
_BASE64: Final = rb"(?:[A-Za-z0-9+/]{4})*+(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"
_WORD: Final = re.compile(rb' "(%b)"(%b)("?)\Z' % (_BASE64, _BASE64))
_ANSWER_WORD: Final = re.compile(rb' "(%b|-)"(%b|-)\n\Z' % (_BASE64, _BASE64))
_BEARERS: Final = (b"scan ", b"senderok ", b"recipok ", b"relayok ", b"helook ")


def split(line: bytes) -> tuple[bytes, bytes]:
    """A request line without the word, and the word with its blank; b"" if it has none.

    Raises `Malformed` for a request that may have one and has something that is none.
    """
    if STATE_MARK not in line or not line.startswith(_BEARERS):
        return line, b""
    match = _WORD.match(line, line.index(STATE_MARK))
    if match is None:
        raise Malformed("the state on a request cannot be read")
    return line[: match.start()], match[0]


def values(word: bytes) -> tuple[bytes, bytes]:
    """What the word of a request holds, of the session and of the message; raises `Malformed`."""
    match = _WORD.fullmatch(word)
    if match is None or len(word) > MAX_WORD_BYTES:
        raise Malformed("the state on a request cannot be read")
    try:
        return binascii.a2b_base64(match[1]), binascii.a2b_base64(match[2])
    except ValueError as error:
        raise Malformed(f"state: {error}") from None


def wants_results(word: bytes) -> bool:
    """Whether the word of a request says that RESULTS may come on the answer."""
    return word.count(_WISH) == _MARKS_WITH_WISH


def without_wish(line: bytes, word: bytes) -> bytes:
    """A request line that has this word, without the wish if it has one."""
    return line.removesuffix(_WISH) if wants_results(word) else line


def with_changes(answer: bytes, session: bytes | None, message: bytes | None) -> bytes:
    """An answer line with the word; None for a value that has not changed. Nothing is added if neither has."""
    if session is None and message is None:
        return answer
    return b'%b "%b"%b\n' % (answer.removesuffix(b"\n"), _base64(session), _base64(message))


def _base64(value: bytes | None) -> bytes:
    return _UNCHANGED if value is None else binascii.b2a_base64(value, newline=False)


class Carried:
    """Both values in the front end, in base64 as they came."""

    __slots__ = ("message", "session")

    def __init__(self) -> None:
        self.session = b""
        self.message = b""

    def on_request(self, line: bytes, *, wants_results: bool = False) -> bytes:
        """The request line with the word; an empty one says that a changed state will be taken back."""
        wish = _WISH if wants_results else b""
        return b'%b "%b"%b%b\n' % (line.removesuffix(b"\n"), self.session, self.message, wish)

    def from_answer(self, reply: bytes) -> bytes:
        """Takes the word off an answer line and keeps what has changed; raises `Malformed` for one that is none."""
        if STATE_MARK not in reply or not reply.startswith(b"ok"):
            return reply
        match = _ANSWER_WORD.match(reply, reply.index(STATE_MARK))
        if match is None or len(match[0]) > MAX_WORD_BYTES + 1:
            raise Malformed("the state on an answer cannot be read")
        session, message = match[1], match[2]
        if session != _UNCHANGED:
            self.session = session
        if message != _UNCHANGED:
            self.message = message
        return reply[: match.start()] + b"\n"
