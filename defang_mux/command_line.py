# SPDX-License-Identifier: GPL-3.0-or-later
"""From words and a configuration file to `Settings`, by the table in `settings`. Called by `__main__`.

A number out of its range is moved into it, with a line that says so.
"""

import getopt
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from defang_common.host import config_text
from defang_common.host.config_file import ConfigError, ConfigFile, Key, Kind, Value
from defang_mux.settings import (
    CHOICES,
    DEFAULT_SPOOL,
    MAX_BACKLOG,
    MAX_WORKERS,
    MIN_BACKLOG,
    MIN_WORKERS,
    OPTIONS,
    PATHS,
    POISON_DIR_NAME,
    SOCKET_NAME,
    Option,
    Settings,
    Start,
    getopt_words,
)

TABLE: Final = "mux"

# What `-E` means: the filter is loaded once, and workers are forked where their program can be.
_EMBEDDED: Final[Start] = "auto"

# A shorter interval would fill the log. MIMEDefang's number.
_MIN_STATUS_INTERVAL_S: Final = 5


class UsageError(Exception):
    """The command line or the configuration file is wrong; the message says where."""


class Parsed(NamedTuple):
    """What is to be done: settings, lines about adjusted numbers, and whether they are only to be printed.

    `file` is the configuration file that was read, if one was.
    """

    settings: Settings
    notes: list[str]
    print_config: bool
    file: ConfigFile | None


def parse(argv: list[str]) -> Parsed | Literal["help", "version"]:
    """The settings, or which text is asked for. Raises `UsageError`.

    Of an option given twice the last counts, and any counts more than the file. Paths are made absolute, for the
    daemon changes its directory.
    """
    from_file: dict[str, Any] = {}
    values: dict[str, Any] = {}
    notes: list[str] = []
    print_config = False
    file: ConfigFile | None = None
    for word, option, given in _split(argv):
        match option.name:
            case "help":
                return "help"
            case "version":
                return "version"
            case "config":
                file = _file(Path.cwd() / str(given))
                from_file = _from_file(file, notes)
            case "print-config":
                print_config = True
            case "embed":
                values["start"] = _EMBEDDED
            case _:
                values[option.field] = _value(option, given, word, notes)
    values = from_file | values
    _check_writable(values.get("writable_dirs"), confined=values.get("landlock", False))
    _fill_in(values, notes)
    return Parsed(Settings(**values), notes, print_config, file)


def keys() -> list[Key]:
    """The keys of a configuration file."""
    return [
        Key(name=option.name, kind=_kind(option), help=option.help, placeholder=option.placeholder)
        for option in OPTIONS
        if option.field
    ]


def config_values(settings: Settings) -> dict[str, Value | None]:
    """The settings under the names of the keys."""
    found: dict[str, Value | None] = {}
    for option in OPTIONS:
        if option.field:
            value = getattr(settings, option.field)
            found[option.name] = str(value) if isinstance(value, Path) else value
    return found


def as_config(settings: Settings) -> str:
    """A configuration file that says the same. Raises `UsageError` for what cannot stand in one."""
    try:
        return config_text.whole(TABLE, keys(), config_values(settings))
    except ConfigError as error:
        raise UsageError(str(error)) from None


def _kind(option: Option) -> Kind:
    if not option.placeholder:
        return Kind.SWITCH
    if option.least is not None:
        return Kind.NUMBER
    return Kind.PATH if option.field in PATHS else Kind.TEXT


def unread(file: ConfigFile) -> str | None:
    """What stands in the file by now and does not count before the next start, in words; None if nothing does.

    A file that only the user may read who started us is not looked at.
    """
    try:
        file.path.open("rb").close()
    except PermissionError:
        return None
    except OSError as error:
        return f"the next start would fail: {file.path}: {error.strerror}"
    try:
        changed = file.news()
    except ConfigError as error:
        return f"the next start would fail: {error}"
    if not changed:
        return None
    return f"{file.path} has changed since the start, and counts from the next one on: {', '.join(changed)}"


def _file(path: Path) -> ConfigFile:
    try:
        return ConfigFile(path, TABLE, keys())
    except ConfigError as error:
        raise UsageError(str(error)) from None


def _from_file(file: ConfigFile, notes: list[str]) -> dict[str, Any]:
    return {
        option.field: _value(option, file.values[option.name], file.place(option.name), notes)
        for option in OPTIONS
        if option.name in file.values
    }


def _split(argv: list[str]) -> Iterator[tuple[str, Option, str | bool]]:
    """The word for messages, its option, and what is given: a text, or true or false for a switch."""
    meant: dict[str, tuple[Option, bool]] = {f"-{option.letter}": (option, True) for option in OPTIONS if option.letter}
    meant |= {f"--{option.name}": (option, True) for option in OPTIONS}
    switches = [option for option in OPTIONS if option.field and not option.placeholder]
    meant |= {f"--no-{option.name}": (option, False) for option in switches}
    letters, names = getopt_words(OPTIONS)
    try:
        found, rest = getopt.getopt(argv, letters, [*names, *(f"no-{option.name}" for option in switches)])
    except getopt.GetoptError as error:
        raise UsageError(error.msg) from None
    if rest:
        raise UsageError(f"no arguments are taken beside options: {rest[0]!r}")
    for word, text in found:
        option, wanted = meant[word]
        yield f"--{option.name}", option, text if option.placeholder else wanted


def _value(option: Option, given: Value, place: str, notes: list[str]) -> Value | Path:
    if option.least is not None:
        return _number(option, given, place, notes)
    if not isinstance(given, str):
        return given
    if not given:
        raise UsageError(f"{place}: an empty value")
    if option.field in PATHS:
        return _path(option, given, place)
    choices = CHOICES.get(option.field)
    if choices is not None and given not in choices:
        raise UsageError(f"{place}: one of {', '.join(choices)}, not {given!r}")
    return given


def _path(option: Option, text: str, place: str) -> Path:
    for kind in ("unix:", "local:"):
        if option.field == "socket":
            text = text.removeprefix(kind)
    path = Path(text)
    if option.field == "worker" and not path.is_absolute():
        raise UsageError(f"{place}: the path must be absolute: {text!r}")
    return Path.cwd() / path


def _number(option: Option, given: Value, place: str, notes: list[str]) -> int:
    assert option.least is not None
    assert isinstance(given, str | int)
    try:
        number = int(given)
    except ValueError:
        raise UsageError(f"{place}: not a whole number: {given!r}") from None
    if number < option.least:
        notes.append(f"{place}: {number} raised to {option.least}, the least there is")
        return option.least
    if option.most is not None and number > option.most:
        if option.field == "queue_size":
            raise UsageError(f"{place}: {option.most} at most")
        notes.append(f"{place}: {number} lowered to {option.most}, the most there is")
        return option.most
    return number


def _check_writable(given: str | None, *, confined: bool) -> None:
    if given is None:
        return
    if not confined:
        raise UsageError("--writable-dirs: without --landlock workers may write everywhere")
    for directory in given.split(":"):
        if not directory.startswith("/"):
            raise UsageError(f"--writable-dirs: {directory!r} is no absolute path")


def _fill_in(values: dict[str, Any], notes: list[str]) -> None:
    """What follows from other options where nothing was said."""
    most: int = values.get("max_workers", MAX_WORKERS)
    least: int = values.get("min_workers", MIN_WORKERS)
    if least > most:
        notes.append(f"--min-workers: {least} lowered to {most}, the value of --max-workers")
        values["min_workers"] = most
    if values.get("domain_recipients", 0) >= most:
        notes.append(f"--domain-recipients: {values['domain_recipients']} limits nothing, as 0 does: not below -x")
        values["domain_recipients"] = 0
    if 0 < values.get("status_interval_s", 0) < _MIN_STATUS_INTERVAL_S:
        given = values["status_interval_s"]
        notes.append(f"--status-interval: {given} raised to {_MIN_STATUS_INTERVAL_S}, the least there is")
        values["status_interval_s"] = _MIN_STATUS_INTERVAL_S
    values.setdefault("backlog", max(MIN_BACKLOG, min(most // 4, MAX_BACKLOG)))
    values.setdefault("poison_dir", values.get("spool", DEFAULT_SPOOL) / POISON_DIR_NAME)
    values.setdefault("socket", values.get("spool", DEFAULT_SPOOL) / SOCKET_NAME)
    # Beside our own interpreter, so that a virtual environment's multiplexor starts that environment's worker.
    values.setdefault("worker", Path(sys.executable).parent / "defang-worker")
