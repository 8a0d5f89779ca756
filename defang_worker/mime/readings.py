# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything that any reader may take from one Content-Type, Content-Disposition or Content-Transfer-Encoding field.

The value is spelled in a few ways (comments or quotes as text, folds without their blank, odd bytes as
blanks or as nothing) and each spelling is cut into tokens once, so that the cost stays linear in its length.
A field that is well-formed has one spelling. `fields.py` reads a spelling.
"""

import re
from functools import lru_cache
from typing import Final, NamedTuple

from defang_worker.mime.charsets import guess_text
from defang_worker.mime.decode import encoding_name
from defang_worker.mime.fields import (
    Parameter,
    decode_words,
    parameter_texts,
    tokenize,
    unpercent,
    word_readings,
)
from defang_worker.mime.headers import strip_comments, unfold

# No single group under a possessive repeat: see headers.py. The spans cannot overlap, so plain repeats stay linear.
_CLEAN: Final = re.compile(
    rb"(?:[ \t]|\r?\n[ \t])*[A-Za-z0-9!#$&^_.+-]+(?:/[A-Za-z0-9!#$&^_.+-]+)?"
    rb'(?:[ \t]*;(?:[ \t]|\r?\n[ \t])*[A-Za-z0-9!#$&^_.+-]+=(?:"[\x20\x21\x23-\x5b\x5d-\x7e]*"|[A-Za-z0-9!#$&^_.+-]+))*'
    rb"[ \t]*;?[ \t\r]*"
)
_FOLD: Final = re.compile(rb"\r*\n[ \t]+")
_ODD_BLANKS: Final = re.compile(
    rb"\xc2\xa0|\xc2\x85|\xe2\x80[\x80-\x8b\xa8\xa9\xaf]|\xe3\x80\x80|[\x00-\x08\x0b-\x1f\x7f]"
)
_LATIN_BLANKS: Final = re.compile(rb"[\x80-\xa0]")
_JOINED_QUOTES: Final = re.compile(rb'"[ \t]*"')
_QUOTE_FAULT: Final = re.compile(rb"\0[^\s;,]|[^=\s]\0")
# It matches what is never closed too, up to the end: another try behind each mark would be quadratic.
_QUOTED: Final = re.compile(rb'"(?:[^"\\]++|\\.)*("?)', re.DOTALL)
# The looks behind have a name tried at its beginning only, for the same reason.
_KEY_TAIL: Final = re.compile(r"(?<![a-z0-9*'-])[a-z0-9*'-]++$")
_TOKEN: Final = re.compile(rb"[^\s()<>@,;:\\\"/\[\]?=]+")
_TYPE: Final = re.compile(r"(?<![a-z0-9!#$&^_.+-])([a-z0-9!#$&^_.+-]++)\s*+/[\s/]*+([a-z0-9!#$&^_.+-]+)")
# An encoded word without a character that means something in a field.
_PLAIN_WORD: Final = re.compile(rb"=\?[A-Za-z0-9_-]{1,40}\?(?:[bB]\?[A-Za-z0-9+/=]+|[qQ]\?[A-Za-z0-9=_.+/-]+)\?=")
_ANY_WORD: Final = b"=?utf-8?q?x?="
# What would be something else than text in a field, and the quotation marks of word processors.
_SPECIAL: Final = re.compile("[\"'\\\\;=?(),\u2018\u2019\u201a\u201c-\u201e]")
# Of who writes fields in a word processor.
_CURLY_QUOTES: Final = frozenset("\u2018\u2019\u201a\u201c\u201d\u201e")
# Longer ones are rare, and would fill the memory.
_REMEMBERED_BYTES: Final = 1_000
# More spellings of one parameter than this serve no reader.
_MAX_NAMES: Final = 2_000


def is_clean(value: bytes) -> bool:
    """Tell whether a field value, folded or not, keeps to the grammar and leaves one reading."""
    return b"=?" not in value and _CLEAN.fullmatch(value) is not None


def with_any_word(raw: bytes) -> bytes:
    """Return a value that is clean but for one encoded word with some other word there, any other value as it is.

    What is wrong with a field does not depend on what the word says, but for that of a boundary.
    """
    if _CLEAN.fullmatch(raw) is None or b"oundary" in raw.lower():
        return raw
    exchanged, count = _PLAIN_WORD.subn(_ANY_WORD, raw)
    return exchanged if count == 1 else raw


def has_quote_fault(value: bytes) -> bool:
    """Tell whether quotation marks do not pair, or stand where they open or close no value."""
    if b'"' not in value:
        return False
    reduced = _QUOTED.sub(lambda match: b"\0" if match[1] else match[0], value.replace(b"\0", b""))
    return b'"' in reduced or _QUOTE_FAULT.search(reduced) is not None


def spellings(raw: bytes) -> list[bytes]:
    """Return the ways to spell an unparsed field value, the usual one first."""
    value = unfold(raw)
    if is_clean(raw):
        return [value]
    found = [strip_comments(value), value] if b"(" in value else [value]
    if b"\n" in raw:
        found.append(_FOLD.sub(b"", raw).strip())
    if _ODD_BLANKS.search(value):
        found += [_ODD_BLANKS.sub(b" ", value), _ODD_BLANKS.sub(b"", value)]
    if not value.isascii():
        found.append(_LATIN_BLANKS.sub(b" ", value))
    if has_quote_fault(value):
        found += [
            _JOINED_QUOTES.sub(b"", value),
            _JOINED_QUOTES.sub(b"", value).replace(b'"', b""),
            value.replace(b'"', b""),
        ]
    if b"=?" in value:
        found.append(decode_words(value).encode("utf-8", "replace"))
    return list(dict.fromkeys(found))


def _with_bare_names(parameters: list[Parameter]) -> list[Parameter]:
    """Return the parameters, and again by its own name each whose separator is none of the standard's."""
    bare = [
        parameter._replace(name=match[0])
        for parameter in parameters
        if (match := _KEY_TAIL.search(parameter.name)) and match[0] != parameter.name
    ]
    return parameters + bare if bare else parameters


class _Spelled(NamedTuple):
    """A field value, in each of its spellings cut into parameters."""

    usual: list[Parameter]
    """Those of the usual spelling, and only what stands there."""
    all: list[list[Parameter]]
    """Empty for a clean value, which has one spelling."""


def _spelled(raw: bytes) -> _Spelled:
    if b"=?" in raw and (known := _with_plain_words(raw)) is not None:
        return _Spelled(known, [])
    usual, *others = spellings(raw)
    parameters = tokenize(usual)[1]
    if not others and is_clean(raw):
        return _Spelled(parameters, [])
    cut = [parameters, *(tokenize(spelling)[1] for spelling in others)]
    return _Spelled(parameters, [_with_bare_names(one) for one in cut])


def _with_plain_words(raw: bytes) -> list[Parameter] | None:
    """Return the parameters of a value that is clean but for encoded words which are whole and mean mere text.

    Then it makes no difference whether the value is decoded before it is cut or after. None for any other value.
    """
    if _CLEAN.fullmatch(raw) is None or b"=?" in _PLAIN_WORD.sub(b"", raw):
        return None
    parameters = tokenize(unfold(raw))[1]
    for parameter in parameters:
        if b"=?" in parameter.value:
            text, *others = word_readings(parameter.value)
            if others or not text.isprintable() or _SPECIAL.search(text) or text != text.strip():
                return None
    return parameters


# One field is asked for two names, by several readers.
_remembered: Final = lru_cache(maxsize=8)(_spelled)


def _read(raw: bytes) -> _Spelled:
    return _remembered(raw) if len(raw) <= _REMEMBERED_BYTES else _spelled(raw)


def usual_parameters(raw: bytes) -> list[Parameter]:
    """Return the parameters of an unparsed field value in its usual spelling; not to be changed."""
    return _read(raw).usual


def texts(raw: bytes, name: str) -> list[str]:
    """Return every reading of parameter `name` in a field value as text, the usual one first."""
    spelled = _read(raw)
    if not spelled.all:
        return parameter_texts(spelled.usual, name)
    found: dict[str, None] = {}
    for parameters in spelled.all:
        for text in parameter_texts(parameters, name):
            found[text] = None
            stripped = text.strip('"')
            if text[:1] in _CURLY_QUOTES and text[-1:] in _CURLY_QUOTES:
                stripped = text.strip("".join(_CURLY_QUOTES))
            if stripped != text:
                found[stripped] = None
            if "=?" in text:
                found[decode_words(text.encode("utf-8", "replace"))] = None
    for text in _first_words(spelled.usual, name):
        found[text] = None
    return list(found)[:_MAX_NAMES]


def _first_words(parameters: list[Parameter], name: str) -> list[str]:
    """Return the values up to their first blank, of parameters that are not quoted."""
    return [
        guess_text(parameter.value.partition(b" ")[0])
        for parameter in parameters
        if parameter.name == name and not parameter.is_quoted and b" " in parameter.value
    ]


def boundaries(raw: bytes) -> list[bytes]:
    """Return every reading of the boundary parameter, the usual one first; an empty one is among them."""
    found: dict[bytes, None] = {}
    for spelling in spellings(raw):
        parameters = _with_bare_names(tokenize(spelling)[1])
        for parameter in parameters:
            if parameter.name == "boundary":
                for value in _boundary_forms(parameter):
                    found[value] = None
        for text in parameter_texts(parameters, "boundary"):
            found[text.encode("utf-8", "replace")] = None
    return list(found)


def _boundary_forms(parameter: Parameter) -> list[bytes]:
    value = parameter.value
    forms = [value, value.rstrip(b" \t\r"), value.strip(b" \t\r"), value[:70], parameter.as_written]
    forms += [value.strip(b"'"), value.partition(b"\0")[0], value.replace(b"\0", b"")]
    if not parameter.is_quoted:
        forms.append(value.split(b" ", 1)[0].split(b"\t", 1)[0])
        forms.append(value.partition(b"(")[0])
        if match := _TOKEN.match(value):
            forms.append(match[0])
    if parameter.tail:
        forms += [value + parameter.tail, b'"' + value + b'"' + parameter.tail]
    if b"=?" in value:
        forms.append(decode_words(value).encode("utf-8", "replace"))
    if b"%" in value:
        forms.append(unpercent(value))
    if b"'" in value:
        forms.append(unpercent(value.rpartition(b"'")[2]))
    return list(dict.fromkeys(forms))


def media_types(raw: bytes) -> list[str]:
    """Return the types a Content-Type value may be read as, in small letters, the usual one first."""
    found: dict[str, None] = {}
    for spelling in spellings(raw):
        main = spelling.partition(b";")[0].decode("latin-1").lower().replace('"', "")
        squeezed = re.sub(r"\s+", "", main) if len(main) < 200 else main
        for text in (main, squeezed):
            if match := _TYPE.search(text):
                found[f"{match[1]}/{match[2]}"] = None
            elif text.strip().startswith("multipart"):
                found["multipart/mixed"] = None
            elif text.strip().startswith("message"):
                found["message/rfc822"] = None
    return list(found) or ["application/octet-stream"]


def encodings(raw: bytes) -> list[str]:
    """Return the transfer encodings that a field value may be taken for, the usual one first."""
    value = unfold(raw)
    found = [encoding_name(value)]
    reduced = re.sub(rb"[^a-z0-9]", b"", value.lower())
    if b"base64" in reduced or b"b64" in reduced:
        found.append("base64")
    if b"quoted" in reduced or b"printable" in reduced or reduced in {b"qp", b"xqp"}:
        found.append("quoted-printable")
    if b"uu" in reduced:
        found.append("uuencode")
    return list(dict.fromkeys(found))
