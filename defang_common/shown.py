# SPDX-License-Identifier: GPL-3.0-or-later
"""Bytes of a peer as text for people, in errors and log lines: printable, on one line, of bounded length.

For reading only: different bytes may look alike. What is to be read back is escaped by `percent`.
"""

from typing import Final

MAX_CHARACTERS: Final = 100
"""Enough to recognize a line by, and few enough for several of them in a line of syslog (RFC 3164, 1024 bytes)."""


def shown(raw: bytes, most: int = MAX_CHARACTERS) -> str:
    """`raw` as UTF-8 with escapes for what cannot be printed, and dots for what is over `most` characters."""
    # A character has four bytes at most, so what is cut off here would not be shown.
    text = raw[: 4 * (most + 1)].decode(errors="backslashreplace")
    if not text.isprintable():
        text = "".join(char if char.isprintable() else _escaped(char) for char in text)
    return text if len(text) <= most else f"{text[:most]}..."


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")
