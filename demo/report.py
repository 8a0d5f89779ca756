# SPDX-License-Identifier: GPL-3.0-or-later
"""The demonstration's output: what the filter decided, and how the message changed, as a reader sees a message.

Words and colors only; nothing here starts or sends anything.
"""

from __future__ import annotations

import os
from typing import TextIO

from defang_worker.trial.diff import changed_lines
from defang_worker.trial.mta_message import (
    AddHeader,
    AddRecipient,
    Change,
    ChangeHeader,
    ChangeSender,
    DeleteRecipient,
    InsertHeader,
    Quarantine,
    ReplaceBody,
)
from defang_worker.trial.shown_changes import printable
from demo.programs import FILTER, Programs
from demo.samples import Sample
from tests.support.mta import Outcome, Verdict

GREEN, RED, YELLOW, BOLD, DIM = "32", "31", "33", "1", "2"
# A changed message is shown on one screen with the others.
MAX_DIFF_LINES = 24
INDENT = "     "


class Page:
    """Writes to a terminal, with colors, or to a file, without."""

    def __init__(self, output: TextIO) -> None:
        self._output = output
        self._colored = output.isatty() and not os.environ.get("NO_COLOR")

    def line(self, text: str = "") -> None:
        """One line, seen at once."""
        print(text, file=self._output, flush=True)

    def opening(self, programs: Programs) -> None:
        """Say what runs, and where."""
        self.line(f"defang-mux and defang-milter run with {FILTER.parent.name}/{FILTER.name}.")
        self.line(f"Milter socket {programs.milter_address}, spool {programs.spool}")
        self.line()

    def sample(self, number: int, sample: Sample, outcome: Outcome, seconds: float) -> None:
        """Verdict, header changes and a diff of one sample."""
        title = self._paint(BOLD, f"{number}. {sample.title}")
        self.line(f"{title}: {self._verdict(outcome)} {self._paint(DIM, f'({seconds * 1000:.0f} ms)')}")
        for change in outcome.changes:
            if description := _describe(change):
                self.line(INDENT + self._paint(GREEN if description.startswith("+") else YELLOW, description))
        if outcome.message is not None:
            self._diff(sample.content, outcome.message.as_bytes())
        if complaint := sample.complaint(outcome):
            self.failure(f"{INDENT}wrong: {complaint}")
        self.line()

    def summary(self, count: int, wrong: int, first_verdict_s: float) -> None:
        """How many samples went as they should, and how long the first one took from the start of the programs."""
        result = f"{count - wrong} of {count} samples got the outcome that they should"
        self.line(f"{self._paint(RED if wrong else GREEN, result)}; the first after {first_verdict_s:.2f} s.")

    def how_to_connect(self, programs: Programs) -> None:
        """The lines for the configuration of an MTA."""
        timeouts = "S:1m;R:1m;E:10m"
        self.line()
        self.line("To send your own mail through it, until you press Ctrl-C:")
        self.line(f"  Sendmail  INPUT_MAIL_FILTER(`defang', `S={programs.milter_address}, F=T, T={timeouts}')")
        self.line(f"  Postfix   smtpd_milters = inet:127.0.0.1:{programs.port}")
        self.line("            milter_default_action = tempfail")
        self.line(f"  Logs      tail -f {programs.directory}/*.log")

    def failure(self, text: str) -> None:
        """A complaint that makes the exit status 1."""
        self.line(self._paint(RED, text))

    def log(self, text: str) -> None:
        """What the programs said."""
        self.line("The programs' logs end with:")
        self.line(text)

    def _verdict(self, outcome: Outcome) -> str:
        if outcome.verdict is Verdict.ACCEPT:
            return self._paint(GREEN, "delivered")
        reply = outcome.reply
        words = f"{reply.code} {_text(reply.dsn)} {_text(reply.text)}" if reply else str(outcome.code)
        return self._paint(RED, f"{outcome.verdict.name.lower()}: {words}")

    def _diff(self, before: bytes, after: bytes) -> None:
        changed = [line for line in changed_lines(before, after, with_header=False) if line != "..."]
        for line in changed[:MAX_DIFF_LINES]:
            color = {"+": GREEN, "-": RED}.get(line[:1], DIM)
            self.line(INDENT + self._paint(color, f"{line[:1]} {printable(line[1:])}"))
        if len(changed) > MAX_DIFF_LINES:
            self.line(f"{INDENT}... {len(changed) - MAX_DIFF_LINES} more lines")

    def _paint(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colored else text


def _describe(change: Change) -> str:
    """A change of header or envelope in one line; nothing for the body, whose diff follows."""
    match change:
        case AddHeader(name=name, value=value) | InsertHeader(name=name, value=value):
            return f"+ {_text(name)}: {_text(value)}"
        case ChangeHeader(name=name, value=b""):
            return f"- {_text(name)}"
        case ChangeHeader(name=name, value=value):
            return f"~ {_text(name)}: {_text(value)}"
        case AddRecipient(address=address):
            return f"+ recipient {_text(address)}"
        case DeleteRecipient(address=address):
            return f"- recipient {_text(address)}"
        case ChangeSender(address=address):
            return f"~ sender {_text(address)}"
        case Quarantine(reason=reason):
            return f"~ quarantined: {_text(reason)}"
        case ReplaceBody():
            return ""


def _text(value: bytes) -> str:
    """Bytes of a message as one line that is safe on a terminal."""
    return value.decode("utf-8", "backslashreplace").replace("\n", " ").encode("unicode_escape").decode("ascii")
