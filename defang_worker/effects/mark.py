# SPDX-License-Identifier: GPL-3.0-or-later
"""The header field that mail has which we submitted ourselves, and finding it; what it says is for `seal.py`.

A module of its own because every message is searched for it, and few have it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from defang_worker.mime.headers import Buffer

FIELD: Final = "X-Defang-Resent"
"""The field's name. It is deleted wherever it arrives, valid or not."""

_PREFIX: Final = f"{FIELD}:".encode()
# It is the first field of what we submit; above it stand only those that mail servers add on the way back.
_SEARCHED_BYTES: Final = 16 * 1024


def is_there(raw: Buffer) -> bool:
    """Whether a message may have the field. Its case counts, for we write it."""
    return raw.find(_PREFIX, 0, _SEARCHED_BYTES) != -1
