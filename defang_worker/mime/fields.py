# SPDX-License-Identifier: GPL-3.0-or-later
"""Structured MIME fields: `value; name=value; ...`, read as tolerantly as mail clients do.

Semicolons may be missing or doubled, values unquoted or half quoted, comments anywhere; encoded words
(RFC 2047) and parameter continuations (RFC 2231) are decoded. A field is cut into tokens once, in linear
time; what has two readings yields both. Takes and returns values, knows no message.
"""

import binascii
import re
from typing import Final, NamedTuple

from defang_worker.mime.charsets import decode_text, guess_text
from defang_worker.mime.decode import decode_base64
from defang_worker.mime.headers import strip_comments

# Possessive repeats for linear time, but of single characters only: see headers.py.
_MAIN: Final = re.compile(rb'[\s;,]*+([^\s;="]++)(?!\s*+=)')
# An unquoted value goes to the semicolon, blanks included, unless a word of it looks like the next `name=`.
_PARAMETER: Final = re.compile(
    rb'[\s;,]*+([^\s;=,"]++)\s*+=\s*+(?:"((?:[^"\\]++|\\.)*)\\?"?|([^;\s]*+(?:\s++(?![^\s;="]++\s*+=)[^;\s]++)*))',
    re.DOTALL,
)
_WORD: Final = re.compile(rb"[\s;,]*+[^\s;,]*+")
_QUOTED_PAIR: Final = re.compile(rb"\\(.)", re.DOTALL)
_NEEDED_PAIR: Final = re.compile(rb'\\(["\\])')
_PERCENT: Final = re.compile(rb"%([0-9A-Fa-f]{2})")
_SECTION: Final = re.compile(r"\*([0-9]{1,9})(\*?)")
_ENCODED_WORD: Final = re.compile(rb"=\?([^?\s]{1,60})\?([bBqQ])\?([^?]*+)\?=")
_WORD_GAP: Final = re.compile(rb"(\?=)\s++(?==\?)")


class Parameter(NamedTuple):
    """One parameter: name in small letters, value without quotes and with quoted pairs resolved."""

    name: str
    value: bytes
    as_written: bytes
    """Differs from `value` if a backslash stands where it quotes nothing, as in Windows paths."""


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
    main, parameters = _tokenize(bare)
    if bare != value:  # the reading that knows no comments may have other parameters
        parameters += [parameter for parameter in _tokenize(value)[1] if parameter not in parameters]
    return StructuredField(main, parameters)


def _tokenize(value: bytes) -> tuple[str, list[Parameter]]:
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
        parameters.append(_parameter(match[1], match[2], match[3]))
    return main, parameters


def _parameter(name: bytes, quoted: bytes | None, unquoted: bytes | None) -> Parameter:
    key = name.decode("latin-1").lower()
    if quoted is None:
        plain = (unquoted or b"").strip(b'"')  # half a pair of quotes is no part of a value
        return Parameter(key, plain, plain)
    if b"\\" not in quoted:
        return Parameter(key, quoted, quoted)
    return Parameter(key, _QUOTED_PAIR.sub(rb"\1", quoted), _NEEDED_PAIR.sub(rb"\1", quoted))


def parameter_texts(parameters: list[Parameter], name: str) -> list[str]:
    """Return all readings of parameter `name` as text, in the order of preference.

    First `name*` (RFC 2231), then the joined `name*0`, `name*1`, ..., then plain `name`, whose encoded
    words are resolved in one reading and left alone in another.
    """
    extended: list[str] = []
    plain: list[str] = []
    sections: list[tuple[int, bool, bytes]] = []
    for parameter in parameters:
        if not parameter.name.startswith(name):
            continue
        tail = parameter.name[len(name) :]
        if not tail:
            plain += _plain_texts(parameter)
        elif tail == "*":
            extended.append(_extended_text(parameter.value))
        elif match := _SECTION.fullmatch(tail):
            sections.append((int(match[1]), bool(match[2]), parameter.value))
    if sections:
        extended += _joined_texts(sections)
    return list(dict.fromkeys(extended + plain))


def _plain_texts(parameter: Parameter) -> list[str]:
    texts = [decode_words(parameter.value)] if b"=?" in parameter.value else []
    texts.append(guess_text(parameter.value))
    if parameter.as_written != parameter.value:
        texts.append(guess_text(parameter.as_written))
    if parameter.value[:1] == b"'" == parameter.value[-1:] and len(parameter.value) > 2:
        texts.append(guess_text(parameter.value[1:-1]))
    return texts


def _unpercent(value: bytes) -> bytes:
    return _PERCENT.sub(lambda match: binascii.unhexlify(match[1]), value) if b"%" in value else value


def _split_charset(value: bytes) -> tuple[str, bytes]:
    """Return charset and text of `charset'language'text`; either tick may be missing."""
    charset, tick, rest = value.partition(b"'")
    if not tick:
        return "", value
    language, tick, text = rest.partition(b"'")
    return charset.decode("latin-1"), text if tick else language


def _extended_text(value: bytes) -> str:
    charset, text = _split_charset(value)
    return decode_text(_unpercent(text), charset)


def _joined_texts(sections: list[tuple[int, bool, bytes]]) -> list[str]:
    """Join continuations by number (first and last of equal ones), and in their order of appearance."""
    orders = [sections]
    if any(number != index for index, (number, _, _) in enumerate(sections)):
        first: dict[int, tuple[int, bool, bytes]] = {}
        last: dict[int, tuple[int, bool, bytes]] = {}
        for section in sections:
            first.setdefault(section[0], section)
            last[section[0]] = section
        orders = [[chosen[number] for number in sorted(chosen)] for chosen in (first, last)] + orders
    return [_joined_text(order) for order in orders]


def _joined_text(sections: list[tuple[int, bool, bytes]]) -> str:
    charset, pieces = "", []
    for index, (_, is_extended, value) in enumerate(sections):
        text = value
        if is_extended:
            if index == 0:
                charset, text = _split_charset(value)
            text = _unpercent(text)
        pieces.append(text)
    return decode_text(b"".join(pieces), charset)


def decode_words(value: bytes) -> str:
    """Return `value` as text, its encoded words (RFC 2047) resolved wherever they stand."""
    if b"=?" not in value:
        return guess_text(value)
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


def _word_bytes(encoding: bytes, text: bytes) -> bytes:
    if encoding in b"qQ":
        return binascii.a2b_qp(text, header=True)
    return decode_base64(text)
