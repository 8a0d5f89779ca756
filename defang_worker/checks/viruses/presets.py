# SPDX-License-Identifier: GPL-3.0-or-later
"""Command-line scanners that are alive, as tables: how they are called, what their exit codes mean, where names stand.

Sources: clamscan(1), clamdscan(1); ESET Server Security for Linux, user guide, odscan; Avast for Linux, scan(1);
Trellix VirusScan Command Line, product guide. A code that is in no table means that it cannot be told.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

__all__ = ["PRESETS", "Meaning", "Preset"]


class Meaning(StrEnum):
    """What an exit code says."""

    CLEAN = "clean"
    INFECTED = "infected"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """How one scanner is called; the directory with the files comes behind the words."""

    argv: tuple[str, ...]
    codes: Mapping[int, Meaning]
    name_pattern: str
    """A regular expression for lines of the output; its group `name` is that of a virus."""
    version_argv: tuple[str, ...]


_USUAL: Final = {0: Meaning.CLEAN, 1: Meaning.INFECTED, 2: Meaning.FAILED}
_CLAMAV_NAME: Final = r"^.+: (?P<name>\S+) FOUND$"

PRESETS: Final[Mapping[str, Preset]] = {
    "clamscan": Preset(
        argv=("clamscan", "--stdout", "--no-summary", "--infected", "--recursive", "--alert-exceeds-max=yes"),
        codes=_USUAL,
        name_pattern=_CLAMAV_NAME,
        version_argv=("clamscan", "--version"),
    ),
    # clamd reads no file of ours, so each is handed to it open; over TCP clamdscan sends the bytes by itself.
    "clamdscan": Preset(
        argv=("clamdscan", "--stdout", "--no-summary", "--infected", "--fdpass"),
        codes=_USUAL,
        name_pattern=_CLAMAV_NAME,
        version_argv=("clamdscan", "--version"),
    ),
    "odscan": Preset(
        argv=("/opt/eset/efs/bin/odscan", "--scan", "--show-scan-info", "--readonly"),
        codes={
            0: Meaning.CLEAN,
            1: Meaning.INFECTED,
            10: Meaning.FAILED,
            50: Meaning.INFECTED,
            100: Meaning.FAILED,
        },
        name_pattern=r'(?:threat|result)="(?P<name>[^"]+)"',
        version_argv=("/opt/eset/efs/bin/odscan", "--version"),
    ),
    "avast": Preset(
        argv=("scan",),
        codes=_USUAL,
        name_pattern=r"\t(?P<name>[^\t]+)$",
        version_argv=("scan", "-v"),
    ),
    "uvscan": Preset(
        argv=("uvscan", "--secure", "--mime", "--noboot", "--recursive"),
        codes={0: Meaning.CLEAN, 13: Meaning.INFECTED},
        name_pattern=r"Found:? (?:the )?(?P<name>.+?)(?: (?:virus|trojan)\b.*)?[ !.]*$",
        version_argv=("uvscan", "--version"),
    ),
}
