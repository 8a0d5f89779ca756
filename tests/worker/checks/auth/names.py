# SPDX-License-Identifier: GPL-3.0-or-later
"""A resolver that knows what a test tells it, and remembers what it was asked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import dns.rdata

from defang_worker.checks.budget import Deadline
from defang_worker.checks.dns import resolver
from defang_worker.checks.dns.answer import Answer, Question, Status

WAIT_S = 30.0


class KnownNames(resolver.Resolver):
    """Answers from `texts`, TXT records by name; a value of None is a nameserver that does not answer."""

    def __init__(self, texts: dict[str, str | list[str] | None] | None = None) -> None:
        super().__init__("127.0.0.1")
        self.texts = {Question(name): text for name, text in (texts or {}).items()}
        self.absent: set[str] = set()
        """Domains that do not exist; all others do."""
        self.rounds: list[list[str]] = []
        """The names of each round of questions."""

    def answers(self, questions: Iterable[Question], deadline: Deadline) -> Iterator[tuple[Question, Answer]]:
        asked = list(dict.fromkeys(questions))
        self.rounds.append([one.name for one in asked])
        for question in asked:
            yield question, self._answer(question.name) if question.type == "TXT" else self._existence(question.name)

    def _existence(self, name: str) -> Answer:
        return Answer(status=Status.NO_NAME if name in self.absent else Status.NO_DATA)

    def _answer(self, name: str) -> Answer:
        known = self.texts.get(Question(name), [])
        if known is None:
            return Answer.unknown("no answer in time")
        lines = [known] if isinstance(known, str) else known
        if not lines:
            return Answer(status=Status.NO_NAME)
        records = tuple(dns.rdata.from_text("IN", "TXT", _quoted(line)) for line in lines)
        return Answer(status=Status.FOUND, records=records, ttl_s=300)


def _quoted(text: str) -> str:
    """As a master file has it: pieces of 255 bytes at most."""
    return " ".join(f'"{text[at : at + 255]}"' for at in range(0, len(text), 255)) or '""'
