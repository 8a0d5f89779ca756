# SPDX-License-Identifier: GPL-3.0-or-later
"""Where in an HTML text something can be put so that browsers show it, and which of it are tags and shown text.

A tokenizer after the HTML standard (section 13.2.5), no parser: comments, quoted attributes and the raw text of scripts
and the like are stepped over, nothing is rewritten. `boilerplate.py` and
`uris.py` call it. Linear in the text's length.
"""

import re
from collections.abc import Iterator
from typing import Final

# Possessive repeats are of single characters only: see headers.py.
_OPENING: Final = re.compile(r"<(?:!--|(/?)([A-Za-z][^\s/>]*+)|[!?/])")
# A quote means something behind an equals sign only.
_IN_TAG: Final = re.compile(r""">|=\s*+(?:"[^"]*+"?|'[^']*+'?)""")
_COMMENT_END: Final = re.compile(r"--!?>")
_RAW_TEXT: Final = frozenset({"iframe", "noembed", "noframes", "script", "style", "textarea", "title", "xmp"})
_RAW_TEXT_ENDS: Final = {name: re.compile(rf"</{name}(?=[\s/>])", re.IGNORECASE) for name in _RAW_TEXT}


def end_of_body(html: str) -> int:
    """Return the offset before the first </body>, else the first </html>, else where the shown text ends."""
    html_end = -1
    at = 0
    while match := _OPENING.search(html, at):
        name = (match[2] or "").lower()
        if match[1] and name == "body":
            return match.start()
        if match[1] and name == "html" and html_end < 0:
            html_end = match.start()
        at = _after(html, match)
        if at < 0:  # a comment, tag or script that never ends hides all behind it
            return html_end if html_end >= 0 else match.start()
    return html_end if html_end >= 0 else len(html)


def start_of_body(html: str) -> int:
    """Return the offset behind the first <body>, else behind </head>, <html> or the document type, else 0."""
    best = 0
    at = 0
    while match := _OPENING.search(html, at):
        name = (match[2] or "").lower()
        at = _after(html, match)
        if at < 0:
            break
        if name == "body" and not match[1]:
            return at
        if (name, match[1]) in {("html", ""), ("head", "/")} or (best == 0 and match[0] == "<!"):
            best = at
    return best


def shown_spans(html: str) -> Iterator[tuple[bool, int, int]]:
    """Yield what is a tag (True) or text that is shown (False), as start and end; comments and scripts are neither."""
    at = 0
    while match := _OPENING.search(html, at):
        if match.start() > at:
            yield False, at, match.start()
        if match[2]:
            end = _tag_end(html, match.end())
            if end >= 0:
                yield True, match.start(), end
        at = _after(html, match)
        if at < 0:
            return
    if at < len(html):
        yield False, at, len(html)


def _after(html: str, opening: re.Match[str]) -> int:
    """Return the offset behind what begins with `opening`, a raw text element's content included; -1 if it never ends.

    The end tag of the element is left to be read.
    """
    at = opening.end()
    if opening[0] == "<!--":
        if html.startswith((">", "->"), at):  # the standard: these end it at once
            return html.index(">", at) + 1
        end = _COMMENT_END.search(html, at)
        return end.end() if end else -1
    if opening[2] is None:
        end_of_bogus = html.find(">", at)
        return end_of_bogus + 1 if end_of_bogus >= 0 else -1
    at = _tag_end(html, at)
    if at < 0:
        return -1
    if not opening[1] and (raw := _RAW_TEXT_ENDS.get(opening[2].lower())):
        end = raw.search(html, at)
        return end.start() if end else -1
    return at


def _tag_end(html: str, at: int) -> int:
    """Return the offset behind the tag that goes on at `at`; -1 if it never ends."""
    while match := _IN_TAG.search(html, at):
        at = match.end()
        if match[0] == ">":
            return at
    return -1
