# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the manual pages, man8/COMMAND.8, from the tables that the programs take their options from.

`scripts.install` has the installed Python run this. The pages say what can be typed; what it is good for stands in the
documents, to which they point.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from defang_common import __version__
from defang_milter import settings as milter_settings
from defang_mux import ctl
from defang_mux import settings as mux_settings
from defang_mux.sockets import control
from defang_service.__main__ import WORDS
from defang_service.variables import VARIABLES
from defang_worker import command_line
from scripts.install import COMMANDS

_WIDTH_COLUMNS = "76"


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page: `sections` has a heading with its body in troff's language; `documents` are names of files of docs/."""

    name: str
    does: str
    synopsis: str
    description: str
    sections: tuple[tuple[str, str], ...]
    documents: tuple[str, ...]

    def text(self, share: str) -> str:
        """The page in troff's language (man(7)); `share` is where the documents are installed."""
        lies = "\n".join(f".br\n{_escaped(f'{share}/docs/{name}')}" for name in self.documents)
        others = ", ".join(f"{_bold(name)}(8)" for name in COMMANDS if name != self.name)
        body = "\n".join(f".SH {heading}\n{text}" for heading, text in self.sections)
        return (
            f'.TH {_escaped(self.name.upper())} 8 "" "Defang {__version__}"\n'
            f".SH NAME\n{_escaped(self.name)} \\- {_escaped(self.does)}\n"
            f".SH SYNOPSIS\n{_bold(self.name)} {_escaped(self.synopsis)}\n"
            f".SH DESCRIPTION\n{_escaped(self.description)}\n{body}\n"
            f".SH SEE ALSO\n{others}\n{lies}\n"
        )


def _escaped(text: str) -> str:
    """Text as troff is to show it: nothing in it is a request."""
    safe = text.replace("\\", "\\e").replace("-", "\\-").replace("`", "\\(ga").replace("'", "\\(aq")
    return "\n".join(f"\\&{line}" if line.startswith(".") else line for line in safe.split("\n"))


def _bold(text: str) -> str:
    return f"\\fB{_escaped(text)}\\fR"


def _terms(rows: Iterable[tuple[str, str]]) -> str:
    return "\n".join(f".TP\n{term}\n{_escaped(text)}" for term, text in rows)


def _options(rows: Iterable[tuple[str, str, str, str]]) -> str:
    """Out of letter, long name, argument and help of each option."""
    return _terms(
        (
            ", ".join(
                _bold(word) + (f" \\fI{_escaped(argument)}\\fR" if argument else "")
                for word in (letter and f"-{letter}", f"--{name}")
                if word
            ),
            text,
        )
        for letter, name, argument, text in rows
    )


def _milter() -> Page:
    rows = ((row.letter, row.name, row.argument, row.help) for row in milter_settings.OPTIONS)
    return Page(
        name="defang-milter",
        does="front end of the mail filter Defang",
        synopsis="-p CONNECTION [options]",
        description="Takes mail from Sendmail or Postfix by the milter protocol, has it filtered by a worker of "
        "defang-mux, and does what the filter has decided.",
        sections=(("OPTIONS", _options(rows)),),
        documents=("options.md", "configuration.md", "operations.md"),
    )


def _mux() -> Page:
    rows = ((row.letter, row.name, row.placeholder, row.help) for row in mux_settings.OPTIONS)
    return Page(
        name="defang-mux",
        does="multiplexor of the mail filter Defang",
        synopsis="[-U USER] [-F FILTER] [options]",
        description="Keeps workers, which run the site's filter, and hands requests to them. "
        "SIGHUP has it read the filter anew.",
        sections=(("OPTIONS", _options(rows)),),
        documents=("options.md", "configuration.md", "operations.md"),
    )


def _control() -> Page:
    rows = ((row.letter, row.name, row.placeholder, row.help) for row in ctl.OPTIONS)
    words = ((_bold(row.usage), row.words) for row in control.HELP)
    return Page(
        name="md-mx-ctrl",
        does="ask a running multiplexor",
        synopsis="[-s PATH] [-i] [command]",
        description="Asks defang-mux, or MIMEDefang's multiplexor, one question, and prints the answer.",
        sections=(("OPTIONS", _options(rows)), ("COMMANDS", _terms(words))),
        documents=("operations.md",),
    )


def _service() -> Page:
    words = ((_bold(word), text) for word, text in WORDS.items())
    variables = (
        (_bold(row.name), f"{row.meaning} ({row.default or row.kind.value})".replace("`", "")) for row in VARIABLES
    )
    return Page(
        name="defang-service",
        does="start and stop milter and multiplexor of Defang",
        synopsis="WORD",
        description="Both daemons as one service, for start scripts and units, which hand it the variables of the "
        "defaults file in its environment.",
        sections=(("WORDS", _terms(words)), ("ENVIRONMENT", _terms(variables))),
        documents=("install.md",),
    )


def _worker() -> Page:
    return Page(
        name="defang-worker",
        does="run or try a site's mail filter",
        synopsis="[-f FILE] MODE ...",
        description="A multiplexor starts this program; by hand, a filter is tried with it.",
        sections=(("USAGE", f".nf\n{_escaped(command_line.parser().format_help().rstrip())}\n.fi"),),
        documents=("writing-filters.md", "filter-reference.md", "testing-filters.md", "filters/README.md"),
    )


def pages() -> tuple[Page, ...]:
    """All of them."""
    os.environ["COLUMNS"] = _WIDTH_COLUMNS
    return (_milter(), _mux(), _service(), _worker(), _control())


def main(directory: str, share: str) -> None:
    """Writes the pages into a directory, which is made."""
    Path(directory).mkdir(parents=True)
    for page in pages():
        Path(directory, f"{page.name}.8").write_text(page.text(share))


if __name__ == "__main__":
    main(*sys.argv[1:])
