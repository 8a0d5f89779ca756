# SPDX-License-Identifier: GPL-3.0-or-later
"""Command-line scanners that are alive, as tables: how they are called, what their exit codes mean, where names stand.

A scanner is here only if somebody who runs it has published its exit codes, or if it is tested here; where is told with
each. A code that is in no table means that it cannot be told.
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
    # clamscan(1), RETURN CODES.
    "clamscan": Preset(
        argv=("clamscan", "--stdout", "--no-summary", "--infected", "--recursive", "--alert-exceeds-max=yes"),
        codes=_USUAL,
        name_pattern=_CLAMAV_NAME,
        version_argv=("clamscan", "--version"),
    ),
    # clamdscan(1), RETURN CODES. clamd reads no file of ours, so each is handed to it open; over TCP clamdscan sends
    # the bytes by itself.
    "clamdscan": Preset(
        argv=("clamdscan", "--stdout", "--no-summary", "--infected", "--fdpass"),
        codes=_USUAL,
        name_pattern=_CLAMAV_NAME,
        version_argv=("clamdscan", "--version"),
    ),
    # ESET Server Security for Linux: call, codes and pattern are those of gitlab.com/amavis/amavis, issue 97, from a
    # site that runs it on its mail server.
    "odscan": Preset(
        argv=("/opt/eset/efs/bin/odscan", "--scan", "--profile=@In-depth scan", "--readonly"),
        codes={
            0: Meaning.CLEAN,
            1: Meaning.INFECTED,
            10: Meaning.FAILED,
            50: Meaning.INFECTED,
            100: Meaning.FAILED,
        },
        name_pattern=r'threat="(?P<name>[^"]+)"',
        version_argv=(),
    ),
    # Trellix (McAfee) VirusScan Command Line: words and codes are from MIMEDefang's Antivirus.pm (NAI), lines of
    # its output from github.com/quarkslab/irma, probe/modules/antivirus/mcafee, and its tests.
    "uvscan": Preset(
        argv=("uvscan", "--secure", "--mime", "--noboot", "--recursive"),
        codes={
            0: Meaning.CLEAN,
            2: Meaning.FAILED,
            6: Meaning.FAILED,
            8: Meaning.FAILED,
            12: Meaning.FAILED,
            13: Meaning.INFECTED,
            19: Meaning.FAILED,
            102: Meaning.FAILED,
        },
        name_pattern=(
            r" Found(?:: | the | \w+ or variant )(?P<name>.+?)(?: NOT a virus| (?:virus|trojan)\b.*)?[ !.]*$"
        ),
        version_argv=("uvscan", "--version"),
    ),
}
