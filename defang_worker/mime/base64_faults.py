# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with a body of base64, found by a few searches over the whole of it: `base64_faults`.

A body has up to four stretches: text before the data, data up to the first padding, data after it, and lines after
text that follows the data. Within a stretch the lines need no order, so that none of them is looked at for itself but
those that may end it. Called by `damage.py`, which knows how else such a body can be read.
"""

import re
from typing import Final, NamedTuple

from defang_worker.mime.decode import ALPHABET, NOT_BASE64

# RFC 5321 section 4.5.3.1.6 has 1,000 bytes for a line, its end included.
LONGEST_LINE_BYTES: Final = 998
# Encoders write 60 to 76 characters a line; no honest one fewer than this.
SHORTEST_LINE_BYTES: Final = 16
BLANKS: Final = b" \t\r"
# A word in a footer may consist of base64's letters; a line as long as this and of quartets does so hardly ever.
_SURE_LINE_BYTES: Final = 20
_NOT_LETTERS: Final = bytes(set(range(256)) - set(ALPHABET))
_MAX_PADDING: Final = 2

# Possessive repeats keep all of these linear, but of single characters only: see headers.py.
_STRAY: Final = re.compile(rb"[^A-Za-z0-9+/=\s]|(?<=[A-Za-z0-9+/=])[ \t]++(?=[A-Za-z0-9+/=])")
# A line that may be no text: it has no blank inside, or enough characters all the same.
_NOT_SURELY_TEXT: Final = re.compile(rb"^[ \t\r]*+[^ \t\r\n](?:[^ \n]*+[ \t\r]*+$|[^\n]{19})", re.MULTILINE)
# A line that may end the data: one with padding, or with a blank inside.
_MAY_END: Final = re.compile(rb"=|(?<=[^ \t\r\n])[\t\r]*+ [ \t\r]*+(?=[^ \t\r\n])")
_NO_DATA: Final = re.compile(rb"[^A-Za-z0-9+/= \t\r\n]|(?<=[A-Za-z0-9+/=])[ \t\r]++(?=[A-Za-z0-9+/=])")
_SURE_LINE: Final = re.compile(rb"^[ \t\r]*+([A-Za-z0-9+/=]{20,}+)[ \t\r]*+$", re.MULTILINE)
_PADDING_LINE: Final = re.compile(rb"^[ \t\r]*+(=++)[ \t\r]*+$", re.MULTILINE)
_DATA_AFTER_PADDING: Final = re.compile(rb"=[^A-Za-z0-9+/\n]*+[A-Za-z0-9+/]")
_LETTER: Final = re.compile(rb"[A-Za-z0-9+/]")
_NO_BLANK: Final = re.compile(rb"[^ \t\r\n]")
_BLANK_LINE: Final = re.compile(rb"^[ \t\r]*+\n", re.MULTILINE)
_USUAL_LINE: Final = re.compile(rb"^[ \t\r]*+[^ \t\r\n][^\n]{14}[^\n]*[^ \t\r\n]", re.MULTILINE)
_LONG_LINE: Final = re.compile(rb"^[^\n]{998}[^\n]++", re.MULTILINE)


class Damage(NamedTuple):
    """One defect of an encoded body."""

    name: str
    """As in `defects.DEFECTS`."""
    offset: int
    """In the body."""
    detail: str


def base64_faults(body: bytes) -> list[Damage]:
    """Return what is wrong with a body of base64, each defect once, where it is seen first."""
    scan = _Scan(body)
    scan.run()
    return sorted(scan.found.values(), key=lambda damage: damage.offset)


class _Scan:
    """One body."""

    def __init__(self, body: bytes) -> None:
        self.found: dict[str, Damage] = {}
        self._body = body
        self._characters = 0
        """Of the alphabet, before the first padding."""
        self._padding = 0
        self._blank_at = -1
        """The first blank line after data, until data come after it."""
        self._data_lines = 0
        """Counted up to 2."""
        self._has_usual_line = False

    def _note(self, name: str, offset: int, detail: str) -> None:
        known = self.found.get(name)
        if known is None or offset < known.offset:
            self.found[name] = Damage(name, offset, detail)

    def run(self) -> None:
        """Go through the stretches."""
        start = self._text_before()
        if start >= 0:
            self._stretches(start)
        if self._data_lines > 1 and not self._has_usual_line and "base64-odd-lines" not in self.found:
            self._note("base64-odd-lines", 0, "very short lines")
        if (self._characters + self._padding) % 4 or self._padding > _MAX_PADDING:
            self._note("base64-bad-length", len(self._body), "not a multiple of four")

    def _stretches(self, start: int) -> None:
        end, is_text = self._data_end(start)
        self._data_before_padding(start, end)
        if end < len(self._body) and not is_text:
            start, end = end, self._padded_line(end)
            match = _NO_DATA.search(self._body, end)
            text = self._line_at(match.start())[0] if match else len(self._body)
            self._data_after_padding(end, text)
            end = text
        if end < len(self._body):
            self._lines_after_text(end)

    def _line_at(self, at: int) -> tuple[int, int]:
        """Return where the line around `at` begins, and where the next one does."""
        end = self._body.find(b"\n", at) + 1
        return self._body.rfind(b"\n", 0, at) + 1, end or len(self._body)

    # Before the data

    def _text_before(self) -> int:
        """Return where the first line of data begins, or -1 if there is none."""
        body, at = self._body, 0
        first = _NO_BLANK.search(body)
        start = -1
        while start < 0 and (match := _NOT_SURELY_TEXT.search(body, at)):
            begin, at = self._line_at(match.end() - 1)
            if not _is_text(body[begin:at].strip(b" \t\r\n")):
                start = begin
        if first and (start < 0 or first.start() < start):
            self._note("base64-trailing-data", self._line_at(first.start())[0], "text before the data")
        return start

    # Data

    def _data_end(self, start: int) -> tuple[int, bool]:
        """Return where the line begins that ends the data, and whether it is text; else it has padding."""
        body, at = self._body, start
        while match := _MAY_END.search(body, at):
            begin, at = self._line_at(match.start())
            line = body[begin:at].strip(b" \t\r\n")
            if _is_text(line):
                return begin, True
            if b"=" in line:
                return begin, False
        return len(body), False

    def _lines(self, start: int, end: int) -> None:
        """Take note of what may be odd about lines of data, whatever they have in them."""
        body = self._body
        first = _NO_BLANK.search(body, start, end)
        if first is None:
            self._blank(start, end)
            return
        if self._data_lines and self._blank_at < 0:
            self._blank(start, first.start())
        self._more_data()
        if self._data_lines < 2 and _NO_BLANK.search(body, self._line_at(first.start())[1], end):
            self._data_lines = 2
        self._has_usual_line = self._has_usual_line or _USUAL_LINE.search(body, start, end) is not None
        for match in _LONG_LINE.finditer(body, start, end):
            if len(match[0].strip(BLANKS)) > LONGEST_LINE_BYTES:
                self._note("base64-odd-lines", match.start(), "very long line")
                break
        self._blank(first.start(), end)

    def _more_data(self) -> None:
        """Take note of a line of data."""
        if self._blank_at >= 0:
            self._note("base64-odd-lines", self._blank_at, "blank line inside")
        self._data_lines = min(self._data_lines + 1, 2)

    def _blank(self, start: int, end: int) -> None:
        """Keep the first blank line of a stretch, if data came before; note it if more come after."""
        match = _BLANK_LINE.search(self._body, start, end)
        if match is None or not self._data_lines or self._blank_at >= 0:
            return
        self._blank_at = match.start()
        if _NO_BLANK.search(self._body, match.end(), end):
            self._note("base64-odd-lines", self._blank_at, "blank line inside")

    def _data_before_padding(self, start: int, end: int) -> None:
        self._strays(start, end)
        self._lines(start, end)
        self._characters += len(self._body[start:end].translate(None, _NOT_LETTERS))

    def _strays(self, start: int, end: int) -> None:
        if stray := _STRAY.search(self._body, start, end):
            self._note("base64-stray-characters", stray.start(), "outside the alphabet")

    def _padded_line(self, start: int) -> int:
        """Look at the line with the first padding; return where it ends."""
        body = self._body
        end = self._line_at(start)[1]
        sign = body.find(b"=", start, end)
        self._strays(start, end)
        self._lines(start, end)
        self._characters += len(body[start:sign].translate(None, _NOT_LETTERS))
        rest = body[sign + 1 : end]
        self._padding += len(rest) - len(rest.lstrip(b"=")) + 1
        if _LETTER.search(rest):
            self._note("base64-inner-padding", sign, "data after padding")
        return end

    def _data_after_padding(self, start: int, end: int) -> None:
        body = self._body
        if letter := _LETTER.search(body, start, end):
            self._note("base64-inner-padding", self._line_at(letter.start())[0], "data goes on")
        for match in _PADDING_LINE.finditer(body, start, end):
            self._padding += len(match[1])
            if self._padding > _MAX_PADDING:
                break
        self._lines(start, end)

    def _lines_after_text(self, start: int) -> None:
        """Look at the text that follows the data, and at lines after it that are data for all that."""
        self._note("base64-trailing-data", start, "text after the data")
        for match in _SURE_LINE.finditer(self._body, start):
            line, at = match[1], match.start()
            if len(line) % 4:
                continue
            if line.strip(b"="):
                name = "base64-inner-padding" if self._padding else "base64-stray-characters"
                self._note(name, at, "data goes on")
            if self._blank_at < 0:
                blank = _BLANK_LINE.search(self._body, start, at)
                self._blank_at, start = (blank.start() if blank else -1), at
            self._more_data()
            self._has_usual_line = True
            if len(line) > LONGEST_LINE_BYTES:
                self._note("base64-odd-lines", at, "very long line")
            if (inner := _DATA_AFTER_PADDING.search(line)) is not None:
                self._note("base64-inner-padding", at + inner.start(), "data after padding")
            if not line.strip(b"="):
                self._padding += len(line)


def _is_text(line: bytes) -> bool:
    """Tell whether a line, without blanks at its ends, is words rather than data with something in it."""
    if b" " not in line:
        return False
    characters = len(line.translate(None, NOT_BASE64))
    return characters < _SURE_LINE_BYTES or characters % 4 != 0
