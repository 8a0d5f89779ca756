# SPDX-License-Identifier: GPL-3.0-or-later
"""`CallAhead`: does the server behind this one take mail for the recipient? To be asked at RCPT.

Who accepts mail that the next server refuses has to send bounces, mostly to people who never wrote.
"""

from __future__ import annotations

import re
import socket
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from defang_worker.checks import subject as facts
from defang_worker.checks.callahead import loop
from defang_worker.checks.callahead.caller import Caller
from defang_worker.checks.callahead.dialogue import Question, introduced
from defang_worker.checks.callahead.memory import CallMemory
from defang_worker.checks.callahead.result import CallAheadResult, judged
from defang_worker.checks.callahead.servers import Place, Server, place
from defang_worker.checks.check import Check, Feature
from defang_worker.checks.faults import CouldNotTell
from defang_worker.checks.outcome import Outcome

if TYPE_CHECKING:
    import ssl

    from defang_worker.api.envelope import Envelope, Recipient
    from defang_worker.checks.budget import Deadline
    from defang_worker.checks.callahead.tls import TlsUse
    from defang_worker.checks.check import Job
    from defang_worker.checks.circuit import Circuit
    from defang_worker.checks.dns.resolver import Resolver

__all__ = ["CallAhead"]

# Sendmail gives a milter ten seconds for an answer at RCPT unless told otherwise.
_TIMEOUT_S: Final = 8.0
# Where mail servers take mail: SMTP, and submission with and without STARTTLS.
_OWN_PORTS: Final = (25, 465, 587)


class _ServersCheck(Check["Envelope", CallAheadResult]):
    """Whom to call, and how."""

    def __init__(
        self,
        servers: str | Sequence[str] | Callable[[Recipient], str | Sequence[str]],
        *,
        name: str = "call-ahead",
        tls: TlsUse | str | ssl.SSLContext = "may",
        own_ports: Sequence[int] = _OWN_PORTS,
        resolver: Resolver | str | Sequence[str] | None = None,
        timeout_s: float = _TIMEOUT_S,
        **limits: Any,
    ) -> None:
        super().__init__(name, timeout_s=timeout_s, **limits)
        self.servers: Final = servers if callable(servers) else _places(servers)
        if not self.servers:
            raise ValueError(f"{name}: there is no server to call")
        self.caller: Final = Caller(tls=tls, own_ports=own_ports, resolver=resolver)
        if isinstance(self.servers, tuple):
            self._require_domains(self.servers)
            if any(one.is_domain for one in self.servers):
                self.caller.require_resolver()  # what is missing shows when the filter is loaded

    def _require_domains(self, places: Sequence[Place]) -> None:
        """Raises ValueError for servers that cannot be called so: DANE is about the mail hosts of a domain."""
        if self.caller.is_for_domains_only and not all(one.is_domain for one in places):
            raise ValueError(f'{self.name}: tls="dane" is for "mx:domain"')

    @property
    def circuits(self) -> Sequence[Circuit]:
        """Those of the servers."""
        return self.caller.circuits

    def gave_up(self, reason: str) -> None:
        """Counts as a fault of the server that was being asked."""
        self.caller.gave_up(reason)

    def features(self, deadline: Deadline) -> list[Feature]:
        """Each server, and how it greets; of those that are chosen for each recipient nothing can be said."""
        if isinstance(self.servers, tuple):
            return [self._feature(one, deadline) for one in self.servers]
        return [Feature(kind=type(self).__name__, name=self.name, address="one for each recipient")]

    def _feature(self, one: Place, deadline: Deadline) -> Feature:
        kind = type(self).__name__
        try:
            server = self.caller.servers([one], "", deadline)[0]
            version = introduced(server, socket.gethostname(), deadline)
        except (CouldNotTell, OSError) as fault:
            detail = str(fault) or type(fault).__name__
            return Feature(kind=kind, name=self.name, address=str(one), is_reachable=False, detail=detail)
        return Feature(kind=kind, name=self.name, address=str(one), is_reachable=True, version=version)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """One call: whom, what, and what tells that it would come back."""

    places: tuple[Place, ...]
    question: Question
    client_ip: str
    daemon_port: str

    @property
    def key(self) -> str:
        """What the answer depends on."""
        where = " ".join(map(str, self.places))
        # None of them has a line feed.
        return f"{where}\n{self.question.sender}\n{_with_small_domain(self.question.recipient)}"


class CallAhead(_ServersCheck):
    """Does the server take mail from the sender to the recipient?

    `servers` is host:port, an address, or "mx:domain" for the hosts of its MX records; several, of which the first that
    answers decides; or a function that gets the recipient and gives these, or "" for one that needs no call. `sender`
    and `helo` are what the call says, or functions of the envelope; unless told otherwise the sender is that of the
    envelope, and HELO has this host's name. `tls` is "never", "may", "must", which verifies the certificate, "dane" for
    domains, or a context, which verifies it by its own rules.

    `memory` keeps answers: a `CallMemory`, or the path of its file. `permanent` is a pattern for texts of temporary
    refusals that are meant for good. This host itself is never called at `own_ports`, nor at the port where it took the
    client, and a server that is the client itself only with `calls_client`.
    """

    result_type = CallAheadResult

    def __init__(
        self,
        servers: str | Sequence[str] | Callable[[Recipient], str | Sequence[str]],
        *,
        sender: str | Callable[[Envelope], str] = facts.sender,
        helo: str | Callable[[Envelope], str] = "",
        memory: CallMemory | str | None = None,
        permanent: str = "",
        calls_client: bool = False,
        **more: Any,
    ) -> None:
        super().__init__(servers, **more)
        self.sender: Final = sender
        self.helo: Final = helo
        self.memory: Final = CallMemory(memory) if isinstance(memory, str) else memory
        self.permanent: Final = re.compile(permanent, re.IGNORECASE) if permanent else None
        self.calls_client: Final = calls_client

    def prepare(self, subject: Envelope) -> Job[CallAheadResult] | CallAheadResult:
        """Takes sender, recipient, and whom to call for it; raises TypeError if no recipient is asked about."""
        recipient = getattr(subject, "tested", None)
        if recipient is None:
            raise TypeError(f"{self.name} asks about a recipient: it is for filter_recipient")
        try:
            places = self.servers if isinstance(self.servers, tuple) else _places(self.servers(recipient))
            self._require_domains(places)
            if not places:
                return self.result(Outcome.NOT_APPLICABLE, "no server to call")  # type: ignore[no-any-return]
            asked = _Asked(
                places=places,
                question=self._question(subject, recipient),
                client_ip=subject.connecting_ip,
                daemon_port=subject.macros.get("daemon_port", ""),
            )
        except (CouldNotTell, ValueError) as fault:
            return self.unknown(str(fault))  # type: ignore[no-any-return]  # of this check's own type
        return lambda deadline: self._called(asked, deadline)

    def _question(self, subject: Envelope, recipient: Recipient) -> Question:
        depth = loop.depth_of(subject.sender_args) + 1
        if depth > loop.MAX_DEPTH:
            raise CouldNotTell("loop: servers that call one another")
        own_name = subject.macros.get("j") or socket.gethostname()
        return Question(
            sender=_bare(self.sender(subject) if callable(self.sender) else self.sender),
            recipient=recipient.address.bare,
            helo=(self.helo(subject) if callable(self.helo) else self.helo) or own_name,
            own_name=own_name,
            depth=depth,
        )

    def _called(self, asked: _Asked, deadline: Deadline) -> CallAheadResult:
        told, trouble = self._remembered(asked.key, deadline)
        if told is None:
            servers = self.caller.servers(asked.places, asked.daemon_port, deadline)
            if not self.calls_client and any(_is_client(server, asked.client_ip) for server in servers):
                return self.result(Outcome.NOT_APPLICABLE, "the client is that server")  # type: ignore[no-any-return]
            answer = self.caller.answer(servers, asked.question, deadline)
            told = judged(answer, asked.question.recipient, self.permanent)
            trouble = trouble or self._remember(asked.key, told, deadline)
        if trouble:
            told["detail"] += f" (no memory: {trouble})"
        return self.result(**told)  # type: ignore[no-any-return]  # of this check's own type

    def _remembered(self, key: str, deadline: Deadline) -> tuple[dict[str, Any] | None, str]:
        """What is remembered, and what is wrong with the memory: without it the server is asked."""
        if self.memory is None:
            return None, ""
        try:
            return self.memory.recall(key, deadline), ""
        except (sqlite3.Error, OSError) as fault:
            return None, str(fault) or type(fault).__name__

    def _remember(self, key: str, told: dict[str, Any], deadline: Deadline) -> str:
        """Keeps it, and gives what is wrong if that fails: the answer is there all the same."""
        try:
            if self.memory is not None:
                self.memory.remember(key, told, deadline)
        except (sqlite3.Error, OSError) as fault:
            return str(fault) or type(fault).__name__
        return ""


def _places(texts: str | Sequence[str]) -> tuple[Place, ...]:
    return tuple(place(text) for text in ([texts] if isinstance(texts, str) else texts) if text)


def _bare(address: str) -> str:
    return address.strip().removeprefix("<").removesuffix(">").strip()


def _with_small_domain(address: str) -> str:
    local, at, domain = address.rpartition("@")
    return f"{local}{at}{domain.lower()}"


def _is_client(server: Server, client_ip: str) -> bool:
    # On one host many programs speak SMTP: there the port tells.
    return loop.same_address(server.ip, client_ip) and not loop.is_this_host(server.ip)
