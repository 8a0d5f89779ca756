# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers, one line each (protocol.md, Answers).

A worker's check answers carry five words: status, text, code, DSN, delay. `Answer` fills in
code and DSN that fit its verdict; the numbers of libmilter are no business of this module.
The decoder is exactly as strict as the original front end: whatever it does not recognize
raises `Malformed`, and the caller makes a temporary failure of it.
"""

import binascii
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from defang_common.shown import shown

from . import percent
from .errors import Malformed, Unencodable
from .lines import MAX_ANSWER_LINE_BYTES

SCAN_OK: Final = b"ok\n"
"""The only answer to `scan` that says RESULTS is complete in the working directory."""

# The escape never leaves an apostrophe on a line, so no other answer can look like this one.
_SCAN_RESULTS: Final = b"ok '"
MAX_RESULTS_ON_ANSWER_BYTES: Final = (MAX_ANSWER_LINE_BYTES - len(_SCAN_RESULTS)) // 4 * 3
"""The most of RESULTS that fits an answer, where it stands in base64."""

# Of a traceback's last line and the path of a file there is enough.
_MAX_ERROR_CHARACTERS: Final = 1000

PONG: Final = b"PONG\n"

REJECT_TEXT: Final = b"Forbidden for policy reasons"
TEMPFAIL_TEXT: Final = b"Please try again later"
"""Both texts are the original's, and stand in where a filter gives none."""


class LookupStatus(StrEnum):
    """What came of looking a key up; the value is its word on the wire, to the MTA too."""

    OK = "OK"
    NOT_FOUND = "NOTFOUND"
    TEMP = "TEMP"
    TIMEOUT = "TIMEOUT"
    PERM = "PERM"


class Verdict(StrEnum):
    """What a check decided; the value is its word on the wire."""

    CONTINUE = "1"
    """Go on."""
    REJECT = "0"
    """Refused for good."""
    TEMPFAIL = "-1"
    """Refused for now."""
    ACCEPT = "2"
    """Delivered without more filtering."""
    DISCARD = "3"
    """Accepted, and delivered to nobody."""


@dataclass(frozen=True, slots=True)
class _Defaults:
    text: bytes
    code: bytes
    dsn: bytes
    code_shape: re.Pattern[bytes]
    dsn_shape: re.Pattern[bytes]


def _defaults(digit: int, text: bytes, code: bytes, dsn: bytes) -> _Defaults:
    return _Defaults(text, code, dsn, re.compile(rb"%d\d\d" % digit), re.compile(rb"%d\.\d{1,3}\.\d{1,3}" % digit))


_SUCCESS: Final = _defaults(2, b"ok", b"250", b"2.1.0")
_DEFAULTS: Final = {
    Verdict.CONTINUE: _SUCCESS,
    Verdict.ACCEPT: _SUCCESS,
    Verdict.DISCARD: _SUCCESS,
    Verdict.REJECT: _defaults(5, REJECT_TEXT, b"554", b"5.7.1"),
    Verdict.TEMPFAIL: _defaults(4, TEMPFAIL_TEXT, b"451", b"4.3.0"),
}


@dataclass(frozen=True, slots=True)
class Answer:
    """A check's verdict with its SMTP reply; made by `answer`, so code and DSN fit the verdict.

    `text` is None where the peer gave only a status: the MTA then chooses the reply.
    """

    verdict: Verdict
    text: bytes | None
    code: bytes
    dsn: bytes
    delay_s: int = 0


def fit(verdict: Verdict, code: bytes, dsn: bytes) -> tuple[bytes, bytes]:
    """`code` and `dsn` where they are of the verdict's class, else the class's usual ones."""
    usual = _DEFAULTS[verdict]
    return (
        code if usual.code_shape.fullmatch(code) else usual.code,
        dsn if usual.dsn_shape.fullmatch(dsn) else usual.dsn,
    )


def answer(verdict: Verdict, text: bytes = b"", code: bytes = b"", dsn: bytes = b"", delay_s: int = 0) -> Answer:
    """An Answer; what is empty or does not fit the verdict becomes the verdict's usual value."""
    code, dsn = fit(verdict, code, dsn)
    return Answer(verdict, text or _DEFAULTS[verdict].text, code, dsn, max(delay_s, 0))


def encode(what: Answer) -> bytes:
    """The answer's line with its newline. A text that would take it over the limit of a line is cut."""
    text = percent.encode(what.text or _DEFAULTS[what.verdict].text)
    head = b"ok %s " % what.verdict.encode()
    tail = b" %s %s %d" % (what.code, what.dsn, what.delay_s)
    return head + percent.cut(text, MAX_ANSWER_LINE_BYTES - len(head) - len(tail)) + tail + b"\n"


def encode_error(text: str) -> bytes:
    """A worker's `error:` line. Raw text on the wire: what is not printable ASCII becomes a blank."""
    safe = "".join(char if " " <= char <= "~" else " " for char in text)
    return b"error: " + safe.encode("ascii")[:_MAX_ERROR_CHARACTERS] + b"\n"


def encode_results(lines: bytes) -> bytes:
    """The answer to a scan that has all of RESULTS on it (protocol.md, RESULTS on the answer)."""
    return _SCAN_RESULTS + binascii.b2a_base64(lines)


def decode_scan(reply: bytes) -> bytes | None:
    """RESULTS if it came on a scan's answer, None if it is in the directory; raises `Malformed` for other answers."""
    if reply == SCAN_OK:
        return None
    if not reply.startswith(_SCAN_RESULTS) or not reply.endswith(b"\n"):
        raise Malformed(shown(reply.strip(), _MAX_ERROR_CHARACTERS) or "no answer")
    try:
        return binascii.a2b_base64(reply[len(_SCAN_RESULTS) : -1], strict_mode=True)
    except binascii.Error as error:
        raise Malformed(f"RESULTS on the answer: {error}") from None


def encode_lookup(status: LookupStatus, text: bytes) -> bytes:
    """The line with what came of a lookup; raises `Unencodable` if the value takes it over the limit of a line."""
    line = b"%s %s" % (status.encode(), percent.encode(text))
    if len(line) > MAX_ANSWER_LINE_BYTES:
        raise Unencodable(f"the value of a lookup takes {len(line)} bytes, limit {MAX_ANSWER_LINE_BYTES}")
    return line + b"\n"


def decode_lookup(reply: bytes) -> bytes:
    """Status, blank and text, decoded as the MTA gets them; raises `Malformed` for what is no answer to a lookup."""
    status, blank, _ = reply.partition(b" ")
    if not blank or status not in _LOOKUP_WORDS:
        raise Malformed(f"no answer to a lookup: {shown(reply.strip()) or 'nothing'}")
    return percent.decode(reply.removesuffix(b"\n"))


def encode_tock(kind: int) -> bytes:
    """The line that says that a tick's work is done."""
    return b"tock %d\n" % kind


def encode_own(text: bytes) -> bytes:
    """The answer to a command of the site's own; raises `Unencodable` if it goes over the limit of a line."""
    line = b"ok " + percent.encode(text)
    if len(line) > MAX_ANSWER_LINE_BYTES:
        raise Unencodable(f"the answer to a command takes {len(line)} bytes, limit {MAX_ANSWER_LINE_BYTES}")
    return line + b"\n"


_LOOKUP_WORDS: Final = frozenset(status.encode() for status in LookupStatus)
_BARE: Final = {b"ok %s\n" % verdict.encode(): Answer(verdict, None, *fit(verdict, b"", b"")) for verdict in Verdict}
_LONG: Final = re.compile(rb"ok (-1|0|1|2|3) (.+)", re.DOTALL)
_BLANK: Final = re.compile(rb"[ \t\v\f]")
_INTEGER: Final = re.compile(rb"\s*([+-]?\d{1,9})")


def decode(reply: bytes) -> Answer:
    """The answer in a whole reply (all bytes up to the end of the connection).

    The short form needs its newline; a second line is glued on, not ignored, so that two
    answers in one reply never pass for one. Raises `Malformed` for anything else.
    """
    bare = _BARE.get(reply)
    if bare is not None:
        return bare
    match = _LONG.fullmatch(reply.replace(b"\r", b"").replace(b"\n", b""))
    if match is None:
        raise Malformed(f"no answer to a check: {shown(reply.strip()) or 'nothing'}")
    verdict = Verdict(match[1].decode())
    words = [percent.decode(word) for word in _BLANK.split(match[2], maxsplit=3)]
    text, code, dsn, rest = words + [b""] * (4 - len(words))
    delay = _INTEGER.match(rest)
    return answer(verdict, text, code, dsn, int(delay[1]) if delay else 0)


def decode_free(reply: bytes) -> int:
    """The number of free workers in the reply to `free`; raises `Malformed` if there is none."""
    match = _INTEGER.match(reply)
    if match is None:
        raise Malformed(f"no number of free workers: {shown(reply.strip()) or 'nothing'}")
    return int(match[1])
