# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration file: what is refused and where that stands, and that what is written is read back."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defang_common.host import config_text
from defang_common.host.config_file import ConfigError, ConfigFile, Key, Kind, Value

KEYS = [
    Key(name="user", kind=Kind.TEXT, help="who", placeholder="USER"),
    Key(name="spool", kind=Kind.PATH, help="where", placeholder="DIR"),
    Key(name="max-workers", kind=Kind.NUMBER, help="how many", placeholder="N"),
    Key(name="grace", kind=Kind.SECONDS, help="how long", placeholder="SECONDS"),
    Key(name="verbose", kind=Kind.SWITCH, help="more lines"),
    Key(name="macro", kind=Kind.TEXTS, help="more macros", placeholder="NAME"),
    Key(name="socket", kind=Kind.TEXT, help='what "quotes" do', placeholder="SOCK"),
]


def read(spool: Path, text: str) -> ConfigFile:
    path = spool / "defang.toml"
    path.write_text(text)
    return ConfigFile(path, "mux", KEYS)


def test_shared_keys_and_those_of_the_own_table_are_read_and_the_other_table_is_not(spool: Path) -> None:
    shared = 'user = "u"\nspool = "/s"\n[milter]\nunknown = 1\n'
    text = f'{shared}[mux]\nmax-workers = 7\nspool = "/t"\nmacro = ["a"]\ngrace = 2'
    assert read(spool, text).values == {"user": "u", "spool": "/t", "max-workers": 7, "macro": ["a"], "grace": 2}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[mux]\n\nmax-worker = 7\n", "line 3: no key max-worker in [mux]: is max-workers meant?"),
        ("[mux]\nmax_workers = 7\n", "line 2: no key max_workers in [mux]: is max-workers meant?"),
        ("[mux]\nzzz = 7\n", "line 2: no key zzz in [mux]"),
        ("# x\nmax-workers = 7\n", "line 2: no key max-workers: it belongs into the table [mux]"),
        ("usr = 'x'\n", "line 1: no key usr: is user meant?"),
        ("\n[muxx]\n", "line 2: no key muxx: is mux meant?"),
        (
            "zzz = 1\n",
            "line 1: no key zzz; shared are user, spool, group-access, facility, log-to, log-format, and tables",
        ),
        ("mux = 3\n", "line 1: mux is a table: [mux]"),
        ("[mux]\nmacro = [\n 'a',\n 1,\n]\n", "line 5: macro: a list of texts is wanted, not this list"),
        ("[mux]\nmax-workers = 'x'\n", "line 2: max-workers: a whole number is wanted, not the text 'x'"),
        ("mux.max-workers = true\n", "line 1: max-workers: a whole number is wanted, not true"),
        ("[mux]\nmax-workers = 1.5\n", "line 2: max-workers: a whole number is wanted, not the number 1.5"),
        ("[mux]\nverbose = 1\n", "line 2: verbose: true or false is wanted, not the number 1"),
        ("[mux]\nverbose = 1979-05-27\n", "line 2: verbose: true or false is wanted, not 1979-05-27"),
        ("[mux]\nspool = 'x'\n", "line 2: spool: an absolute path is wanted, not the text 'x'"),
        ("[mux]\ngrace = {a = 1}\n", "line 2: grace: a number of seconds is wanted, not a table"),
        ("user = 3\n", "line 1: user: a text is wanted, not the number 3"),
        ("[mux\n", "at line 1, column 5"),
        ("[mux]\nverbose = true\nverbose = true\n", "at line 3"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(spool: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(told)) as caught:
        read(spool, text)
    assert str(caught.value).startswith(str(spool / "defang.toml"))
    assert "\n" not in str(caught.value)


def test_the_place_of_a_key_is_found_whatever_stands_before_it(spool: Path) -> None:
    text = 'user = """\n[mux]\nmax-workers = 1\n"""\n[mux]\n"max-workers" = 2\n'
    assert read(spool, text).place("max-workers").endswith("line 6: max-workers")


def test_a_file_that_cannot_be_read_is_told(spool: Path) -> None:
    with pytest.raises(ConfigError, match="missing: No such file"):
        ConfigFile(spool / "missing", "mux", KEYS)
    (spool / "odd").write_bytes(b"user = '\xff'\n")
    with pytest.raises(ConfigError, match="odd: not UTF-8 at byte 8"):
        ConfigFile(spool / "odd", "mux", KEYS)


VALUES: dict[Kind, st.SearchStrategy[Value]] = {
    Kind.SWITCH: st.booleans(),
    Kind.NUMBER: st.integers(min_value=-(2**63), max_value=2**63 - 1),
    Kind.SECONDS: st.floats(allow_nan=False, allow_infinity=False),
    Kind.TEXT: st.text(),
    Kind.PATH: st.text().map("/{}".format),
    Kind.TEXTS: st.lists(st.text()),
}


@given(st.fixed_dictionaries({key.name: VALUES[key.kind] | st.none() for key in KEYS}))
def test_what_is_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, Value | None]
) -> None:
    path = tmp_path_factory.getbasetemp() / "written.toml"
    path.write_text(config_text.whole("mux", KEYS, values), encoding="utf-8")
    assert ConfigFile(path, "mux", KEYS).values == {name: value for name, value in values.items() if value is not None}


def test_what_toml_cannot_hold_is_an_error() -> None:
    with pytest.raises(ConfigError, match="socket: not UTF-8"):
        config_text.own_part("mux", KEYS[-1:], {"socket": "\udcff"})


def test_keys_without_a_value_are_comments_that_show_what_they_would_take() -> None:
    values = {key.name: None for key in KEYS}
    text = config_text.whole("mux", KEYS, values)
    assert '# who\n# user = "USER"\n' in text
    assert "# how many\n# max-workers = N\n" in text
    assert '# more macros\n# macro = ["NAME"]\n' in text
    assert "# more lines\n# verbose = true\n" in text
