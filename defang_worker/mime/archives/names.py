# SPDX-License-Identifier: GPL-3.0-or-later
"""What is odd about the names of members, and which spellings of them mean the same."""

import re
from typing import Final

from defang_worker.mime.filenames import with_savable

# Absolute, a drive letter, or upwards; bidirectional marks; controls.
_ODD: Final = re.compile(
    r"^[/\\]|^[A-Za-z]:|(?:^|[/\\])\.\.(?:[/\\]|$)|[\u200e\u200f\u202a-\u202e\u2066-\u2069]|[\0-\x1f\x7f-\x9f]"
)
# What programs write where a character has no place in the old charset: "?", "_", and Info-ZIP's #U00fc.
_STAND_INS: Final = re.compile(r"#U[0-9a-fA-F]{4,6}|[^\x20-\x7e]|[?_]")


def is_odd(name: str) -> bool:
    """Tell whether a name leads out of the folder that it is unpacked in, or has controls in it."""
    return _ODD.search(name) is not None


def mean_the_same(plain: str, full: str) -> bool:
    """Tell whether `plain` is what an older program makes of the name `full`."""
    plain, full = plain.replace("\\", "/"), full.replace("\\", "/")
    if plain == full:
        return True
    if plain.isascii() and full.isascii():
        return False
    return _STAND_INS.sub("", plain) == _STAND_INS.sub("", full)


def spellings(*names: str) -> tuple[str, ...]:
    """Return the names without repeats.

    One with a NUL in it also counts up to there, and one with a colon with what is written for it where it may not be.
    """
    found: dict[str, None] = {}
    for name in names:
        if "\0" in name:
            found[name.partition("\0")[0]] = None
        found[name] = None
    found.pop("", None)
    return tuple(dict.fromkeys(with_savable(found)))


def decode_name(name: bytes, fallback: str) -> str:
    """Return a name as text: UTF-8, which hardly ever is so by chance, or else the fallback charset."""
    try:
        return name.decode("utf-8")
    except UnicodeDecodeError:
        return name.decode(fallback, "replace")
