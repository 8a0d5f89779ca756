# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings as the text of a configuration file, which says the same when it is read (`config_file`). Pure.

For `--print-config`, and for the example in docs/configuration.md.
"""

from collections.abc import Iterable, Mapping
from typing import assert_never

from defang_common.host.config_file import SHARED, ConfigError, Key, Kind, Value


def whole(table: str, keys: Iterable[Key], values: Mapping[str, Value | None]) -> str:
    """The file of one program. A key without a value is a comment."""
    keys = list(keys)
    return f"{shared_part(keys, values)}\n{own_part(table, keys, values)}"


def shared_part(keys: Iterable[Key], values: Mapping[str, Value | None]) -> str:
    """What stands above the tables."""
    return "".join(_entry(key, values[key.name]) for key in keys if key.name in SHARED)


def own_part(table: str, keys: Iterable[Key], values: Mapping[str, Value | None]) -> str:
    """The program's table."""
    return f"[{table}]\n" + "".join(_entry(key, values[key.name]) for key in keys if key.name not in SHARED)


def _entry(key: Key, value: Value | None) -> str:
    if value is None:
        return f"# {key.help}\n# {key.name} = {_placeholder(key)}\n"
    return f"# {key.help}\n{key.name} = {_written(key, value)}\n"


def _placeholder(key: Key) -> str:
    match key.kind:
        case Kind.SWITCH:
            return "true"
        case Kind.NUMBER | Kind.SECONDS:
            return key.placeholder
        case Kind.TEXT | Kind.PATH:
            return f'"{key.placeholder}"'
        case Kind.TEXTS:
            return f'["{key.placeholder}"]'
        case _:
            assert_never(key.kind)


def _written(key: Key, value: Value) -> str:
    match value:
        case bool():
            return str(value).lower()
        case int() | float():
            return str(value)
        case str():
            return _string(key, value)
        case list():
            return f"[{', '.join(_string(key, one) for one in value)}]"
        case _:
            assert_never(value)


def _string(key: Key, text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ConfigError(f"{key.name}: not UTF-8, and so not to be written in TOML: {text!r}") from None
    import json  # noqa: PLC0415  # for the one command that prints a file

    # TOML's strings are JSON's, but that DEL has to be escaped.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
