# SPDX-License-Identifier: GPL-3.0-or-later
"""What a check has found: one value for each thing that is wrong."""

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What was checked; the value is the word in the output."""

    LOAD = "load"
    NAME = "name"
    CALL = "call"
    STAGE = "stage"
    VALUE = "value"
    SETTING = "setting"
    TYPE = "type"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong; `line` is 0 where none can be told."""

    file: str
    line: int
    kind: Kind
    text: str
