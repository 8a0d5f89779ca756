# SPDX-License-Identifier: GPL-3.0-or-later
"""Hands a letter to an SMTP server (RFC 5321), by smtplib; `submission.py` calls this.

smtplib's own time limit is for each read, so that a server that dribbles holds a worker for ever: here the socket keeps
one for the whole dialogue.
"""

from __future__ import annotations

import re
import smtplib
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from defang_worker.effects.contract import left_s

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

    from defang_worker.effects.contract import Letter

# A server that is up answers a connection at once.
_CONNECT_TIMEOUT_S: Final = 10.0
# The letter is taken or refused by then: a server that says no good-bye is not to cost more.
_QUIT_WAIT_S: Final = 1.0
_LINE_END: Final = re.compile(rb"\r*\n")


class _Socket(socket.socket):
    """A socket each step of which ends at a moment of `time.monotonic`; raises TimeoutError then."""

    __slots__ = ("until",)

    def __init__(self, connected: socket.socket, until: float) -> None:
        super().__init__(fileno=connected.detach())
        self.until = until

    def sendall(self, data: ReadableBuffer, flags: int = 0, /) -> None:
        self.settimeout(left_s(self.until))
        super().sendall(data, flags)

    def recv_into(self, buffer: WriteableBuffer, nbytes: int = 0, flags: int = 0) -> int:
        self.settimeout(left_s(self.until))
        return super().recv_into(buffer, nbytes, flags)


def hand_over(letter: Letter, host: str, port: int, until: float) -> None:
    """Has the server take the letter for all its recipients; raises OSError, SMTPException or ValueError."""
    plain = socket.create_connection((host, port), min(left_s(until), _CONNECT_TIMEOUT_S))
    with _Socket(plain, until) as connected:
        server = smtplib.SMTP(local_hostname=_own_name(connected))
        server.sock = connected
        try:
            _accepted(server.getreply(), "greeting")
            _talk(server, letter)
        finally:
            # It has said what becomes of the letter. What it says to this changes nothing, and must not have a letter
            # that was taken sent again.
            connected.until = min(until, time.monotonic() + _QUIT_WAIT_S)
            with suppress(OSError, smtplib.SMTPException):
                server.quit()
            server.close()


def _talk(server: smtplib.SMTP, letter: Letter) -> None:
    server.ehlo_or_helo_if_needed()
    _accepted(server.mail(letter.sender, _mail_options(server, letter.mail_args)), "MAIL")
    for recipient in letter.recipients:
        _accepted(server.rcpt(recipient), f"RCPT {recipient}")
    content = _LINE_END.sub(b"\r\n", b"".join(letter.content))
    _accepted(server.data(content), "DATA")


def _own_name(connected: socket.socket) -> str:
    """What to say at EHLO. Not by `socket.getfqdn`, as smtplib does: it asks the DNS, for as long as that takes."""
    name = socket.gethostname()
    if "." in name:
        return name
    # RFC 5321, section 4.1.3.
    ip = connected.getsockname()[0]
    return f"[IPv6:{ip}]" if ":" in ip else f"[{ip}]"


def _mail_options(server: smtplib.SMTP, words: tuple[str, ...]) -> list[str]:
    extension = {"BODY": "8bitmime", "SMTPUTF8": "smtputf8", "RET": "dsn", "ENVID": "dsn"}
    named = [(extension.get(word.partition("=")[0].upper()), word) for word in words]
    return [word for name, word in named if name is not None and server.has_extn(name)]


def _accepted(reply: tuple[int, bytes], what: str) -> None:
    if not 200 <= reply[0] < 300:
        raise OSError(f"{what}: {reply[0]} {reply[1].decode('utf-8', 'backslashreplace')}")
