# SPDX-License-Identifier: GPL-3.0-or-later
"""The session of a trial: what the command line says, then what COMMANDS says beside a message, then the usual values.

COMMANDS lies beside INPUTMSG in a working directory that a front end kept, and in the copy that a multiplexor makes of
a message which cost a worker.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from defang_common.wire import commands
from defang_common.wire.spool import COMMANDS, INPUTMSG
from defang_worker.trial.options import DEFAULTS

if TYPE_CHECKING:
    from argparse import Namespace

    from defang_common.wire.commands import Commands
    from defang_worker.trial.session import Session


def session_for(args: Namespace, file: str) -> Session:
    """What a mail server tells of the message in `file`; raises OSError or Malformed if its COMMANDS cannot be read."""
    told: dict[str, Any] = {}
    path = Path(file)
    if path.name == INPUTMSG and (path.parent / COMMANDS).exists():
        told = _told(commands.decode((path.parent / COMMANDS).read_bytes(), need_end=False))
    given = {
        "sender": args.sender,
        "sender_args": tuple(args.sender_args),
        "recipients": tuple(args.recipients or ()),
        "relay_ip": args.relay_ip,
        "relay_host": args.relay_host,
        "helo": args.relay_host if args.helo is None else args.helo,
        "queue_id": args.queue_id,
    }
    told |= {name: value for name, value in given.items() if value or (name == "helo" and value is not None)}
    macros = told.pop("macros", {}) | dict(args.macro)
    return replace(DEFAULTS, **told, macros=macros)


def _told(told: Commands) -> dict[str, Any]:
    facts = {
        "sender": _text(told.sender),
        "sender_args": tuple(map(_text, told.sender_args)),
        "recipients": tuple(_text(recipient.address) for recipient in told.recipients),
        "relay_ip": _text(told.ip),
        "relay_host": _text(told.hostname),
        "queue_id": _text(told.queue_id),
    }
    macros = {_text(name): _text(value) for name, value in told.macros.items()}
    return {name: value for name, value in facts.items() if value} | {"helo": _text(told.helo), "macros": macros}


def _text(word: bytes) -> str:
    return word.decode("utf-8", "surrogateescape")
