# SPDX-License-Identifier: GPL-3.0-or-later
"""What a filter file may set for itself, once: `settings = Settings(...)` in the class or in the file."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """A filter's settings, with values that serve without any."""

    admin: str = "postmaster@localhost"
    """Whom the warnings name for questions."""

    warning_index: int = 0
    """Where the part with the warnings goes: 0 is first, -1 last."""

    warning_intro: str = (
        "Parts of this message were removed or changed on the way to you, because they\n"
        "could have been harmful. If you need what is missing, ask {admin}.\n"
    )
    """What stands before the warnings; `{admin}` becomes the address above."""

    max_parts: int = 10_000
    """A message with more parts than that, containers counted, is refused before any callback sees it.

    Honest mail stays below some hundreds; this many take the better part of a second.
    """
