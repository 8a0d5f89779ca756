# SPDX-License-Identifier: GPL-3.0-or-later
"""Contents to files, as virus scanners get them: `Extraction` makes a directory for each message.

No name of a sender's becomes one of ours: files are numbered, and `index.jsonl` beside them tells what each is. The
files may be dangerous, so they are the owner's alone and cannot be run.
"""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from defang_worker.mime.archives import Member
    from defang_worker.structure.describe import Part, PartFacts

_INDEX: Final = "index.jsonl"
_DIRECTORY_MODE: Final = 0o700
_FILE_MODE: Final = 0o600
_FLAGS: Final = os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC


class Extraction:
    """The directory of one message; a `Keeper` for `describe`, in a `with`. Raises OSError if it cannot be written."""

    def __init__(self, parent: Path, source: str) -> None:
        parent.mkdir(mode=_DIRECTORY_MODE, parents=True, exist_ok=True)
        # Files are made relative to it: to look the whole path up for each of thousands takes longer than the rest.
        self._directory = os.open(_new_directory(parent), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._source = source
        self._count = 0
        self._index: list[str] = []
        self._members: dict[int, list[dict[str, Any]]] = {}
        """Of archives whose part is not numbered yet, by the part's identity."""
        self._write(_INDEX, b"")

    def keep_member(self, part: Part, member: Member, content: bytes | None, *, is_whole: bool) -> None:
        """Write the content of an archive member; note in the index one that cannot be read, or not to its end."""
        names = tuple("/".join((*member.path, name)) for name in member.names)
        digest = hashlib.sha256(content).hexdigest() if content is not None else None
        entry = self._entry(names, content, digest) | {"archive_member": True, "whole": is_whole}
        self._members.setdefault(id(part), []).append(entry)

    def keep_part(self, part: Part, facts: PartFacts, content: bytes) -> None:
        """Write the content of a leaf."""
        place = {"part": facts.number, "view": facts.view}
        entry = self._entry(facts.own_names, content, facts.sha256)
        for one in (*self._members.pop(id(part), ()), entry):
            self._index.append(json.dumps(one | place) + "\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write the index: once, for a message may have ten thousand parts."""
        try:
            self._write(_INDEX, "".join(self._index).encode("ascii"), os.O_TRUNC)
        finally:
            os.close(self._directory)

    def _entry(self, names: tuple[str, ...], content: bytes | None, digest: str | None) -> dict[str, Any]:
        name = None
        if content is not None:
            self._count += 1
            name = f"{self._count:05}.bin"
            self._write(name, content)
        return {
            "path": name,
            "file": self._source,
            "part": None,
            "view": None,
            "archive_member": False,
            "filenames": names,
            "size": len(content) if content is not None else None,
            "sha256": digest,
            "whole": True,
        }

    def _write(self, name: str, content: bytes, how: int = os.O_CREAT | os.O_EXCL) -> None:
        descriptor = os.open(name, _FLAGS | how, _FILE_MODE, dir_fd=self._directory)
        try:
            rest = memoryview(content)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
        finally:
            os.close(descriptor)


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
