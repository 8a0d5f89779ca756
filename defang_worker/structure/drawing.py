# SPDX-License-Identifier: GPL-3.0-or-later
"""The tree of a message for people: `draw` makes lines of text from the facts.

Nothing that a sender wrote reaches the terminal as it is: controls, invisible and direction marks are shown escaped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from defang_worker.mime.defects import Severity
from defang_worker.structure.describe import PRIMARY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from defang_worker.mime.defects import Defect
    from defang_worker.structure.describe import MessageFacts, PartFacts

    Paint = Callable[[str, str], str]

_KIB: Final = 1024
# More depth than this shows nothing on a screen.
_MAX_INDENT: Final = 40
_MAX_NAMES: Final = 20
_MAX_NAME_CHARACTERS: Final = 120
_RESET: Final = "\x1b[0m"
_COLOURS: Final = {
    Severity.INFO: "\x1b[2m",
    Severity.LOW: "\x1b[33m",
    Severity.MEDIUM: "\x1b[35m",
    Severity.HIGH: "\x1b[1;31m",
}
_BOLD: Final = "\x1b[1m"


def draw(file: str, message: MessageFacts, *, is_coloured: bool) -> Iterator[str]:
    """Yield the lines that show a message."""
    paint = _paint if is_coloured else _plain
    summary = f"{_size(message.size)}, {_defect_words(message.defects, paint)}"
    if message.incomplete:
        summary += paint(f", not examined completely ({escaped(message.incomplete)})", _COLOURS[Severity.HIGH])
    yield f"{paint(escaped(file), _BOLD)}: {summary}"
    for part in message.parts:
        indent = "  " * (1 + min(part.depth, _MAX_INDENT))
        yield indent + _part_words(part, paint)
        if part.members:
            yield f"{indent}    holds {_names(part.members)}"
        if part.defects:
            yield f"{indent}    {_defect_words(part.defects, paint)}"


def _part_words(part: PartFacts, paint: Paint) -> str:
    words = [paint(part.number or "-", _BOLD), escaped(part.content_type)]
    if part.own_names:
        words.append(_names(part.own_names))
    words.append(_size(part.size))
    if part.is_leaf and part.view == PRIMARY:
        words.append(escaped(part.encoding))
    if part.view != PRIMARY:
        words.append(f"[{escaped(part.view)}]")
    return "  ".join(words)


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(f'"{escaped(name)}"' for name in names[:_MAX_NAMES])
    return f"{shown} and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else shown


def _defect_words(defects: Sequence[Defect], paint: Paint) -> str:
    """Return the names of defects by severity, the worst first."""
    if not defects:
        return "no defects"
    phrases: list[str] = []
    for severity in sorted({defect.severity for defect in defects}, reverse=True):
        names = dict.fromkeys(defect.name for defect in defects if defect.severity == severity)
        phrases.append(paint(f"{severity.name.lower()}: {', '.join(names)}", _COLOURS[severity]))
    return "; ".join(phrases)


def _size(size: int) -> str:
    if size < _KIB:
        return f"{size} B"
    return f"{size / _KIB:.1f} KiB" if size < _KIB * _KIB else f"{size / _KIB / _KIB:.1f} MiB"


def escaped(text: str) -> str:
    """Return `text` with everything that is not plainly visible escaped, and cut in the middle if it is long."""
    if len(text) > _MAX_NAME_CHARACTERS:
        half = _MAX_NAME_CHARACTERS // 2
        text = f"{text[:half]}...{text[-half:]}"
    # Not printable for Python: controls, direction marks, all blanks but the plain one, and what is no character.
    return "".join(
        char if char.isprintable() and char != "\\" else char.encode("unicode_escape").decode("ascii") for char in text
    )


def _paint(text: str, colour: str) -> str:
    return f"{colour}{text}{_RESET}"


def _plain(text: str, _colour: str) -> str:
    return text
