# SPDX-License-Identifier: GPL-3.0-or-later
"""Structured MIME fields: `value; name=value; ...`, read as tolerantly as mail clients do.

Semicolons may be missing or doubled, values unquoted or half quoted, comments anywhere; encoded words
(RFC 2047) and parameter continuations (RFC 2231) are decoded. A field is cut into tokens once, in linear
time; what has two readings yields both. Takes and returns values, knows no message.
"""

from __future__ import annotations

import binascii
import re
from functools import lru_cache
from typing import Final, NamedTuple

from defang_worker.mime.charsets import decode_text, guess_text, is_plain_charset
from defang_worker.mime.decode import decode_base64
from defang_worker.mime.headers import strip_comments

# Possessive repeats for linear time, but of single characters only: see headers.py.
_MAIN: Final = re.compile(rb'[\s;,]*+([^\s;="]++)(?!\s*+=)')
# An unquoted value goes to the semicolon, blanks included, unless a word of it looks like the next `name=`. Some
# readers skip blanks before the star of an extended name.
_PARAMETER: Final = re.compile(
    rb'[\s;,]*+([^\s;=,"]++(?:\s++\*[^\s;=,"]*+)?)\s*+=\s*+(?:"((?:[^"\\]++|\\.)*)\\?"?|([^;\s]*+(?:\s++(?![^\s;="]++\s*+=)[^;\s]++)*))',
    re.DOTALL,
)
_WORD: Final = re.compile(rb"[\s;,]*+[^\s;,]*+")
_TAIL: Final = re.compile(rb"[^\s;=]++(?!\s*+=)")
_PERCENT: Final = re.compile(rb"%([0-9A-Fa-f]{2})")
_SECTION: Final = re.compile(r"\*([0-9]{1,9})(\*?)")
_ENCODED_WORD: Final = re.compile(rb"=\?([^?\s]{1,60})\?([bBqQ])\?([^?]*+)(?:\?=|\?$|$)")
_UTF16_WORD: Final = re.compile(rb"=\?utf-?16[^?\s]{0,20}\?", re.IGNORECASE)
_REMEMBERED_BYTES: Final = 1_000
_WORD_GAP: Final = re.compile(rb"(\?=)\s++(?==\?)")


class Parameter(NamedTuple):
    """One parameter: name in small letters, value without quotes and with quoted pairs resolved."""

    name: str
    value: bytes
    as_written: bytes
    """Differs from `value` if a backslash stands where it quotes nothing, as in Windows paths."""
    is_quoted: bool = True
    tail: bytes = b""
    """What follows the closing quotation mark without a separator."""


class _Section(NamedTuple):
    """One piece of a parameter that is continued (RFC 2231 section 3)."""

    number: int
    is_extended: bool
    value: bytes


# Sorts behind every real one; RFC 2231 sets no end, _SECTION reads nine digits.
_NO_NUMBER: Final = 10**9


class StructuredField(NamedTuple):
    """A field's own value, in small letters, and its parameters in their order, repeated ones too."""

    value: str
    parameters: list[Parameter]

    def parameter(self, name: str) -> bytes | None:
        """Return the first plain value of a parameter; for `name*` and `name*0` see `texts`."""
        for parameter in self.parameters:
            if parameter.name == name:
                return parameter.value
        return None

    def texts(self, name: str) -> list[str]:
        """Return all readings of a parameter as text, the one that most clients show first."""
        return parameter_texts(self.parameters, name)


def parse_field(value: bytes) -> StructuredField:
    """Cut an unfolded field value into its parts."""
    bare = strip_comments(value) if b"(" in value else value
    main, parameters = tokenize(bare)
    if bare != value:  # the reading that knows no comments may have other parameters
        parameters = list(dict.fromkeys(parameters + tokenize(value)[1]))
    return StructuredField(main, parameters)


def tokenize(value: bytes) -> tuple[str, list[Parameter]]:
    """Return a field's own value in small letters, and its parameters; comments count as text."""
    main, at = "", 0
    if match := _MAIN.match(value):
        main, at = match[1].decode("latin-1").lower(), match.end()
    parameters: list[Parameter] = []
    while at < len(value):
        match = _PARAMETER.match(value, at)
        if match is None:
            at = max(_WORD.match(value, at).end(), at + 1)  # type: ignore[union-attr]  # it matches nothing, too
            continue
        at = match.end()
        tail = b""
        if match[2] is not None and (more := _TAIL.match(value, at)):
            tail, at = more[0], more.end()
        parameters.append(_parameter(match[1], match[2], match[3], tail))
    return main, parameters


def _parameter(name: bytes, quoted: bytes | None, unquoted: bytes | None, tail: bytes) -> Parameter:
    key = b"".join(name.split()).decode("latin-1").lower()
    if quoted is None:
        plain = (unquoted or b"").strip(b'"')  # half a pair of quotes is no part of a value
        return Parameter(key, plain, plain, is_quoted=False)
    if b"\\" not in quoted:
        return Parameter(key, quoted, quoted, tail=tail)
    return Parameter(key, without_pairs(quoted, b""), without_pairs(quoted, b'"'), tail=tail)


def without_pairs(quoted: bytes, after: bytes) -> bytes:
    """Return a quoted value without the backslashes of quoted pairs: before a backslash, and before `after`."""
    # Between doubled ones, each backslash begins a pair, but for a last one of all. A header may be full of them, so
    # that this takes no regular expression, which would cost a microsecond each.
    *pieces, last = quoted.split(b"\\\\")
    end = b"\\" if not after and last.endswith(b"\\") else b""
    whole = [piece.replace(b"\\" + after, after) if piece else piece for piece in (*pieces, last)]
    return b"\\".join(whole) + end


def parameter_texts(parameters: list[Parameter], name: str) -> list[str]:
    """Return all readings of parameter `name` as text, in the order of preference.

    First `name*` (RFC 2231), then the joined `name*0`, `name*1`, ..., then plain `name`, whose encoded
    words are resolved in one reading and left alone in another.
    """
    extended: list[str] = []
    plain: list[str] = []
    sections: list[_Section] = []
    for parameter in parameters:
        if not parameter.name.startswith(name):
            continue
        tail = parameter.name[len(name) :]
        if not tail:
            plain += _plain_texts(parameter)
        elif tail == "*":
            extended += _extended_texts(parameter.value)
        elif match := _SECTION.fullmatch(tail):
            sections.append(_Section(int(match[1]), bool(match[2]), parameter.value))
        elif tail[0] == "*":  # no number, but a piece for who goes by the order alone
            sections.append(_Section(_NO_NUMBER, tail[-1] == "*", parameter.value))
    if sections:
        extended += _joined_texts(sections)
    return list(dict.fromkeys(extended + plain))


def _plain_texts(parameter: Parameter) -> list[str]:
    texts = word_readings(parameter.value) if b"=?" in parameter.value else []
    texts.append(guess_text(parameter.value))
    if parameter.as_written != parameter.value:
        texts.append(guess_text(parameter.as_written))
    if parameter.value[:1] == b"'" == parameter.value[-1:] and len(parameter.value) > 2:
        texts.append(guess_text(parameter.value[1:-1]))
    return texts


def unpercent(value: bytes) -> bytes:
    """Return `value` with its %XX decoded; what is no such pair stays."""
    return _PERCENT.sub(lambda match: binascii.unhexlify(match[1]), value) if b"%" in value else value


def split_charset(value: bytes) -> tuple[str, bytes]:
    """Return charset and text of `charset'language'text`; either tick may be missing."""
    charset, tick, rest = value.partition(b"'")
    if not tick:
        return "", value
    language, tick, text = rest.partition(b"'")
    return charset.decode("latin-1"), text if tick else language


def _extended_texts(value: bytes) -> list[str]:
    charset, text = split_charset(value)
    plain = unpercent(text)
    texts = [decode_text(plain, charset)]
    if not is_plain_charset(charset):
        texts.append(guess_text(plain))  # who doesn't know the charset shows the bytes
        if value.count(b"'") < 2:
            texts.append(guess_text(unpercent(value)))  # a lone tick may be an apostrophe
        if charset.lower().startswith("utf-16"):
            texts += [plain.decode("utf-16-be", "replace"), plain.decode("utf-16-le", "replace")]
    return texts


def _joined_texts(sections: list[_Section]) -> list[str]:
    """Join continuations by number (first and last of equal ones), and in their order of appearance."""
    orders = [sections]
    if any(section.number != index for index, section in enumerate(sections)):
        first: dict[int, _Section] = {}
        last: dict[int, _Section] = {}
        for section in sections:
            first.setdefault(section.number, section)
            last[section.number] = section
        orders = [[chosen[number] for number in sorted(chosen)] for chosen in (first, last)] + orders
        if sum(section.number == orders[0][0].number for section in sections) > 1 or len(first) < len(sections):
            orders += [sorted(sections, key=lambda section: section.number), _until_gap(orders[0])]
        else:
            orders.append(_until_gap(orders[0]))
    texts = [text for order in orders for text in _section_texts(order)]
    return list(dict.fromkeys(texts))


def _until_gap(sections: list[_Section]) -> list[_Section]:
    """Return the sections up to the first missing number; some readers stop there."""
    kept = [section for index, section in enumerate(sections) if section.number == index]
    return kept or sections


def _section_texts(sections: list[_Section]) -> list[str]:
    charset, pieces, is_mixed = "", [], False
    for index, (_, is_extended, value) in enumerate(sections):
        text = value
        if is_extended:
            if index == 0 or (not charset and value.count(b"'") >= 2):
                charset, text = split_charset(value)
            text = unpercent(text)
        is_mixed = is_mixed or (not is_extended and b"%" in value)
        pieces.append(text)
    joined = b"".join(pieces)
    texts = [decode_text(joined, charset)]
    if charset and not is_plain_charset(charset):
        texts.append(guess_text(joined))
        if charset.lower().startswith("utf-16"):
            texts += [joined.decode("utf-16-be", "replace"), joined.decode("utf-16-le", "replace")]
    if is_mixed and any(section.is_extended for section in sections):
        texts.append(decode_text(unpercent(joined), charset))
    if b"=?" in joined:
        texts += word_readings(joined)
    return texts


def word_readings(value: bytes) -> list[str]:
    """Return every reading of a value with encoded words in it, the usual one first.

    UTF-16 is read in both orders of its bytes; base64 that is cut within four characters, word by word and joined.
    """
    texts = [decode_words(value)]
    if _UTF16_WORD.search(value):
        texts += [decode_words(_UTF16_WORD.sub(order, value)) for order in (b"=?utf-16-be?", b"=?utf-16-le?")]
    if (whole := _with_joined_base64(value)) is not None:
        texts.append(decode_words(whole))
    return texts


def _with_joined_base64(value: bytes) -> bytes | None:
    """Return a value with one word for several whose base64 is cut within four characters; None if there is none."""
    joined = _WORD_GAP.sub(rb"\1", value)
    if joined.count(b"?==?") == 0:
        return None
    pieces: list[bytes] = []
    at = 0
    charset, cut_characters = b"", 0  # of the word before, if it is base64
    is_joined = False
    for match in _ENCODED_WORD.finditer(joined):
        is_base64 = match[2] in b"bB"
        if is_base64 and cut_characters and match.start() == at and match[1].lower() == charset:
            is_joined = True
            del pieces[-1]
        else:
            cut_characters = 0
            pieces.append(joined[at : match.start(3)])
        pieces += (match[3], b"?=")
        at = match.end()
        charset = match[1].lower()
        is_whole = not is_base64 or match[3].endswith(b"=")
        cut_characters = 0 if is_whole else (cut_characters + len(match[3])) % 4
    return b"".join([*pieces, joined[at:]]) if is_joined else None


def decode_words(value: bytes) -> str:
    """Return `value` as text, its encoded words (RFC 2047) resolved wherever they stand."""
    if b"=?" not in value:
        return guess_text(value)
    return _remembered(value) if len(value) <= _REMEMBERED_BYTES else _words(value)


def _words(value: bytes) -> str:
    joined = _WORD_GAP.sub(rb"\1", value)
    texts: list[str] = []
    at = 0
    pending, pending_charset = b"", ""  # a character may be split between two words of one charset
    for match in _ENCODED_WORD.finditer(joined):
        charset = match[1].decode("latin-1").partition("*")[0].lower()
        if pending and (match.start() > at or charset != pending_charset):
            texts.append(decode_text(pending, pending_charset))
            pending = b""
        texts.append(guess_text(joined[at : match.start()]))
        pending, pending_charset = pending + _word_bytes(match[2], match[3]), charset
        at = match.end()
    texts += (decode_text(pending, pending_charset), guess_text(joined[at:]))
    return "".join(texts)


# The same words stand in two fields of a part, each of which is read in several ways.
_remembered: Final = lru_cache(maxsize=8)(_words)


def _word_bytes(encoding: bytes, text: bytes) -> bytes:
    if encoding in b"qQ":
        return binascii.a2b_qp(text, header=True)
    return decode_base64(text)
