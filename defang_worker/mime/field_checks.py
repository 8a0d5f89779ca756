# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with one Content-Type, Content-Disposition or Content-Transfer-Encoding field.

Yields names of defects and a word of detail; knows no entity. A well-formed field is done after one match of a
regular expression; any other is cut at its semicolons once.
"""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from defang_worker.mime.charsets import is_plain_charset
from defang_worker.mime.decode import encoding_name
from defang_worker.mime.fields import split_charset, tokenize, unpercent
from defang_worker.mime.headers import strip_comments, unfold
from defang_worker.mime.readings import encodings, is_clean

_SPLIT: Final = re.compile(rb'"(?:[^"\\]++|\\.)*"|[;"]', re.DOTALL)
_TOKEN: Final = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`{|}~-]+")
_TYPE: Final = re.compile(rb"[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+")
_QUOTED: Final = re.compile(rb'"((?:[^"\\]++|\\.)*)"', re.DOTALL)
# RFC 5322 section 3.2.4 allows the fold, but readers keep or drop its blank: of concern where the value is compared.
_QUOTED_FOLD: Final = re.compile(rb'(?:name|boundary)[*0-9]*[ \t]*=\s*"(?:[^"\\\n]++|\\.)*\n', re.IGNORECASE)
_NEEDLESS_PAIR: Final = re.compile(rb'(?<!\\)(?:\\\\)*\\[^"\\]', re.DOTALL)
# The look behind has a name tried at its beginning only, or long ones would be quadratic.
_NEXT_PARAMETER: Final = re.compile(rb"(?<![A-Za-z0-9*_-])[A-Za-z0-9*_-]++[ \t]*+=")
_COMMENT: Final = re.compile(rb"\(([^()]*)\)")
_ENCODED_WORD: Final = re.compile(rb"=\?[^?\s]+\?[bBqQ]\?")
_BAD_PERCENT: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_SECTION: Final = re.compile(rb"\*(0|[1-9][0-9]{0,3})(\*?)")
_ODD_BLANKS: Final = re.compile(
    rb"[\x0b\x0c\x1c-\x1f]|\xc2\xa0|\xc2[\x80-\x9f]|\xe2\x80[\xa8\xa9]|(?<![\x80-\xff])[\x80-\xa0](?![\x80-\xff])"
)
_ENCODINGS: Final = frozenset({b"7bit", b"8bit", b"binary", b"base64", b"quoted-printable"})
_ENCODED: Final = frozenset({"base64", "quoted-printable", "uuencode"})
# RFC 2183, and the registry that it founded.
_DISPOSITIONS: Final = frozenset(
    b"inline attachment form-data signal alert icon render recipient-list-history session aib early-session "
    b"recipient-list notification by-reference info-package recording-session".split()
)
_NAME_PARAMETERS: Final = frozenset({b"filename", b"name"})
# How other parameters are quoted makes no part appear or vanish.
_COMPARED_PARAMETERS: Final = _NAME_PARAMETERS | {b"boundary"}
_MAX_BOUNDARY_BYTES: Final = 70


class Finding(NamedTuple):
    """A defect of a field, yet without a place."""

    name: str
    detail: str = ""


def field_findings(field: str, raw: bytes) -> Iterator[Finding]:
    """Yield what is wrong with a field ("content-type", ...) that has this value, folds and all; some may repeat."""
    if field == "content-transfer-encoding":
        yield from _encoding_findings(raw)
        return
    value = unfold(raw)
    if not is_clean(raw):
        if b"\n" in raw and _QUOTED_FOLD.search(raw):
            yield Finding("odd-folding", "fold inside quotation marks")
        if _ODD_BLANKS.search(value):
            yield Finding("odd-whitespace", "control or strange blank in a field")
        bare = strip_comments(value) if b"(" in value else value
        if bare != value and _comment_hides(value, bare):
            yield Finding("comment-in-mime-field")
        value = bare
    segments, is_open = _segments(value)
    if is_open:
        yield Finding("unbalanced-quote")
    if field == "content-type":
        yield from _type_findings(segments[0], value)
    elif segments[0].strip().lower() not in _DISPOSITIONS:
        yield from _disposition_findings(segments[0])
    yield from _parameter_findings(segments)


def _segments(value: bytes) -> tuple[list[bytes], bool]:
    """Cut a value at the semicolons outside of quotation marks; also tell whether a mark is left open."""
    segments: list[bytes] = []
    start = 0
    for match in _SPLIT.finditer(value):
        if match[0] == b";":
            segments.append(value[start : match.start()])
            start = match.end()
        elif match[0] == b'"':
            # All marks behind it are escaped, and none of them closed either: looking at each would be quadratic.
            first, *others = value[match.start() :].split(b";")
            return [*segments, value[start : match.start()] + first, *others], True
    return [*segments, value[start:]], False


def _comment_hides(value: bytes, bare: bytes) -> bool:
    """Tell whether a reader without comments takes something else from the field."""
    if any(mark in comment for comment in _COMMENT.findall(value) for mark in (b";", b"=")):
        return True
    if value.lstrip().startswith(b"(") or b"(" in value.partition(b";")[0].rstrip().partition(b" ")[0]:
        return True
    without, within = tokenize(bare)[1], tokenize(value)[1]
    for name in ("filename", "name", "boundary"):
        plain = [(parameter.name, parameter.value) for parameter in without if parameter.name.startswith(name)]
        other = [(parameter.name, parameter.value) for parameter in within if parameter.name.startswith(name)]
        if plain != other:
            return True
    return len(without) > len(within)


def _type_findings(main: bytes, value: bytes) -> Iterator[Finding]:
    main = main.strip()
    if _TYPE.fullmatch(main):
        return
    # Without a semicolon the type is followed by a parameter, which is said elsewhere.
    words = main.split()
    if words and _TYPE.fullmatch(words[0]) and (len(words) > 1 and b"=" in main):
        return
    if words and _TYPE.fullmatch(words[0].rstrip(b",")) and b"=" in main:
        return
    yield Finding("bad-content-type", "no type and subtype" if value else "empty")


def _disposition_findings(main: bytes) -> Iterator[Finding]:
    main = main.strip()
    first = re.split(rb"[\s,=]", main, maxsplit=1)[0].lower()
    if b"=" in main and first in _DISPOSITIONS:
        return
    yield Finding("bad-disposition", "unknown" if _TOKEN.fullmatch(main) else "no type")


def _parameter_findings(segments: list[bytes]) -> Iterator[Finding]:
    main = segments[0].strip()
    if b"=" in main and (match := _NEXT_PARAMETER.search(main)):
        if match.start() > 0:
            yield Finding("parameter-separator", "no semicolon before a parameter")
        segments = [b"", main[match.start() :], *segments[1:]]
    values: dict[bytes, bytes] = {}
    sections: dict[bytes, list[tuple[bytes, bytes]]] = {}
    for index, segment in enumerate(segments[1:], 1):
        name, equals, value = segment.strip().partition(b"=")
        if not equals:
            if name or index < len(segments) - 1:
                yield Finding("parameter-separator", "no value" if name else "doubled semicolon")
            continue
        if name != name.rstrip() or value != value.lstrip():
            yield Finding("space-around-equals")
        name, value = name.strip().lower(), value.strip()
        if not _TOKEN.fullmatch(name):
            yield Finding("parameter-separator", "strange separator")
            name = re.split(rb"[^a-z0-9*_-]", name)[-1]
        base, star, tail = name.partition(b"*")
        yield from _value_findings(base, value)
        if star:
            sections.setdefault(base, []).append((star + tail, value))
        elif _unquoted(values.setdefault(name, value)) != _unquoted(value):
            yield Finding("duplicate-boundary" if name == b"boundary" else "duplicate-parameter")
    for base, pieces in sections.items():
        yield from _section_findings(base, pieces)


def _unquoted(value: bytes) -> bytes:
    return value[1:-1] if value[:1] == b'"' == value[-1:] else value


def _value_findings(name: bytes, value: bytes) -> Iterator[Finding]:
    """Yield what is wrong with one parameter's value, quotation marks and all."""
    is_boundary, is_name, is_compared = name == b"boundary", name in _NAME_PARAMETERS, name in _COMPARED_PARAMETERS
    odd_quoting = "boundary-odd-quoting" if is_boundary else "odd-quoting"
    match = _QUOTED.match(value)
    if match:
        inner, tail = match[1], value[match.end() :]
        if b"\\" in inner and is_compared and _NEEDLESS_PAIR.search(inner):
            yield Finding(odd_quoting, "needless quoted pair")
        elif is_boundary and b"\\" in inner:
            yield Finding(odd_quoting, "quoted pair")
        if tail.strip():
            if (_NEXT_PARAMETER.search(tail) and not is_boundary) or _NEXT_PARAMETER.match(tail.lstrip(b" \t,")):
                yield Finding("parameter-separator", "no semicolon between parameters")
            else:
                yield Finding(odd_quoting, "text after the quotation mark")
    else:
        inner = value
        yield from _unquoted_findings(value, is_boundary=is_boundary, is_name=is_name)
    if len(inner) > 2 and inner[:1] == b"'" == inner[-1:] and is_compared:
        yield Finding(odd_quoting, "single quotes")
    if b"=?" in inner and is_compared and _ENCODED_WORD.search(inner):
        yield Finding("boundary-encoded" if is_boundary else "encoded-word-in-parameter")
    if not value.isascii():
        yield Finding("raw-8bit-parameter")
    if is_boundary:
        yield from _boundary_findings(inner)


def _unquoted_findings(value: bytes, *, is_boundary: bool, is_name: bool) -> Iterator[Finding]:
    if _TOKEN.fullmatch(value):
        return
    if not value:
        if is_name:
            yield Finding("parameter-separator", "no value")
        return
    if value.count(b'"') % 2:
        yield Finding("unbalanced-quote")
    elif b'"' in value:
        yield Finding("odd-quoting" if not is_boundary else "boundary-odd-quoting", "quotation marks in the middle")
    words = value.split(None, 1)
    if len(words) > 1 and _NEXT_PARAMETER.search(words[1]):
        yield Finding("parameter-separator", "no semicolon between parameters")
        if is_boundary and _TOKEN.fullmatch(words[0]):
            return
    if is_boundary:
        yield Finding("boundary-unquoted-special")
    elif len(words) > 1:
        yield Finding("parameter-separator", "blanks in a value without quotation marks")
    elif is_name and value.isascii() and b"=?" not in value and b'"' not in value:
        yield Finding("odd-quoting", "special characters without quotation marks")


def _boundary_findings(inner: bytes) -> Iterator[Finding]:
    if not inner.strip():
        yield Finding("boundary-empty")
    elif inner != inner.strip():
        yield Finding("boundary-whitespace", "blank at an end of the value")
    if len(inner) > _MAX_BOUNDARY_BYTES:
        yield Finding("boundary-too-long")


def _section_findings(base: bytes, pieces: list[tuple[bytes, bytes]]) -> Iterator[Finding]:
    """Yield what is wrong with the RFC 2231 forms of one parameter."""
    if base == b"boundary":
        yield Finding("boundary-encoded", "by RFC 2231")
    if any(raw[:1] == b'"' and tail[-1:] == b"*" for tail, raw in pieces) and base in _COMPARED_PARAMETERS:
        yield Finding("odd-quoting", "quotation marks around an extended value")
    numbers: list[int] = []
    for tail, raw in pieces:
        value = _unquoted(raw)
        if tail == b"*":
            yield from _extended_findings(value, is_first=True)
        elif match := _SECTION.fullmatch(tail):
            numbers.append(int(match[1]))
            if match[2]:
                yield from _extended_findings(value, is_first=match[1] == b"0")
        else:
            yield Finding("bad-continuation", "no number")
    if numbers and numbers != list(range(len(numbers))):
        yield Finding("bad-continuation", "numbers with gaps, repeats or disorder")
    if sum(tail == b"*" for tail, _ in pieces) > 1:
        yield Finding("duplicate-parameter")


def _extended_findings(value: bytes, *, is_first: bool) -> Iterator[Finding]:
    text, charset = value, ""
    if is_first:
        charset, text = split_charset(value)
        if value.count(b"'") < 2:
            yield Finding("bad-parameter-charset", "no charset and language")
        elif not is_plain_charset(charset):
            yield Finding("bad-parameter-charset", "unknown or odd charset" if charset else "no charset")
        elif _is_misfit(unpercent(text), charset):
            yield Finding("bad-parameter-charset", "bytes that do not fit the charset")
    if _BAD_PERCENT.search(text):
        yield Finding("bad-parameter-charset", "bad percent encoding")


def _is_misfit(data: bytes, charset: str) -> bool:
    try:
        data.decode(charset)
    except (LookupError, ValueError):
        # The first piece of a continued value may end within a character.
        return charset.lower() != "utf-8" or _is_misfit_utf8(data)
    return False


def _is_misfit_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.end < len(data) or "unexpected end" not in error.reason
    return False


def _encoding_findings(raw: bytes) -> Iterator[Finding]:
    value = unfold(raw)
    if value.lower() in _ENCODINGS:
        return
    bare = strip_comments(value) if b"(" in value else value
    if bare.lower() in _ENCODINGS:
        if encoding_name(bare) in _ENCODED:
            yield Finding("comment-in-mime-field")
        return
    found = encodings(raw)
    known = encoding_name(value).encode("latin-1")
    if _ODD_BLANKS.search(value) or b"\0" in value:
        yield Finding("odd-whitespace", "control or strange blank in a field")
    if (value and known in _ENCODINGS) or (len(found) > 1 and not bare.lower().startswith(b"x-")):
        yield Finding("transfer-encoding-spelling")
    else:
        yield Finding("transfer-encoding-unknown", "unknown" if value else "empty")
