# SPDX-License-Identifier: GPL-3.0-or-later
"""From words and a configuration file to `Settings`, by the table in `settings`. Called by `__main__`.

Nothing here touches the system but the reading of that file and the check of the syslog facility's name.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

from defang_common import __version__
from defang_common.host import config_file, config_text, logs
from defang_common.host.config_file import ConfigError, ConfigFile, Key, Value
from defang_milter import address
from defang_milter.settings import (
    CHOICES,
    DEFAULT_SCANNED_BY,
    MUX_SOCKET_NAME,
    OPTIONS,
    PROGRAM,
    Kind,
    Option,
    Settings,
)

TABLE: Final = "milter"

# What a file says by another key, or has no need to say.
_NO_KEYS: Final = frozenset({"no-scanned-by", "obsolete", "config", "print-config", "version", "help"})

_CONFIG_KINDS: Final = {
    Kind.FLAG: config_file.Kind.SWITCH,
    Kind.TEXT: config_file.Kind.TEXT,
    Kind.ADDRESS: config_file.Kind.TEXT,
    Kind.MACRO: config_file.Kind.TEXTS,
    Kind.PATH: config_file.Kind.PATH,
    Kind.NUMBER: config_file.Kind.NUMBER,
    Kind.SECONDS: config_file.Kind.SECONDS,
    Kind.FACILITY: config_file.Kind.TEXT,
    Kind.LOG_TARGET: config_file.Kind.TEXT,
    Kind.LOG_FORMAT: config_file.Kind.TEXT,
}


def _seconds(text: str) -> float:
    value = float(text)
    # Not `value <= 0`, which a NaN passes.
    if not 0 < value < 1_000_000:
        raise ValueError(text)
    return value


def _text(text: str) -> str:
    # pymilter passes on no other, and its error would come with the first message.
    if not text.isprintable():
        raise argparse.ArgumentTypeError(f"control characters, or not UTF-8: {text!r}")
    return text


def _address(text: str) -> str:
    try:
        address.parse(_text(text))
    except address.NoAddress as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _macro(text: str) -> str:
    name = _text(text).removeprefix("{").removesuffix("}")
    if not name:
        raise argparse.ArgumentTypeError("an empty name")
    return name


def _facility(text: str) -> str:
    try:
        logs.facility_number(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


_READERS: Final[dict[Kind, Any]] = {
    Kind.TEXT: _text,
    Kind.ADDRESS: _address,
    Kind.MACRO: _macro,
    # Made absolute here, for the daemon changes its directory.
    Kind.PATH: lambda text: Path(os.path.abspath(text)),  # noqa: PTH100  # Path.resolve() would follow links
    Kind.NUMBER: int,
    Kind.SECONDS: _seconds,
    Kind.FACILITY: _facility,
    Kind.CONFIG: Path,
}
# argparse puts this name into "invalid ... value: 'x'".
_READERS[Kind.PATH].__name__ = "path"
_seconds.__name__ = "number of seconds"


class _Parser(argparse.ArgumentParser):
    """Says the error last and in one line, which is where a person looks."""

    def error(self, message: str) -> NoReturn:
        self.exit(1, f"{self.format_usage()}{PROGRAM}: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=PROGRAM,
        usage=f"{PROGRAM} -p CONNECTION [-m PATH] [-U USER] [options]\n       {PROGRAM} prcap",
        description="Front end of Defang: takes mail from an MTA by the milter protocol and has it filtered.",
        epilog="prcap as the only word prints what libmilter can do.",
        allow_abbrev=False,
        add_help=False,
    )
    for option in OPTIONS:
        flags = [f"-{option.letter}"] if option.letter else []
        flags.append(f"--{option.name}")
        field = option.field
        match option.kind:
            case Kind.FLAG:
                parser.add_argument(*flags, dest=field, action="store_true", help=option.help)
                if option.name not in _NO_KEYS:
                    # For a switch that the file has turned on.
                    parser.add_argument(f"--no-{option.name}", dest=field, action="store_false", help=argparse.SUPPRESS)
            case Kind.PRINT_CONFIG:
                parser.add_argument(*flags, dest=field, action="store_true", help=option.help)
            case Kind.VERSION:
                version = f"{PROGRAM} version {__version__}"
                parser.add_argument(*flags, action="version", version=version, help=option.help)
            case Kind.HELP:
                parser.add_argument(*flags, action="help", help=option.help)
            case Kind.LOG_TARGET | Kind.LOG_FORMAT:
                choices = CHOICES[option.kind]
                parser.add_argument(*flags, dest=field, choices=choices, default=option.default, help=option.help)
            case _:
                parser.add_argument(
                    *flags,
                    dest=field,
                    action="append" if option.kind is Kind.MACRO else "store",
                    type=_READERS[option.kind],
                    metavar=option.argument,
                    default=option.default,
                    help=option.help,
                )
    return parser


def _scanned_by(given: argparse.Namespace, in_file: str) -> str | None:
    if given.no_scanned_by:
        return None
    text: str = in_file if given.scanned_by is None else given.scanned_by
    return text or None


def keys() -> list[Key]:
    """The keys of a configuration file."""
    return [
        Key(name=option.name, kind=_CONFIG_KINDS[option.kind], help=option.help, placeholder=option.argument)
        for option in OPTIONS
        if option.name not in _NO_KEYS
    ]


def config_values(settings: Settings) -> dict[str, Value | None]:
    """The settings under the names of the keys."""
    return {option.name: _config_value(option, settings) for option in OPTIONS if option.name not in _NO_KEYS}


def _config_value(option: Option, settings: Settings) -> Value | None:
    if option.kind is Kind.MACRO:
        return list(settings.macros)
    if option.field == "scanned_by":
        return settings.scanned_by or ""
    value: Value | Path | None = getattr(settings, option.field)
    return str(value) if isinstance(value, Path) else value


def _from_file(file: ConfigFile) -> dict[str, Any]:
    """What the file says, by the fields of the options; raises `ConfigError`."""
    values = {}
    for option in OPTIONS:
        if option.name in file.values:
            try:
                values[option.field] = _read(option.kind, file.values[option.name])
            except argparse.ArgumentTypeError as error:
                raise ConfigError(f"{file.place(option.name)}: {error}") from None
            except ValueError as error:
                raise ConfigError(f"{file.place(option.name)}: out of range: {error}") from None
    return values


def _read(kind: Kind, value: Value) -> object:
    if kind in CHOICES and value not in CHOICES[kind]:
        raise argparse.ArgumentTypeError(f"one of {', '.join(CHOICES[kind])}, not {value!r}")
    if isinstance(value, list):
        return [_macro(name) for name in value]
    return _READERS[kind](value) if kind in _READERS else value


def _is_at(connection: str, path: Path, spool: Path) -> bool:
    where = address.parse(connection)
    # The daemon lives in the spool, so a relative path is meant from there.
    return isinstance(where, address.UnixAddress) and os.path.normpath(spool / where.path) == str(path)


def parse(argv: Sequence[str]) -> Settings:
    """The settings in `argv` (without the program's name); prints the reason and exits if they make no sense.

    Empty words are passed over, for start scripts leave them behind; other stray words are not. Where the settings
    are only to be printed, that is done, and is the end.
    """
    parser = _parser()
    given, strays = parser.parse_known_args(list(argv))
    in_file: dict[str, Any] = {}
    if given.config is not None:
        try:
            in_file = _from_file(ConfigFile(given.config, TABLE, keys()))
        except ConfigError as error:
            parser.error(str(error))
    scanned_by = in_file.pop("scanned_by", DEFAULT_SCANNED_BY)
    parser.set_defaults(**in_file)
    given, strays = parser.parse_known_args(list(argv))
    strays = [word for word in strays if word]
    if strays:
        parser.error(f"unexpected: {' '.join(strays)}")
    _check(parser, given)
    settings = _settings(given, scanned_by)
    if _is_at(settings.socket, settings.mux_socket, settings.spool):
        parser.error(f"-p and -m name the same socket: {settings.mux_socket}")
    if given.print_config:
        try:
            sys.stdout.write(config_text.whole(TABLE, keys(), config_values(settings)))
        except ConfigError as error:
            parser.error(str(error))
        parser.exit()
    return settings


def _check(parser: argparse.ArgumentParser, given: argparse.Namespace) -> None:
    if given.socket is None:
        parser.error("-p is missing: where is the MTA to connect?")
    if given.no_scanned_by and given.scanned_by is not None:
        parser.error("-x and -X exclude each other")
    if given.backlog is not None and given.backlog < 5:
        parser.error("-b: at least 5")


def _settings(given: argparse.Namespace, scanned_by: str) -> Settings:
    values = dict(vars(given))
    values["mux_socket"] = given.mux_socket or given.spool / MUX_SOCKET_NAME
    values["scanned_by"] = _scanned_by(given, scanned_by)
    values["macros"] = tuple(values.pop("macro") or ())
    for meaningless in ("no_scanned_by", "obsolete", "config", "print_config"):
        del values[meaningless]
    return Settings(**values)
