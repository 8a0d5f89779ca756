# SPDX-License-Identifier: GPL-3.0-or-later
"""A filter's settings out of a TOML file, for sites that keep them apart from the filter: `Settings.load`."""

from __future__ import annotations

import tomllib
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, get_args, get_type_hints

from defang_worker import checks
from defang_worker.api.settings import Settings
from defang_worker.checks.check import Check
from defang_worker.mime.defects import Severity
from defang_worker.mime.policy import Action, Policy
from defang_worker.mime.tree import Limits

_Table = TypeVar("_Table")
# Named in annotations, and loaded by who uses it.
_LATE = {"Check": Check}

# What these types are written as in TOML: the name of a member.
_WORDS: dict[object, dict[str, object]] = {
    Action: {member.name.lower(): member for member in Action},
    Severity: {member.name.lower(): member for member in Severity},
}


def read(path: str) -> Settings:
    """The settings; raises OSError and ValueError, which names the file and what is wrong."""
    try:
        return _made(Settings, tomllib.loads(Path(path).read_text("utf-8")))
    except ValueError as fault:
        raise ValueError(f"{path}: {fault}") from fault


def _made(cls: type[_Table], table: dict[str, Any]) -> _Table:
    types = get_type_hints(cls, localns=_LATE)
    known = [field.name for field in fields(cls) if field.init]  # type: ignore[arg-type]  # dataclasses all of them
    values = {}
    for name, value in table.items():
        if name not in known:
            like = get_close_matches(name, known, 1)
            raise ValueError(f"{name} is no setting" + (f", is {like[0]} meant?" if like else ""))
        values[name] = _value(name, value, types[name])
    return cls(**values)


def _value(name: str, value: object, wanted: object) -> object:
    kinds = get_args(wanted) if isinstance(wanted, UnionType) else (wanted,)
    if isinstance(value, dict) and (Limits in kinds or Policy in kinds):
        return _made(Limits if Limits in kinds else Policy, value)
    for kind, words in _WORDS.items():
        if kind in kinds and isinstance(value, str) and value.lower() in words:
            return words[value.lower()]
    if name == "checks" and isinstance(value, dict):
        return tuple(_check(*item) for item in value.items())
    if float in kinds and type(value) is int:
        return float(value)
    if isinstance(value, list) and getattr(wanted, "__origin__", None) is tuple:
        if all(isinstance(item, str) for item in value):
            return tuple(value)
    elif type(value) in kinds:  # by type, for True is an int
        return value
    raise ValueError(f"{name} cannot be {value!r:.50}")


def _check(name: str, table: object) -> Check[Any, Any]:
    """A check out of [checks.NAME]: its `kind`, a class or "CommandScanner:preset", and what that is made with."""
    given = dict(table) if isinstance(table, dict) else {}
    kind, _, preset = str(given.pop("kind", "")).partition(":")
    if not kind:
        raise ValueError(f"checks.{name} is to be a table with a kind")
    made = getattr(checks, kind) if kind in checks.__all__ else None
    if not (isinstance(made, type) and issubclass(made, Check)) or made is Check:
        raise ValueError(f"checks.{name}: no check is named {kind}")
    options = given | {"name": name}
    try:
        return made.preset(preset, **options) if preset else made(**options)  # type: ignore[attr-defined]
    except (TypeError, AttributeError, ValueError) as fault:
        raise ValueError(f"checks.{name}: {fault}") from fault
