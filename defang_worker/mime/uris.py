# SPDX-License-Identifier: GPL-3.0-or-later
"""Query parameters taken out of the web addresses in a text or in HTML, all other characters left where they are.

HTML is gone through by the tokenizer of `html.py`: addresses in attributes and in the text that is shown, not in
comments, scripts and styles. `boilerplate.py` has the bytes of a part decoded and encoded for this.
"""

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Final
from urllib.parse import unquote_plus

from defang_worker.mime.html import shown_spans

# Explicit blanks: the text may be bytes taken for Latin-1, in which \s would find parts of characters.
_IN_TEXT: Final = re.compile(r"""https?://[^\x00-\x20<>"\x7f]++""", re.IGNORECASE)
# Possessive repeats are of single characters only: see headers.py.
# A character reference other than that for the ampersand ends an address in text: it stands for a quote or a bracket.
_IN_HTML_TEXT: Final = re.compile(
    r"""https?://(?:[^\x00-\x20<>"&\x7f]++|&(?:amp|\#38|\#x26);|&(?![a-z]++;|\#))+""", re.IGNORECASE
)
_ATTRIBUTE: Final = re.compile(
    r"""(?<=[\s"'/])(?:href|src|action|formaction|background|poster|cite|data)[ \t\r\n\f]*+=[ \t\r\n\f]*+"""
    r"""(?:"(?P<double>[^"]*+)"|'(?P<single>[^']*+)'|(?P<bare>[^\s"'>]++))""",
    re.IGNORECASE,
)
_WEB: Final = re.compile(r"[ \t\r\n\f]*+(?:https?:)?//", re.IGNORECASE)
_AND: Final = re.compile(r"(&)")
_AND_IN_HTML: Final = re.compile(r"(&(?:amp|\#38|\#x26);|&(?![a-z]++;|\#))", re.IGNORECASE)
# What stands behind an address in a sentence is not part of it.
_PUNCTUATION: Final = ".,;:!?)]}'*_"


class Stripper:
    """Takes out the parameters whose names match one of the patterns (`utm_*`); counts the addresses it has changed."""

    def __init__(self, names: Iterable[str]) -> None:
        self._patterns = [name.lower() for name in names]
        self.changed = 0

    def text(self, text: str) -> str:
        """Return a plain text with its addresses shortened."""
        return _IN_TEXT.sub(lambda match: self._in_sentence(match[0], _AND), text)

    def html(self, html: str) -> str:
        """Return an HTML text with its addresses shortened."""
        pieces: list[str] = []
        done = 0
        for is_tag, start, end in shown_spans(html):
            pieces.append(html[done:start])
            span = html[start:end]
            pieces.append(
                _ATTRIBUTE.sub(self._in_attribute, span)
                if is_tag
                else _IN_HTML_TEXT.sub(lambda match: self._in_sentence(match[0], _AND_IN_HTML), span)
            )
            done = end
        return "".join([*pieces, html[done:]])

    def _in_attribute(self, match: re.Match[str]) -> str:
        kind = match.lastgroup
        assert kind
        if not _WEB.match(match[kind]):
            return match[0]
        head, tail = match[0][: match.start(kind) - match.start()], match[0][match.end(kind) - match.start() :]
        return head + self._address(match[kind], _AND_IN_HTML) + tail

    def _in_sentence(self, address: str, separator: re.Pattern[str]) -> str:
        bare = address.rstrip(_PUNCTUATION)
        return self._address(bare, separator) + address[len(bare) :]

    def _address(self, address: str, separator: re.Pattern[str]) -> str:
        before, mark, after = address.partition("#")
        path, question, query = before.partition("?")
        if not question:
            return address
        # Parameters stand at even places, what divides them at odd ones.
        words = separator.split(query)
        kept = [at for at in range(0, len(words), 2) if not self._is_unwanted(words[at])]
        if len(kept) == (len(words) + 1) // 2:
            return address
        self.changed += 1
        left = "".join((words[at - 1] if number else "") + words[at] for number, at in enumerate(kept))
        return path + (question + left if left else "") + mark + after

    def _is_unwanted(self, parameter: str) -> bool:
        name = unquote_plus(parameter.partition("=")[0]).lower()
        return any(fnmatchcase(name, pattern) for pattern in self._patterns)
