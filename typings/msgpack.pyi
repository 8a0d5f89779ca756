# SPDX-License-Identifier: GPL-3.0-or-later
from collections.abc import Callable

def packb(
    o: object, *, default: Callable[[object], object], strict_types: bool, datetime: bool, unicode_errors: str
) -> bytes: ...
def unpackb(packed: bytes, *, timestamp: int, unicode_errors: str, strict_map_key: bool) -> object: ...
