# SPDX-License-Identifier: GPL-3.0-or-later
"""How grave a line is that a worker writes for the log: a mark before it (protocol.md, Standard error).

Those of sd-daemon(3), but only what the log of a mail filter may have: no worker raises an alarm on all terminals.
"""

from typing import Final

_MARKS: Final = {"CRITICAL": "<2>", "ERROR": "<3>", "WARNING": "<4>"}
_NAMES: Final = {mark: name for name, mark in _MARKS.items()}
_MARK_CHARACTERS: Final = 3
_USUAL: Final = "INFO"


def mark_of(name: str) -> str:
    """The mark of a level by its name in Python's logging; empty for what is not grave."""
    return _MARKS.get(name, "")


def split(line: str) -> tuple[str, str]:
    """The level's name, and the line without its mark."""
    name = _NAMES.get(line[:_MARK_CHARACTERS])
    return (_USUAL, line) if name is None else (name, line[_MARK_CHARACTERS:])
