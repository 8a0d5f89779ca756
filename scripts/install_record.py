# SPDX-License-Identifier: GPL-3.0-or-later
"""What an installation made, written down so that it can be renewed and taken back.

Every change of the file system that `scripts.install` makes goes through here: done, told in a line, and recorded.
Paths are those of the installed system; `destdir` stands in front of them while a package is made.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

NEW_SUFFIX = ".new"
OLD_SUFFIX = ".old"


class Foreign(Exception):
    """Something is in the way that no installation of ours has made; the message names it."""


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@dataclass
class Record:
    """The manifest in memory.

    `files` has the digest of what was shipped, whatever the site made of it since; `extras`, what the programs have
    beside what they always need.
    """

    manifest: Path
    destdir: Path
    say: Callable[[str], None]
    files: dict[str, str] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    trees: list[str] = field(default_factory=list)
    directories: list[str] = field(default_factory=list)
    users: list[str] = field(default_factory=list)
    extras: list[str] = field(default_factory=list)

    @classmethod
    def load(cls, manifest: Path, destdir: Path, say: Callable[[str], None]) -> Record:
        """The record of the installation before; an empty one if there is none."""
        record = cls(manifest, destdir, say)
        with suppress(FileNotFoundError):
            content = json.loads(manifest.read_text())
            record.files, record.links = content["files"], content["links"]
            record.trees, record.directories, record.users = (
                content["trees"], content["directories"], content["users"],
            )  # fmt: skip
            # Manifests were written without it once.
            record.extras = content.get("extras", [])
        return record

    def save(self) -> None:
        """Write it, whole or not at all."""
        names = ("files", "links", "trees", "directories", "users", "extras")
        self.make_parents(self.manifest)
        new = self.manifest.with_name(self.manifest.name + NEW_SUFFIX)
        new.write_text(json.dumps({name: getattr(self, name) for name in names}, indent=1, sort_keys=True) + "\n")
        new.rename(self.manifest)

    def make_parents(self, there: Path) -> None:
        """The directories above a path (with `destdir` in front), those that are missing."""
        self.destdir.mkdir(parents=True, exist_ok=True)
        missing = [parent for parent in there.parents if not parent.exists()]
        for parent in reversed(missing):
            parent.mkdir()
            self.directories.append(f"/{parent.relative_to(self.destdir)}")

    def refuse_foreign(self, links: Iterable[Path]) -> None:
        """Raise `Foreign` if one of these paths is taken by something that is not ours."""
        for path in links:
            there = self._there(path)
            if os.path.lexists(there) and str(path) not in self.links:
                raise Foreign(f"{there} is there, and not of our making: another PREFIX, or remove it")

    def link(self, path: Path, target: Path) -> None:
        """A symbolic link at `path`, which `refuse_foreign` has found free."""
        there = self._there(path)
        self.make_parents(there)
        self.links[str(path)] = str(target)
        self.save()
        if there.is_symlink() and str(there.readlink()) == str(target):
            return
        there.unlink(missing_ok=True)
        there.symlink_to(target)
        self.say(f"link {path} -> {target}")

    def tree(self, path: Path) -> None:
        """A directory that is ours with all in it, and so are those beside it with our suffixes while it is made."""
        if str(path) not in self.trees:
            self.trees.append(str(path))
        self.save()
        self.say(f"programs {path}")

    def file(self, path: Path, content: bytes, mode: int) -> None:
        """A file, with the mode of one already there; PATH.new where the site has its own and this one is new to it."""
        there = self._there(path)
        new = there.with_name(there.name + NEW_SUFFIX)
        shipped = self.files.get(str(path))
        old = there.read_bytes() if there.exists() else None
        self.make_parents(there)
        if old is None:
            # Before it is there, so that it can be taken back if we are interrupted.
            self._ship(path, content)
        if old == content:
            new.unlink(missing_ok=True)
        elif old is None or _digest(old) == shipped:
            self._write(there, content, mode if old is None else stat.S_IMODE(there.stat().st_mode))
            self.say(f"file {path}")
        elif _digest(content) != shipped:
            self._write(new, content, mode)
            self.say(f"file {path}{NEW_SUFFIX}, for {path} is the site's own")
        # And only now that one of before is no more: the next time it would be taken for the site's own.
        self._ship(path, content)

    def _ship(self, path: Path, content: bytes) -> None:
        digest = _digest(content)
        if self.files.get(str(path)) != digest:
            self.files[str(path)] = digest
            self.save()

    def private_directory(self, path: Path, owner: str | None) -> None:
        """A directory that the daemons' user alone may use; one that is there stays as it is."""
        there = self._there(path)
        if there.is_dir():
            return
        self.make_parents(there)
        self.directories.append(str(path))
        self.save()
        there.mkdir()
        there.chmod(0o750)
        if owner is not None:
            shutil.chown(there, owner, owner)
        self.say(f"directory {path}, mode 0750" + (f", of {owner}" if owner else ""))

    def links_to_files(self, patterns: Iterable[str]) -> list[tuple[Path, Path]]:
        """Symbolic links of others that lead to our files: where each is now, and the file, in the installed system."""
        found = []
        for link in sorted(path for pattern in patterns for path in self.destdir.glob(pattern) if path.is_symlink()):
            # As the installed system reads it, whether relative or not.
            lies_in = Path("/", link.parent.relative_to(self.destdir))
            target = os.path.normpath(lies_in / link.readlink())
            if target in self.files:
                found.append((link, Path(target)))
        return found

    def take_back(self) -> None:
        """Remove all that is recorded and unchanged, and the manifest last."""
        for path, shipped in self.files.items():
            there = self._there(Path(path))
            there.with_name(there.name + NEW_SUFFIX).unlink(missing_ok=True)
            if not there.exists():
                continue
            if _digest(there.read_bytes()) == shipped:
                there.unlink()
                self.say(f"removed {path}")
            else:
                self.say(f"kept {path}: the site has changed it")
        for path, target in self.links.items():
            there = self._there(Path(path))
            if there.is_symlink() and str(there.readlink()) == target:
                there.unlink()
                self.say(f"removed {path}")
        for path in self.trees:
            for suffix in ("", NEW_SUFFIX, OLD_SUFFIX):
                shutil.rmtree(self._there(Path(path + suffix)), ignore_errors=True)
            self.say(f"removed {path}")
        self.manifest.unlink()
        # What was made last lies deepest.
        for path in reversed(self.directories):
            self._remove_directory(path)

    def _remove_directory(self, path: str) -> None:
        try:
            self._there(Path(path)).rmdir()
        except FileNotFoundError:
            return
        except OSError:
            self.say(f"kept {path}: it is not empty")
        else:
            self.say(f"removed {path}")

    def _there(self, path: Path) -> Path:
        return self.destdir / path.relative_to("/")

    def _write(self, there: Path, content: bytes, mode: int) -> None:
        """Whole or not at all, and never through a link."""
        temporary = there.with_name(there.name + ".tmp")
        temporary.unlink(missing_ok=True)
        temporary.write_bytes(content)
        temporary.chmod(mode)
        temporary.rename(there)
