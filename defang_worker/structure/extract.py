# SPDX-License-Identifier: GPL-3.0-or-later
"""Contents to files, as virus scanners get them: `Extraction` makes a directory for each message.

No name of a sender's becomes one of ours: files are numbered, and `index.jsonl` beside them tells what each is. The
files may be dangerous, so they are the owner's alone and cannot be run.
"""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

    from defang_worker.mime.archives import Member
    from defang_worker.structure.describe import PartFacts

_INDEX: Final = "index.jsonl"
_DIRECTORY_MODE: Final = 0o700
_FILE_MODE: Final = 0o600
_FLAGS: Final = os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC


class Extraction:
    """The directory of one message; a `Keeper` for `describe`. Raises OSError if it cannot be written."""

    def __init__(self, parent: Path, source: str) -> None:
        parent.mkdir(mode=_DIRECTORY_MODE, parents=True, exist_ok=True)
        self._directory = str(_new_directory(parent))
        self._source = source
        self._count = 0
        self._index: list[str] = []
        self._write(_INDEX, b"")

    def keep_part(self, part: PartFacts, content: bytes) -> None:
        """Write the content of a leaf."""
        self._keep(part.number, part.view, part.own_names, content, part.sha256)

    def keep_member(
        self, host_number: str, view: str, member: Member, content: bytes | None, *, is_whole: bool
    ) -> None:
        """Write the content of an archive member; note in the index one that cannot be read, or not to its end."""
        names = tuple("/".join((*member.path, name)) for name in member.names)
        digest = hashlib.sha256(content).hexdigest() if content is not None else None
        self._keep(host_number, view, names, content, digest, is_member=True, is_whole=is_whole)

    def finish(self) -> None:
        """Write the index: once, for a message may have ten thousand parts."""
        with open(os.open(f"{self._directory}/{_INDEX}", _FLAGS | os.O_TRUNC), "w", encoding="ascii") as file:  # noqa: PTH123
            file.writelines(self._index)

    def _keep(
        self,
        number: str,
        view: str,
        names: tuple[str, ...],
        content: bytes | None,
        digest: str | None,
        *,
        is_member: bool = False,
        is_whole: bool = True,
    ) -> None:
        name = None
        if content is not None:
            self._count += 1
            name = f"{self._count:05}.bin"
            self._write(name, content)
        entry = {
            "path": name,
            "file": self._source,
            "part": number,
            "view": view,
            "archive_member": is_member,
            "filenames": names,
            "size": len(content) if content is not None else None,
            "sha256": digest,
            "whole": is_whole,
        }
        self._index.append(json.dumps(entry) + "\n")

    def _write(self, name: str, content: bytes) -> None:
        with open(os.open(f"{self._directory}/{name}", _FLAGS | os.O_CREAT | os.O_EXCL, _FILE_MODE), "wb") as file:  # noqa: PTH123
            file.write(content)


def _new_directory(parent: Path) -> Path:
    """Return a directory of a number that none had before."""
    number = 1 + max((int(entry.name) for entry in parent.iterdir() if entry.name.isdecimal()), default=0)
    while True:
        directory = parent / f"{number:04}"
        try:
            directory.mkdir(mode=_DIRECTORY_MODE)
        except FileExistsError:
            number += 1
        else:
            return directory
