# SPDX-License-Identifier: GPL-3.0-or-later
"""`call`: asks one server by SMTP (RFC 5321) whether it takes mail for a recipient, and leaves before DATA.

Not smtplib: its time limits are for each read, so that a server that dribbles holds it for ever, and it takes whatever
has come already for the reply to its next command. Here all of a call keeps one deadline, and a reply before its
command is a fault.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Self, cast

from defang_worker.checks.callahead.loop import is_this_host, mark
from defang_worker.checks.callahead.reply import CLOSING, Reply, read
from defang_worker.checks.callahead.tls import Tls, TlsUse
from defang_worker.checks.faults import CouldNotTell, ServiceFault
from defang_worker.checks.stream import Stream

if TYPE_CHECKING:
    import ssl

    from defang_worker.checks.budget import Deadline
    from defang_worker.checks.callahead.servers import Server

__all__ = ["Answer", "Command", "Question", "call", "introduced"]

# RFC 5321 has 512 for a line of a reply; some servers tell more.
_MAX_LINE_BYTES: Final = 4096
# The answer is there already: a server that says no good-bye is not to cost more.
_QUIT_WAIT_S: Final = 1.0
# RFC 5321, section 4.2.2, and 4.1.1.11: of a server that offers DSN and does not know its words.
_BAD_PARAMETER: Final = frozenset({501, 504, 555})
_CONTROL: Final = re.compile(r"[\0-\x1f\x7f]")


class Command(StrEnum):
    """Whose reply is the answer."""

    MAIL = "MAIL"
    RCPT = "RCPT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked; addresses without brackets, the null sender empty. Raises CouldNotTell for control characters."""

    sender: str
    recipient: str
    helo: str
    own_name: str = ""
    """This host's name: a server that says that it is its own is this host."""
    depth: int = 1
    """How many servers have called one another for this, this call counted."""

    def __post_init__(self) -> None:
        for text in (self.sender, self.recipient, self.helo):
            if _CONTROL.search(text):
                raise CouldNotTell(f"a control character in {text!r:.100}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the server said: to RCPT, or to MAIL if it refused that."""

    command: Command
    reply: Reply
    server: Server
    tls: str = ""
    """The version of TLS; empty for a call in clear."""
    note: str = ""
    """Why it was in clear although TLS was offered."""


class _TlsFailed(ServiceFault):
    """TLS was offered, and did not come about."""


class _Connection:
    """A connection to a server that has greeted and knows who is there; a context that closes it."""

    def __init__(self, server: Server, question: Question, tls: Tls, deadline: Deadline) -> None:
        self._server = server
        self._helo = question.helo
        self._own_name = question.own_name.lower()
        self._deadline = deadline
        self.tls = ""
        self.note = ""
        self._stream = Stream.connect(server.address, deadline)
        try:
            self.greeting = self._greeted()
            self.extensions = self._hello()
            if tls.use is not TlsUse.NEVER:
                self._secure(tls)
        except BaseException:
            self._stream.__exit__()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.__exit__()

    def ask(self, command: str) -> Reply:
        """The reply to a command; raises ServiceFault for one that came too soon, or that closes the connection."""
        if self._stream.has_answer:
            raise ServiceFault("talked out of turn, or closed the connection")
        self._stream.send(command.encode("utf-8", "surrogateescape") + b"\r\n")
        return self._reply()

    def leave(self) -> None:
        """Says QUIT. Raises ServiceFault if what comes then is a reply to something else: all before it may be, too."""
        try:
            self._stream.hurry(_QUIT_WAIT_S)
            self._stream.send(b"QUIT\r\n")
            line = self._stream.read_until(b"\n", at_most=_MAX_LINE_BYTES)
        except (OSError, ServiceFault):
            return  # it said what was wanted, and is gone
        if not line.startswith((b"2", b"421")):
            raise ServiceFault(f"replied to QUIT with {line[:60]!r}")

    def _reply(self) -> Reply:
        reply = read(lambda: self._stream.read_until(b"\n", at_most=_MAX_LINE_BYTES))
        if reply.code == CLOSING:
            raise ServiceFault(str(reply))
        return reply

    def _greeted(self) -> Reply:
        greeting = self._reply()
        if greeting.code != 220:
            raise ServiceFault(f"greeted with {greeting}")
        self._refuse_ourselves(greeting)
        return greeting

    def _hello(self) -> dict[str, str]:
        """The extensions, by their keyword; none of a server that knows only HELO."""
        reply = self.ask(f"EHLO {self._helo}")
        if reply.kind == 5:
            reply = self.ask(f"HELO {self._helo}")
            if reply.kind == 2:
                return {}
        if reply.kind != 2:
            raise ServiceFault(f"replied to {self._helo} with {reply}")
        self._refuse_ourselves(reply)
        words = [line.partition(" ") for line in reply.lines[1:]]
        return {keyword.upper(): values for keyword, _, values in words}

    def _refuse_ourselves(self, reply: Reply) -> None:
        name = reply.lines[0].partition(" ")[0]
        # Several servers of one host may have one name: of this host, the port tells.
        if self._own_name and name.lower() == self._own_name and not is_this_host(self._server.ip):
            raise CouldNotTell(f"loop: {self._server} says that it is {name}, as this host does")

    def _secure(self, tls: Tls) -> None:
        """STARTTLS, as far as it is wanted and offered."""
        is_must = tls.use is TlsUse.MUST
        if "STARTTLS" not in self.extensions:
            if is_must:
                raise ServiceFault("offers no STARTTLS")
            return
        try:
            reply = self.ask("STARTTLS")
            if reply.code == 220:
                self._start_tls(tls)
                return
        except (OSError, ServiceFault) as fault:
            raise _TlsFailed(f"STARTTLS failed: {str(fault) or type(fault).__name__}") from fault
        if is_must:
            raise ServiceFault(f"replied to STARTTLS with {reply}")
        self.note = f"STARTTLS: {reply}"

    def _start_tls(self, tls: Tls) -> None:
        assert tls.context is not None
        # What came before TLS counts for nothing in it (RFC 3207, section 4.2), and here not even as an error.
        if self._stream.has_answer:
            raise ServiceFault("talked out of turn")
        # Where a call in clear may follow, there has to be time for one.
        share = 1.0 if tls.use is TlsUse.MUST else 0.5
        name = tls.server_name or self._server.name
        self._stream.start_tls(tls.context, name, at_most_s=self._deadline.left_s() * share)
        if tls.verify is not None:
            tls.verify(cast("ssl.SSLSocket", self._stream.socket))
        self.tls = self._stream.tls_version
        self.extensions = self._hello()


def call(server: Server, question: Question, tls: Tls, deadline: Deadline) -> Answer:
    """What the server says to MAIL, or to RCPT.

    Raises ServiceFault, TimeoutError or OSError if it does not come to an answer, and CouldNotTell if it is this host
    itself, or does not take such addresses.
    """
    try:
        return _answer(server, question, tls, deadline)
    except _TlsFailed as fault:
        if tls.use is TlsUse.MUST:
            raise
        return replace(_answer(server, question, Tls(TlsUse.NEVER), deadline), note=str(fault))


def introduced(server: Server, own_name: str, deadline: Deadline) -> str:
    """How the server greets, in clear; raises as `call` does."""
    question = Question(sender="", recipient="", helo=own_name, own_name=own_name)
    with _Connection(server, question, Tls(TlsUse.NEVER), deadline) as connection:
        connection.leave()
        return connection.greeting.text


def _answer(server: Server, question: Question, tls: Tls, deadline: Deadline) -> Answer:
    with _Connection(server, question, tls, deadline) as connection:
        command, reply = Command.MAIL, _mail(connection, question)
        if reply.kind == 2:
            command, reply = Command.RCPT, connection.ask(f"RCPT TO:<{question.recipient}>")
        connection.leave()
        if reply.kind == 3:
            raise ServiceFault(f"replied to {command} with {reply}")
        return Answer(command=command, reply=reply, server=server, tls=connection.tls, note=connection.note)


def _mail(connection: _Connection, question: Question) -> Reply:
    line = f"MAIL FROM:<{question.sender}>"
    if not (question.sender.isascii() and question.recipient.isascii()):
        if "SMTPUTF8" not in connection.extensions:
            raise CouldNotTell("the server takes no addresses beyond ASCII (SMTPUTF8)")
        line += " SMTPUTF8"
    if "DSN" in connection.extensions:
        reply = connection.ask(f"{line} {mark(question.depth)}")
        if reply.code not in _BAD_PARAMETER:
            return reply
    return connection.ask(line)
