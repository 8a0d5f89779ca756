# SPDX-License-Identifier: GPL-3.0-or-later
"""Hands a mail to the mail system: to a program with sendmail's options, or by SMTP to a host and port.

Either all recipients of a letter are taken or none is. Which program understands more than the common options is found
out by looking at it.
"""

from __future__ import annotations

import os
import smtplib
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from defang_worker.effects import smtp
from defang_worker.effects.contract import EffectFailed, left_s

if TYPE_CHECKING:
    from defang_worker.effects.contract import Letter

_SHOWN_CHARS: Final = 300
# Sendmail's own only: submit through the mail submission queue, and leave delivery to its runner. A delivery in the
# foreground would come back to the multiplexor and wait for a worker while this one waits for the delivery.
_SENDMAIL_FLAGS: Final = ("-Ac", "-odd")
# The name of its second configuration file stands in Sendmail's binary and in no other program's of that name.
_SENDMAILS_OWN: Final = b"submit.cf"


def submit(letter: Letter, target: str, until: float) -> None:
    """Hands the letter over by then (`time.monotonic`); `target` is the path of a program, or host:port.

    Raises EffectFailed.
    """
    try:
        if target.startswith("/"):
            _to_program(letter, target, until)
        else:
            smtp.hand_over(letter, *_host_and_port(target), until)
    except (OSError, subprocess.SubprocessError, smtplib.SMTPException, ValueError) as fault:
        text = " ".join(str(fault).split())
        raise EffectFailed(f"{letter.kind.value} not submitted to {target}: {text[:_SHOWN_CHARS]}") from fault


def _host_and_port(target: str) -> tuple[str, int]:
    host, _, port = target.rpartition(":")
    if not host or not port.isdigit():
        raise ValueError("neither an absolute path nor host:port")
    return host.strip("[]"), int(port)


def _to_program(letter: Letter, program: str, until: float) -> None:
    argv = arguments(letter, program, is_sendmail=is_sendmail(program))
    # Files, for a program in the background may keep its descriptors: a pipe would then never end.
    with tempfile.TemporaryFile() as content, tempfile.TemporaryFile() as said:
        for piece in letter.content:
            content.write(piece)
        content.seek(0)
        done = subprocess.run(argv, stdin=content, stdout=said, stderr=said, timeout=left_s(until), check=False)
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
