# SPDX-License-Identifier: GPL-3.0-or-later
"""`CommandScanner`: asks a program; what its exit codes mean, and where in its output the names stand, is a table.

Starting a program takes some milliseconds, and most scanners then load their database for seconds: where there is a
daemon or an ICAP service, that is the better choice. What is scanned are files in a directory of their own, which goes
when the program has ended.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from defang_worker import programs
from defang_worker.checks.faults import ServiceDown, ServiceFault
from defang_worker.checks.service import ServiceCheck
from defang_worker.checks.viruses.presets import PRESETS, Meaning
from defang_worker.checks.viruses.result import Infection, VirusResult
from defang_worker.checks.viruses.scanner import DEFAULT_MAX_BYTES, Selection, result_of

if TYPE_CHECKING:
    from defang_worker.api.message import Message
    from defang_worker.checks.budget import Deadline
    from defang_worker.checks.check import Job
    from defang_worker.checks.viruses.items import Item
    from defang_worker.programs import Finished

__all__ = ["CommandScanner"]

_UNNAMED: Final = "unknown"
_MAX_OUTPUT_BYTES: Final = 1024 * 1024


class CommandScanner(ServiceCheck["Message", VirusResult]):
    """Is there a virus, as a program sees it?

    `argv` are its words, the path of the directory to scan comes behind them. `codes` tells what its exit codes mean
    ("clean", "infected" or "failed"); with another one it cannot be told. `name_pattern` is searched for in each line
    of the output, and has a group `name`. `preset(name)` makes one for a scanner that is known.
    """

    result_type = VirusResult

    def __init__(
        self,
        argv: Sequence[str],
        *,
        name: str = "",
        codes: Mapping[int, str] | None = None,
        name_pattern: str = r"(?P<name>\S+) FOUND$",
        version_argv: Sequence[str] = (),
        parts: bool = True,
        max_bytes: int = DEFAULT_MAX_BYTES,
        **limits: Any,
    ) -> None:
        if isinstance(argv, str) or not argv:
            raise ValueError(f"a program is given as a list of its words, not as {argv!r:.100}")
        name = name or os.path.basename(argv[0])  # noqa: PTH119  # a name, no file yet
        super().__init__(name, argv[0], max_bytes=max_bytes, **limits)
        self.argv = tuple(argv)
        self.codes = {code: Meaning(meaning) for code, meaning in (codes or {0: "clean", 1: "infected"}).items()}
        self._pattern = re.compile(name_pattern)
        if "name" not in self._pattern.groupindex:
            raise ValueError(f"{self.name}: name_pattern has no group `name`: {name_pattern}")
        self._version_argv = tuple(version_argv)
        self.parts = parts

    @classmethod
    def preset(cls, preset: str, *more: str, **options: Any) -> Self:
        """One of the known scanners, with `more` words for it; raises ValueError for a name that is not known."""
        if preset not in PRESETS:
            raise ValueError(f"no preset {preset!r}; known are {', '.join(sorted(PRESETS))}")
        known = PRESETS[preset]
        table: dict[str, Any] = {
            "name": preset,
            "codes": known.codes,
            "name_pattern": known.name_pattern,
            "version_argv": known.version_argv,
        }
        return cls((*known.argv, *more), **(table | options))

    def prepare(self, subject: Message) -> Job[VirusResult]:
        """Decodes what is to be scanned."""
        programs.end_with_worker()
        selection = Selection(subject, parts=self.parts, max_bytes=self.max_bytes)
        # The message's own directory is as closed to others as the message, and goes with it.
        below = subject.envelope.directory
        return lambda deadline: self._scan(selection, below, deadline)

    def _scan(self, selection: Selection, below: str, deadline: Deadline) -> VirusResult:
        directory = Path(tempfile.mkdtemp(prefix="scan-", dir=below if Path(below).is_dir() else None))
        try:
            files = {_written(directory, item): item.part for item in selection.items}
            argv = (*self.argv, str(directory))
            finished = self.endpoints.call(lambda _, until: _finished(argv, until), deadline)
        finally:
            shutil.rmtree(directory)
        match self.codes.get(finished.status):
            case Meaning.CLEAN:
                return result_of(self.name, selection, [], [])
            case Meaning.INFECTED:
                named = list(self._named(finished.output, files)) or [Infection(_UNNAMED, "")]
                return result_of(self.name, selection, named, [])
            case _:
                # A complaint may look like a find: it counts in lines that name one of the files.
                in_files = [found for found, is_told in self._named(finished.output, files).items() if is_told]
                complaint = finished.complaint and f": {finished.complaint}"
                fault = f"{self.argv[0]}: exit status {finished.status}{complaint}"
                return result_of(self.name, selection, in_files, [fault])

    def _named(self, output: bytes, files: Mapping[str, str]) -> dict[Infection, bool]:
        """What the output names, and whether it tells the file."""
        found: dict[Infection, bool] = {}
        for line in output.decode("utf-8", "backslashreplace").splitlines():
            if match := self._pattern.search(line):
                part = next((part for name, part in files.items() if name in line), None)
                infection = Infection(match["name"], part or "")
                found[infection] = found.get(infection, False) or part is not None
        return found

    def version(self, address: str, deadline: Deadline) -> str:
        """The version, if it is known how to ask for it; raises ServiceDown if there is no such program."""
        if shutil.which(address) is None:
            raise ServiceDown("not found, or not executable")
        if not self._version_argv:
            return ""
        told = _finished(self._version_argv, deadline)
        return (told.output.decode("utf-8", "backslashreplace").strip().splitlines() or [""])[0]


def _finished(argv: Sequence[str], deadline: Deadline) -> Finished:
    try:
        return programs.finished(argv, b"", timeout_s=deadline.left_s(), max_output_bytes=_MAX_OUTPUT_BYTES)
    except programs.ProgramFailed as fault:
        is_down = isinstance(fault.__cause__, OSError)  # it could not even be started
        raise (ServiceDown if is_down else ServiceFault)(str(fault)) from fault


def _written(directory: Path, item: Item) -> str:
    """Writes the item to a file, and gives its name: one that is no other's beginning or end."""
    name = f"part-{item.part}.bin" if item.part else "message.eml"
    (directory / name).write_bytes(item.data)
    return name
