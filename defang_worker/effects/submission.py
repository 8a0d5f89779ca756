# SPDX-License-Identifier: GPL-3.0-or-later
"""Hands a mail to the mail system: to a program with sendmail's options, or by SMTP to a host and port.

Either all recipients of a letter are taken or none is. Which program understands more than the common options is found
out by looking at it.
"""

from __future__ import annotations

import os
import re
import smtplib
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from defang_worker.effects.contract import EffectFailed

if TYPE_CHECKING:
    from defang_worker.effects.contract import Letter

# Below the multiplexor's busy timeout of 120 s, so that a failure is told rather than the worker killed.
_TIMEOUT_S: Final = 90
_SHOWN_CHARS: Final = 300
# Sendmail's own only: submit through the mail submission queue, and leave delivery to its runner. A delivery in the
# foreground would come back to the multiplexor and wait for a worker while this one waits for the delivery.
_SENDMAIL_FLAGS: Final = ("-Ac", "-odd")
# The name of its second configuration file stands in Sendmail's binary and in no other program's of that name.
_SENDMAILS_OWN: Final = b"submit.cf"
_LINE_END: Final = re.compile(rb"\r*\n")


def submit(letter: Letter, target: str) -> None:
    """Hands the letter over; `target` is the path of a program, or host:port. Raises EffectFailed."""
    try:
        if target.startswith("/"):
            _to_program(letter, target)
        else:
            _to_server(letter, target)
    except (OSError, subprocess.SubprocessError, smtplib.SMTPException, ValueError) as fault:
        text = " ".join(str(fault).split())
        raise EffectFailed(f"{letter.kind.value} not submitted to {target}: {text[:_SHOWN_CHARS]}") from fault


def _to_program(letter: Letter, program: str) -> None:
    argv = arguments(letter, program, is_sendmail=is_sendmail(program))
    # Files, for a program in the background may keep its descriptors: a pipe would then never end.
    with tempfile.TemporaryFile() as content, tempfile.TemporaryFile() as said:
        for piece in letter.content:
            content.write(piece)
        content.seek(0)
        done = subprocess.run(argv, stdin=content, stdout=said, stderr=said, timeout=_TIMEOUT_S, check=False)
        if done.returncode:
            said.seek(0)
            text = said.read(4 * _SHOWN_CHARS).decode("utf-8", "backslashreplace")
            raise OSError(f"status {done.returncode}: {text or 'no message'}")


def arguments(letter: Letter, program: str, *, is_sendmail: bool) -> list[str]:
    """The command: sender and recipients as words of their own, behind what ends the options."""
    argv = [program, *(_SENDMAIL_FLAGS if is_sendmail else ()), "-i", "-f", letter.sender or "<>"]
    for word in letter.mail_args:
        name, _, value = word.partition("=")
        match name.upper():
            case "BODY" if value.upper() in {"7BIT", "8BITMIME"}:
                argv.append(f"-B{value.upper()}")
            case "RET" if value.upper() in {"FULL", "HDRS"}:
                argv += ["-R", value.lower()]
            case "ENVID" if value:
                argv += ["-V", value]
            case _:
                pass  # the size is another now, and all else is between client and server
    return [*argv, "--", *letter.recipients]


@cache
def is_sendmail(program: str) -> bool:
    """Whether it is Sendmail itself, rather than a program that stands in for it, as Postfix and Exim have."""
    return _SENDMAILS_OWN in Path(os.path.realpath(program)).read_bytes()


def _to_server(letter: Letter, target: str) -> None:
    host, _, port = target.rpartition(":")
    if not host or not port.isdigit():
        raise ValueError("neither an absolute path nor host:port")
    with smtplib.SMTP(host.strip("[]"), int(port), timeout=_TIMEOUT_S) as server:
        server.ehlo_or_helo_if_needed()
        _accepted(server.mail(letter.sender, _mail_options(server, letter.mail_args)), "MAIL")
        for recipient in letter.recipients:
            _accepted(server.rcpt(recipient), f"RCPT {recipient}")
        content = _LINE_END.sub(b"\r\n", b"".join(letter.content))
        _accepted(server.data(content), "DATA")


def _mail_options(server: smtplib.SMTP, words: tuple[str, ...]) -> list[str]:
    extension = {"BODY": "8bitmime", "SMTPUTF8": "smtputf8", "RET": "dsn", "ENVID": "dsn"}
    named = [(extension.get(word.partition("=")[0].upper()), word) for word in words]
    return [word for name, word in named if name is not None and server.has_extn(name)]


def _accepted(reply: tuple[int, bytes], what: str) -> None:
    if not 200 <= reply[0] < 300:
        raise OSError(f"{what}: {reply[0]} {reply[1].decode('utf-8', 'backslashreplace')}")
