# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration file of both daemons, in TOML: shared keys at the top, and a table for each program.

A program hands in its own keys, which it makes from its table of options, and gets their values in the right types.
What a value means is the program's affair; `place` says where it stands. How a file is written is in `config_text`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final

TABLES: Final = ("milter", "mux")
SHARED: Final = ("user", "spool", "group-access", "facility", "log-to", "log-format")
"""What means the same to both; a program's own table may say it too, and is heeded first."""

Value = bool | int | float | str | list[str]


class ConfigError(Exception):
    """The file is wrong; the message names file and line."""


class Kind(Enum):
    """What a key takes; the value is its name for people."""

    SWITCH = "true or false"
    NUMBER = "a whole number"
    SECONDS = "a number of seconds"
    TEXT = "a text"
    PATH = "an absolute path"
    TEXTS = "a list of texts"


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A key of a program's table. `placeholder` stands for its value where there is none."""

    name: str
    kind: Kind
    help: str
    placeholder: str = ""


class ConfigFile:
    """What a file says to one program. Raises `ConfigError` for all that is wrong with it but the other's table."""

    def __init__(self, path: Path, table: str, keys: Iterable[Key]) -> None:
        self.path = path
        self._table = table
        self._keys = {key.name: key for key in keys}
        self._text = _read(path)
        try:
            data = _parsed(self._text)
        except ValueError as error:
            raise ConfigError(f"{path}: {error}") from None
        self._own = self._own_table(data)
        self._shared = {name: value for name, value in data.items() if name not in TABLES}
        for name in self._shared:
            if name not in SHARED:
                raise self._unknown(name, in_table=False)
        for name in self._own:
            if name not in self._keys:
                raise self._unknown(name, in_table=True)
        self.values: Mapping[str, Value] = {
            name: self._checked(name, value) for name, value in (self._shared | self._own).items()
        }
        """By the names of the keys."""

    def news(self) -> list[str]:
        """The keys that have another value in the file by now. Raises `ConfigError` if it is wrong by now."""
        now = ConfigFile(self.path, self._table, self._keys.values()).values
        return sorted(
            name for name in now.keys() | self.values.keys() if now.get(name, ...) != self.values.get(name, ...)
        )

    def place(self, name: str) -> str:
        """Where the key stands: file, line and name."""
        in_table = name in self._own
        return f"{self.path}, line {self._line_of(name, in_table)}: {name}"

    def _own_table(self, data: dict[str, Any]) -> dict[str, Any]:
        for table in TABLES:
            if not isinstance(data.get(table, {}), dict):
                line = _line_of(self._text, (table,))
                raise ConfigError(f"{self.path}, line {line}: {table} is a table: [{table}]")
        own: dict[str, Any] = data.get(self._table, {})
        return own

    def _unknown(self, name: str, *, in_table: bool) -> ConfigError:
        known = list(self._keys) if in_table else [*SHARED, *TABLES]
        from difflib import get_close_matches  # noqa: PLC0415  # for a daemon that will not start

        similar = get_close_matches(name, known, n=1)
        if not in_table and name in self._keys:
            hint = f": it belongs into the table [{self._table}]"
        elif similar:
            hint = f": is {similar[0]} meant?"
        else:
            hint = f"; shared are {', '.join(SHARED)}, and tables {' and '.join(TABLES)}" if not in_table else ""
        where = f" in [{self._table}]" if in_table else ""
        return ConfigError(f"{self.path}, line {self._line_of(name, in_table)}: no key {name}{where}{hint}")

    def _line_of(self, name: str, in_table: bool) -> int:  # noqa: FBT001  # a fact, not a switch
        return _line_of(self._text, (self._table, name) if in_table else (name,))

    def _checked(self, name: str, value: object) -> Value:
        kind = self._keys[name].kind
        match kind:
            case Kind.SWITCH if isinstance(value, bool):
                return value
            # To Python a bool is a number, too.
            case Kind.NUMBER if isinstance(value, int) and not isinstance(value, bool):
                return value
            case Kind.SECONDS if isinstance(value, int | float) and not isinstance(value, bool):
                return value
            case Kind.TEXT if isinstance(value, str):
                return value
            case Kind.PATH if isinstance(value, str) and value.startswith("/"):
                return value
            case Kind.TEXTS if isinstance(value, list):
                texts = [one for one in value if isinstance(one, str)]
                if len(texts) == len(value):
                    return texts
            case _:
                pass
        raise ConfigError(f"{self.place(name)}: {kind.value} is wanted, not {_described(value)}")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 at byte {error.start}") from None


def _parsed(text: str) -> dict[str, Any]:
    """Raises ValueError, which says what is wrong and where."""
    import tomllib  # noqa: PLC0415  # most daemons have no file

    return tomllib.loads(text)


def _line_of(text: str, names: tuple[str, ...]) -> int:
    """The line on which the key's value ends: the first so many lines that are a file with that key.

    The parser tells no places, and this holds for every way in which a key can be written.
    """
    lines = text.split("\n")
    for count in range(1, len(lines)):
        try:
            found: Any = _parsed("\n".join(lines[:count]))
        except ValueError:
            continue
        for name in names:
            found = found.get(name) if isinstance(found, dict) else None
        if found is not None:
            return count
    return len(lines)


def _described(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case int() | float():
            return f"the number {value}"
        case str():
            return f"the text {value!r}"
        case list():
            return "this list"
        case dict():
            return "a table"
    return f"{value}"
