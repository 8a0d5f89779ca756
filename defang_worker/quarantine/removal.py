# SPDX-License-Identifier: GPL-3.0-or-later
"""Removes entries, and what is left of them: empty hours, unfinished entries, ledgers that nobody will ask for.

An entry is renamed before it is removed, so that no reader sees half of one.
"""

from __future__ import annotations

import os
import shutil
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from defang_worker.effects.site import LEDGERS
from defang_worker.effects.store import UNFINISHED_PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterator

    from defang_worker.quarantine.entries import Entry

# No entry takes as long to write, and no client tries for as long.
_UNFINISHED_AGE_S: Final = 24 * 3600
_LEDGER_AGE_S: Final = 7 * 24 * 3600


def remove(entry: Entry) -> None:
    """Removes the entry, and its hour if that is empty then. Raises OSError."""
    hour = os.path.dirname(entry.path)  # noqa: PTH120
    leaving = f"{hour}/{UNFINISHED_PREFIX}{entry.name}"
    os.rename(entry.path, leaving)  # noqa: PTH104
    shutil.rmtree(leaving)
    with suppress(OSError):
        os.rmdir(hour)  # noqa: PTH106  # refused while anything is in it


def remains(directory: str) -> Iterator[str]:
    """The paths of what was left by crashes and by messages that never came again."""
    now_s = time.time()
    for place in sorted(os.listdir(directory)):  # noqa: PTH208
        is_ledgers = place == LEDGERS
        if place.startswith(".") and not is_ledgers:
            continue
        with suppress(NotADirectoryError, FileNotFoundError):
            for found in os.scandir(f"{directory}/{place}"):
                age_s = now_s - found.stat(follow_symlinks=False).st_mtime
                if (is_ledgers and age_s > _LEDGER_AGE_S) or (
                    found.name.startswith(UNFINISHED_PREFIX) and age_s > _UNFINISHED_AGE_S
                ):
                    yield found.path


def remove_remains(path: str) -> None:
    """Removes one of them. Raises OSError."""
    if os.path.isdir(path) and not os.path.islink(path):  # noqa: PTH112, PTH114
        shutil.rmtree(path)
    else:
        os.unlink(path)  # noqa: PTH108
