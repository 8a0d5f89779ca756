# SPDX-License-Identifier: GPL-3.0-or-later
"""What Defang and its tests use of libarchive-c, whose functions are ctypes' and have no types."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

ffi: Any

class ArchiveWrite:
    def add_file_from_memory(self, entry_path: str, entry_size: int, entry_data: bytes) -> None: ...

def custom_writer(
    write_func: Callable[[bytes], int], format_name: str, filter_name: str | None = None
) -> AbstractContextManager[ArchiveWrite]: ...
