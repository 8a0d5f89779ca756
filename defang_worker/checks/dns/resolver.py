# SPDX-License-Identifier: GPL-3.0-or-later
"""`Resolver`: asks nameservers, many questions at a time, and remembers what they said. All DNS checks share one.

It asks recursive nameservers, as a program's resolver does; those find the answer. Called from the threads of checks.
"""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Final

from defang_worker.checks.dns.answer import Answer, Question, Status
from defang_worker.checks.dns.cache import AnswerCache
from defang_worker.checks.dns.exchange import Exchange
from defang_worker.checks.dns.nameserver import Nameserver, configured, is_configured_as_trusted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from defang_worker.checks.budget import Deadline
    from defang_worker.checks.circuit import Circuit

__all__ = ["Resolver", "shared_resolver"]


class Resolver:
    """Asks `nameservers` (addresses, with a port of their own or `port`); those of /etc/resolv.conf if there are none.

    Raises ValueError for what is no nameserver's address. It may be used by many threads. `is_trusted` tells whether
    what the nameservers say about DNSSEC counts. Unless told otherwise it does if all of them are on this host, or if
    /etc/resolv.conf says so of its own (trust-ad): anybody on the way to another one could say the same.
    """

    def __init__(
        self, nameservers: str | Sequence[str] = (), *, port: int = 53, is_trusted: bool | None = None
    ) -> None:
        given = [nameservers] if isinstance(nameservers, str) else list(nameservers)
        self._servers = [Nameserver(address, port) for address in given or configured()]
        if is_trusted is None:
            is_trusted = all(server.is_loopback for server in self._servers)
            is_trusted = is_trusted or (not given and is_configured_as_trusted())
        self.is_trusted: Final = is_trusted
        """Whether an answer may be authentic at all."""
        self._cache = AnswerCache()

    @property
    def nameservers(self) -> tuple[str, ...]:
        """The addresses of those that are asked."""
        return tuple(server.host for server in self._servers)

    @property
    def circuits(self) -> Sequence[Circuit]:
        """Their states: one that cannot be reached is left alone for a while."""
        return [server.circuit for server in self._servers]

    def ask(self, name: str, type: str, deadline: Deadline) -> Answer:  # noqa: A002  # the word of the field
        """The answer to one question."""
        return self.ask_all([Question(name, type)], deadline)[0]

    def ask_all(self, questions: Sequence[Question], deadline: Deadline) -> list[Answer]:
        """The answers to all questions, in their order; those that did not come by the deadline are unknown."""
        known = dict(self.answers(questions, deadline))
        return [known[question] for question in questions]

    def probe(self, deadline: Deadline) -> Answer:
        """An answer that is known if any nameserver works; never a remembered one."""
        ((_, answer),) = self._asked([Question("", "NS")], deadline)
        return answer

    def answers(self, questions: Iterable[Question], deadline: Deadline) -> Iterator[tuple[Question, Answer]]:
        """Each question and its answer, as they come. Who has enough may stop: late answers then reach nobody."""
        now = time.monotonic()
        to_ask = []
        for question in dict.fromkeys(questions):
            answer = self._cache.get(question, now) or _impossible(question)
            if answer is None:
                to_ask.append(question)
            else:
                yield question, answer
        if to_ask:
            yield from self._asked(to_ask, deadline)

    def _asked(self, questions: list[Question], deadline: Deadline) -> Iterator[tuple[Question, Answer]]:
        now = time.monotonic()
        servers = [server for server in self._servers if server.circuit.may_try(now)]
        if not servers:
            answer = Answer.unknown(f"not asked: {self._servers[0].circuit.reason}")
            yield from ((question, answer) for question in questions)
            return
        with closing(Exchange(questions, servers)) as exchange:
            for question, told in exchange.answers(deadline):
                answer = told if self.is_trusted or not told.is_authentic else replace(told, is_authentic=False)
                self._cache.put(question, answer, time.monotonic())
                yield question, answer


def _impossible(question: Question) -> Answer | None:
    """The answer to what cannot be asked: a name that no domain can have does not exist."""
    try:
        question.dns_name  # noqa: B018  # raises
    except ValueError as fault:
        return Answer(status=Status.NO_NAME, reason=str(fault))
    return None


def shared_resolver(nameservers: str | Sequence[str] = ()) -> Resolver:
    """The one of this process that asks these nameservers, or those of /etc/resolv.conf: checks share what it knows."""
    return _shared((nameservers,) if isinstance(nameservers, str) else tuple(nameservers))


@cache
def _shared(nameservers: tuple[str, ...]) -> Resolver:
    return Resolver(nameservers)
