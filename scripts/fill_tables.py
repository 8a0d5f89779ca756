# SPDX-License-Identifier: GPL-3.0-or-later
"""Fill the tables in protocol.md and the documents of docs/ from the code that they describe.

A document marks each by `<!-- table: NAME -->` and `<!-- end of table -->`; what stands between is replaced.
`make docs` writes; with `--check` nothing is written, and the exit status says whether a document is out of date. The
names are the keys of TABLES.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from defang_common.host import config_text
from defang_common.wire import commands, requests, results
from defang_milter import command_line as milter_command_line
from defang_milter import settings as milter_settings
from defang_mux import command_line as mux_command_line
from defang_mux import ctl
from defang_mux import settings as mux_settings
from defang_mux.pool import state
from defang_service.variables import VARIABLES, Kind
from defang_worker.api.stages import VERBS, Stage
from scripts import filter_reference

ROOT = Path(__file__).parent.parent
DOCUMENTS = [
    ROOT / "protocol.md",
    *(
        ROOT / "docs" / f"{name}.md"
        for name in ("architecture", "configuration", "install", "options", "writing-filters", "filter-reference")
    ),
]
_BLOCK = re.compile(r"(<!-- table: ([a-z-]+) -->\n).*?(<!-- end of table -->)", re.DOTALL)


def fill(document: str) -> str:
    """The document with every marked table made anew. Raises KeyError for a name that is not in TABLES."""
    return _BLOCK.sub(lambda match: f"{match[1]}{TABLES[match[2]]()}\n{match[3]}", document)


def _markdown(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    heads = list(heads)
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _first_sentence(record: Callable[..., object]) -> str:
    return (record.__doc__ or "").strip().partition("\n")[0].rstrip(".")


def _code(word: bytes | str) -> str:
    text = word.decode("ascii") if isinstance(word, bytes) else word
    return f"`{text}`" if text else ""


def _commands() -> str:
    return _markdown(
        ["Letter", "Words", "Meaning", "If empty"],
        (
            [_code(row.letter), " ".join(map(_code, row.words)), row.meaning, _code(row.if_empty or "")]
            for row in commands.TABLE
        ),
    )


def _results() -> str:
    return _markdown(
        ["Letter", "Words", "Meaning"],
        (
            [
                _code(row.letter),
                " ".join(f"[{_code(field.name)}]" if field.optional else _code(field.name) for field in row.fields),
                _first_sentence(row.record),
            ]
            for row in results.TABLE
        ),
    )


def _requests() -> str:
    return _markdown(
        ["Word", "Followed by", "If empty", "Meaning"],
        (
            [
                _code(row.word),
                " ".join([*(_code(field.name) for field in row.fields), *(["ESMTP arguments"] if row.esmtp else [])]),
                " ".join(_code(field.if_empty) for field in row.fields),
                _first_sentence(row.record),
            ]
            for row in requests.TABLE
        ),
    )


def _worker_states() -> str:
    """A diagram in Mermaid's language, which forges draw and people can read."""
    arrows = [
        f"    {old.name} --> {new.name}" for old, following in state.TRANSITIONS.items() for new in sorted(following)
    ]
    return "\n".join(["```mermaid", "stateDiagram-v2", f"    [*] --> {state.State.STOPPED.name}", *arrows, "```"])


def _options(rows: Iterable[tuple[str, str, str, str]]) -> str:
    """A table out of letter, long name, argument and help of each option."""
    return _markdown(
        ["Letter", "Long name", "Meaning"],
        (
            [_code(letter and f"-{letter}"), _code(f"--{name} {argument}".rstrip()), text]
            for letter, name, argument, text in rows
        ),
    )


def _milter_options() -> str:
    return _options((row.letter, row.name, row.argument, row.help) for row in milter_settings.OPTIONS)


def _mux_options() -> str:
    return _options((row.letter, row.name, row.placeholder, row.help) for row in mux_settings.OPTIONS)


def _control_options() -> str:
    return _options((row.letter, row.name, row.placeholder, row.help) for row in ctl.OPTIONS)


def _variables() -> str:
    return _markdown(
        ["Variable", "Value", "`defang-mux`", "`defang-milter`", "Meaning"],
        (
            [
                _code(row.name),
                _code(row.default) or row.kind.value,
                *("" if row.kind is Kind.EXTRA else _code(letter and f"-{letter}") for letter in (row.mux, row.milter)),
                row.meaning,
            ]
            for row in VARIABLES
        ),
    )


# Only what has to be said, and what would tell of this machine.
_EXAMPLE_MILTER = ("-U", "defang", "-p", "unix:/var/spool/MIMEDefang/mimedefang.sock")
_EXAMPLE_MUX = ("-U", "defang", "-f", "/usr/local/bin/defang-worker", "-F", "/etc/mail/defang-filter.py")


def _example_config() -> str:
    """All keys of both programs, with their defaults."""
    parsed = mux_command_line.parse(list(_EXAMPLE_MUX))
    assert isinstance(parsed, mux_command_line.Parsed)
    mux = (mux_command_line.keys(), mux_command_line.config_values(parsed.settings))
    milter = (
        milter_command_line.keys(),
        milter_command_line.config_values(milter_command_line.parse(_EXAMPLE_MILTER)),
    )
    shared = config_text.shared_part(*milter)
    tables = (config_text.own_part("milter", *milter), config_text.own_part("mux", *mux))
    return "```toml\n" + "\n".join([shared, *tables]) + "```"


# Callbacks that stand in one column of the table of stages; the first tells for all of them.
_STAGE_COLUMNS = (
    ("`filter_relay`, `filter_helo`", Stage.RELAY),
    ("`filter_sender`, `filter_recipient`", Stage.SENDER),
    ("`filter_begin` to `filter_end`", Stage.BEGIN),
    ("`filter_wrapup`", Stage.WRAPUP),
)


def _stages() -> str:
    """Verbs of one object and with the same stages in one row."""
    rows: dict[tuple[str, frozenset[Stage]], list[str]] = {}
    for name, allowed in VERBS.items():
        owner, _, verb = name.partition(".")
        rows.setdefault((owner, allowed), []).append(verb)
    return _markdown(
        ["Of", "Verbs", *(head for head, _ in _STAGE_COLUMNS)],
        (
            [
                f"`{owner}`",
                ", ".join(map(_code, verbs)),
                *("yes" if one in allowed else "" for _, one in _STAGE_COLUMNS),
            ]
            for (owner, allowed), verbs in rows.items()
        ),
    )


TABLES: dict[str, Callable[[], str]] = {
    "commands": _commands,
    "results": _results,
    "requests": _requests,
    "worker-states": _worker_states,
    "milter-options": _milter_options,
    "mux-options": _mux_options,
    "control-options": _control_options,
    "example-config": _example_config,
    "stages": _stages,
    "filter-reference": filter_reference.reference,
    "variables": _variables,
}


def main() -> int:
    """Write or check all documents; 1 if one is out of date in a check."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args().check
    stale = 0
    for path in DOCUMENTS:
        old = path.read_text()
        new = fill(old)
        if new == old:
            continue
        stale += 1
        print(f"{path.relative_to(ROOT)}: {'out of date; make docs repairs it' if check else 'written'}")
        if not check:
            path.write_text(new)
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
