# SPDX-License-Identifier: GPL-3.0-or-later
"""The facts of connection and envelope: `Connection`, `Envelope`, `Recipient`, `Address`.

They come from a request line or from COMMANDS and never change; what a filter wants changed it records by the verbs of
`Envelope`. A missing or unknown value is an empty string, or None where the empty string means something.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Any

from defang_common.wire import commands as wire_commands
from defang_common.wire.requests import NO_QUEUE_ID, UNKNOWN
from defang_common.wire.results import AddRecipient, ChangeSender, DeleteRecipient
from defang_worker.api.headers import HeaderAdditions, QueuedHeaders
from defang_worker.api.journal import Journal
from defang_worker.api.settings import Settings
from defang_worker.api.state import States
from defang_worker.api.words import address_bytes, to_text
from defang_worker.workdir import read_commands

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from defang_common.wire.commands import Commands
    from defang_common.wire.requests import HeloOk, RecipOk, RelayOk, SenderOk
    from defang_worker.checks.check import Check
    from defang_worker.checks.runner import Results

_NOT_TOLD = b"?"
_USUAL = Settings()


class Address(str):
    """An envelope address as given, normally with angle brackets; the null sender is `<>`."""

    __slots__ = ()

    @property
    def bare(self) -> str:
        """Without angle brackets and blanks around."""
        text = self.strip()
        if text.startswith("<") and text.endswith(">"):
            text = text[1:-1]
        return text.strip()

    @property
    def bracketed(self) -> str:
        """With angle brackets."""
        return f"<{self.bare}>"

    @property
    def local_part(self) -> str:
        """What stands before the last `@`; all of it if there is none."""
        bare = self.bare
        return bare.rpartition("@")[0] if "@" in bare else bare

    @property
    def domain(self) -> str:
        """What stands behind the last `@`, in small letters; empty if there is none."""
        bare = self.bare
        return bare.rpartition("@")[2].lower() if "@" in bare else ""


def _known(raw: bytes, unknown: bytes = UNKNOWN) -> str:
    return "" if raw == unknown else to_text(raw)


def _queue_id(raw: bytes) -> str | None:
    return None if raw in (NO_QUEUE_ID, b"") else to_text(raw)


def _texts(raw: list[bytes] | tuple[bytes, ...]) -> tuple[str, ...]:
    return tuple(map(to_text, raw))


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """A client that has connected, and its HELO once it said one. Nothing is known of any message yet."""

    ip: str
    """As text; empty for a client without address, 127.0.0.1 for one on a Unix socket."""
    hostname: str
    """As the MTA gave it: `[ip]` if it does not resolve."""
    client_port: int
    """Its port; 0 if unknown."""
    my_ip: str
    """The address that it connected to; empty if unknown."""
    my_port: int
    """The port that it connected to; 0 if unknown."""
    queue_id: str | None
    """The queue ID; None where there is none yet."""
    helo: str | None = None
    """None at connect; may be empty at HELO, for clients say that too."""
    states: States = field(default_factory=States, repr=False, compare=False)
    settings: Settings = field(default=_USUAL, repr=False, compare=False)
    began_at: float = field(default_factory=monotonic, repr=False, compare=False)
    """When the callback was asked; checks count their time from here."""

    def run_checks(self, *checks: Check[Connection, Any]) -> Results:
        """Asks what these checks ask, side by side, within `Settings.check_budget_s`; their results.

        Raises CheckFailed, which makes a temporary failure, if one with the policy tempfail cannot tell.
        """
        from defang_worker.api import run_checks  # noqa: PLC0415  # for filters that check

        return run_checks.of_connection(self, checks)

    @property
    def state(self) -> dict[Any, Any]:
        """A dictionary of the filter's own that lives as long as the SMTP session: later `envelope.session_state`."""
        return self.states.session

    @classmethod
    def of_request(
        cls, request: RelayOk | HeloOk, states: States | None = None, settings: Settings = _USUAL
    ) -> Connection:
        """The facts in a request."""
        helo: bytes | None = getattr(request, "helo", None)
        return cls(
            ip=_known(request.ip),
            hostname=_known(request.name),
            client_port=int(request.client_port) if request.client_port.isdigit() else 0,
            my_ip=_known(request.my_ip),
            my_port=int(request.my_port) if request.my_port.isdigit() else 0,
            queue_id=_queue_id(request.queue_id),
            helo=None if helo is None else _known(helo),
            states=states or States(),
            settings=settings,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipient:
    """One recipient with the MTA's routing of it, empty where the MTA told nothing."""

    address: Address
    """As the client gave it."""
    esmtp_args: tuple[str, ...] = ()
    """The ESMTP arguments of RCPT."""
    mailer: str = ""
    """The mail server's name for the way of delivery, such as local or esmtp."""
    host: str = ""
    """The next host."""
    addr: str = ""
    """The address there."""

    @classmethod
    def of_commands(cls, line: wire_commands.Recipient) -> Recipient:
        """An accepted recipient of COMMANDS."""
        return cls(
            address=Address(to_text(line.address)),
            esmtp_args=_texts(line.esmtp_args),
            mailer=_known(line.mailer, _NOT_TOLD),
            host=_known(line.host, _NOT_TOLD),
            addr=_known(line.routed_address, _NOT_TOLD),
        )

    @classmethod
    def of_request(cls, request: RecipOk) -> Recipient:
        """The recipient that RCPT asks about."""
        return cls(
            address=Address(to_text(request.recipient)),
            esmtp_args=_texts(request.esmtp_args),
            mailer=_known(request.mailer, _NOT_TOLD),
            host=_known(request.host, _NOT_TOLD),
            addr=_known(request.address, _NOT_TOLD),
        )


class CommandsFile:
    """COMMANDS, read when first needed: most sender and recipient checks need no more than the request."""

    __slots__ = ("_commands", "_directory")

    def __init__(self, directory: str, commands: Commands | None = None) -> None:
        self._directory = directory
        self._commands = commands

    def get(self) -> Commands:
        """What the file says so far; raises OSError or Malformed."""
        if self._commands is None:
            self._commands = wire_commands.decode(read_commands(self._directory), need_end=False)
        return self._commands


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """One mail transaction: who sends what to whom.

    The verbs (`headers`, `add_recipient`, ...) record a wish that is carried out when the message is delivered; at MAIL
    and RCPT it counts only if the callback lets sender or recipient pass.
    """

    client_ip: str
    """The client's address, or the one that a validation header vouches for (`was_relayed`)."""
    client_name: str
    """Its name, or the one that is told with that address."""
    connecting_ip: str
    """The address of who connected in fact."""
    connecting_name: str
    """The name of who connected in fact."""
    helo: str
    """What the client said at HELO."""
    sender: Address
    """The envelope sender; `<>` for the null sender."""
    queue_id: str | None
    """None where the MTA has not told it yet: Postfix does so after the first accepted recipient."""
    was_relayed: bool = False
    """Whether a trusted relay's header field told the client's address."""
    directory: str
    headers: HeaderAdditions
    """Header fields to add; in a scan use the message's `headers`, which can do more."""
    journal: Journal = field(repr=False)
    commands: CommandsFile = field(repr=False)
    tested: Recipient | None = None
    """At RCPT the recipient asked about, which COMMANDS does not know yet."""
    states: States = field(repr=False, compare=False)
    settings: Settings = field(default=_USUAL, repr=False, compare=False)
    began_at: float = field(default_factory=monotonic, repr=False, compare=False)
    """When the callback was asked; checks count their time from here."""

    @classmethod
    def of_request(
        cls,
        request: SenderOk | RecipOk,
        states: States,
        tested: Recipient | None = None,
        settings: Settings = _USUAL,
    ) -> Envelope:
        """The envelope at MAIL, or at RCPT with the recipient asked about."""
        journal = Journal()
        directory = to_text(request.directory)
        ip, name = _known(request.ip), _known(request.name)
        return cls(
            client_ip=ip,
            client_name=name,
            connecting_ip=ip,
            connecting_name=name,
            helo=_known(request.helo),
            sender=Address(_known(request.sender)),
            queue_id=_queue_id(request.queue_id),
            directory=directory,
            headers=QueuedHeaders(journal),
            journal=journal,
            commands=CommandsFile(directory),
            tested=tested,
            states=states,
            settings=settings,
        )

    @classmethod
    def of_commands(
        cls,
        commands: Commands,
        directory: str,
        journal: Journal,
        headers: HeaderAdditions,
        *,
        states: States,
        settings: Settings = _USUAL,
    ) -> Envelope:
        """The envelope of a message that has arrived."""
        ip = to_text(commands.ip)
        name = to_text(commands.hostname) or (f"[{ip}]" if ip else "")
        relayed = None if commands.relayed_ip is None else to_text(commands.relayed_ip)
        return cls(
            client_ip=ip if relayed is None else relayed,
            client_name=name if relayed is None else f"[{relayed}]",
            connecting_ip=ip,
            connecting_name=name,
            helo=to_text(commands.helo),
            sender=Address(to_text(commands.sender)),
            queue_id=_queue_id(commands.queue_id),
            was_relayed=relayed is not None,
            directory=directory,
            headers=headers,
            journal=journal,
            commands=CommandsFile(directory, commands),
            states=states,
            settings=settings,
        )

    @property
    def state(self) -> dict[Any, Any]:
        """A dictionary of the filter's own that lives as long as the message, from MAIL on."""
        return self.states.message

    @property
    def session_state(self) -> dict[Any, Any]:
        """A dictionary of the filter's own that lives as long as the SMTP session: before it `connection.state`."""
        return self.states.session

    @property
    def sender_args(self) -> tuple[str, ...]:
        """The ESMTP arguments of MAIL."""
        return _texts(self.commands.get().sender_args)

    @property
    def recipients(self) -> tuple[Recipient, ...]:
        """The recipients accepted so far; at RCPT the one asked about comes last."""
        accepted = tuple(map(Recipient.of_commands, self.commands.get().recipients))
        return accepted if self.tested is None else (*accepted, self.tested)

    @property
    def macros(self) -> Mapping[str, str]:
        """The MTA's macros as they were at MAIL, names without braces; `defang-milter -a` adds others."""
        return {to_text(name): to_text(value) for name, value in self.commands.get().macros.items()}

    @property
    def transaction_id(self) -> str:
        """The front end's own name for this message, known before any queue ID."""
        return to_text(self.commands.get().transaction_id)

    @property
    def workdir(self) -> Path:
        """The message's working directory. Names in small letters are the filter's own to use."""
        # Imported by the filters that use it: every start of a worker would pay for it.
        from pathlib import Path  # noqa: PLC0415

        return Path(self.directory)

    def run_checks(self, *checks: Check[Envelope, Any]) -> Results:
        """Asks what these checks ask, side by side, within `Settings.check_budget_s`; their results.

        For `filter_sender` and `filter_recipient`; in a scan use that of the message. Raises CheckFailed, which makes a
        temporary failure, if one with the policy tempfail cannot tell.
        """
        from defang_worker.api import run_checks  # noqa: PLC0415  # for filters that check

        return run_checks.of_envelope(self, checks)

    def add_recipient(self, address: str) -> None:
        """Adds an envelope recipient; `recipients` still shows those that came."""
        entry = AddRecipient(address=address_bytes(address))
        if self.journal.guard.allows("Envelope.add_recipient"):
            self.journal.record(entry)

    def delete_recipient(self, address: str) -> None:
        """Removes an envelope recipient, named exactly as in `recipients`."""
        entry = DeleteRecipient(address=address_bytes(address))
        if self.journal.guard.allows("Envelope.delete_recipient"):
            self.journal.record(entry)

    def set_sender(self, address: str) -> None:
        """Changes the envelope sender; the last call counts."""
        entry = ChangeSender(address=address_bytes(address))
        if self.journal.guard.allows("Envelope.set_sender"):
            self.journal.record(entry)
