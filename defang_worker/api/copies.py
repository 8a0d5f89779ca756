# SPDX-License-Identifier: GPL-3.0-or-later
"""The message submitted again, as it came, for some of its recipients; and knowing such a copy when it comes back.

A copy is marked by a seal that only this site can make (`effects.seal`). What is released from quarantine has one too,
and passes without the filter. The mark is deleted in any case.
"""

from __future__ import annotations

import hashlib
import logging
import re
import time
from email.utils import formatdate
from typing import TYPE_CHECKING, Final

from defang_worker.api.message_mail import Resent
from defang_worker.api.words import to_bytes
from defang_worker.effects import mark, seal
from defang_worker.effects.contract import EffectFailed, Letter, LetterKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from defang_worker.api.envelope import Address, Recipient
    from defang_worker.api.message import Message
    from defang_worker.effects.contract import Effects

_log: Final = logging.getLogger("defang.worker")

# What would end a comment or a field, or start another.
_UNSAFE: Final = re.compile(r"[^!-'*-\[\]-~]")
_MAX_WORD_CHARS: Final = 255


def letters(message: Message, secret: bytes) -> tuple[tuple[Letter, ...], str]:
    """The copies that the message's outbox wants, and the name of their ledger: the same if the message comes again."""
    envelope, groups = message.envelope, message.outbox.groups
    made = seal.Seal(
        kind=LetterKind.COPY,
        time_s=int(time.time()),
        client_ip=envelope.client_ip,
        queue_id=envelope.queue_id or "",
    )
    sealed = seal.field(made, secret, seal.digest(message.raw))
    copies = tuple(
        Letter(
            kind=LetterKind.COPY,
            sender=envelope.sender.bare,
            recipients=group,
            content=(sealed, to_bytes(f"Received: {received(message, group)}\n"), message.raw),
            mail_args=envelope.sender_args,
        )
        for group in groups
    )
    name = hashlib.sha256(message.raw)
    name.update(to_bytes("\0".join([envelope.sender, *("\1".join(group) for group in groups)])))
    return copies, name.hexdigest()


def received(message: Message, recipients: tuple[str, ...] = ()) -> str:
    """The value of a Received field for this hop (RFC 5321, section 4.4), with LF at its folds."""
    envelope, macros = message.envelope, message.envelope.macros
    ip = envelope.connecting_ip
    literal = f"IPv6:{ip}" if ":" in ip else ip
    name = "" if envelope.connecting_name.startswith("[") else _safe(envelope.connecting_name) + " "
    encrypted, authenticated = macros.get("tls_version"), macros.get("auth_authen")
    protocol = "ESMTP" + ("S" if encrypted else "") + ("A" if authenticated else "")
    # RFC 5321, section 7.2: with several recipients, none would be told of the others.
    one = f"\n\tfor <{_safe(recipients[0])}>" if len(recipients) == 1 else ""
    return (
        f"from {_safe(envelope.helo) or 'unknown'} ({name}[{_safe(literal)}])\n"
        f"\tby {_safe(macros.get('if_name') or macros.get('j') or '') or 'localhost'} (Defang)\n"
        f"\twith {protocol} id {_safe(message.log_id)}{one};\n\t{formatdate(localtime=True)}"
    )


def _safe(text: str) -> str:
    return _UNSAFE.sub("", text)[:_MAX_WORD_CHARS]


def grouped(recipients: Iterable[Recipient], key: Callable[[Address], str]) -> list[tuple[str, ...]]:
    """The addresses in groups of the same key, in the order in which they came, each once."""
    groups: dict[str, dict[str, None]] = {}
    for recipient in recipients:
        groups.setdefault(key(recipient.address), {})[recipient.address.bare] = None
    return [tuple(group) for group in groups.values()]


def as_partition(recipients: Iterable[Recipient], groups: Iterable[Iterable[str]]) -> list[tuple[str, ...]]:
    """The groups, without brackets; raises ValueError if not every recipient is in exactly one of them."""
    wanted = [tuple(address.strip().removeprefix("<").removesuffix(">") for address in group) for group in groups]
    there = {recipient.address.bare for recipient in recipients}
    told = [address for group in wanted for address in group]
    if sorted(told) != sorted(there):
        odd = sorted({address for address in told if told.count(address) > 1} | there.symmetric_difference(told))
        raise ValueError(f"every recipient is to be in one group; missing, unknown or twice: {', '.join(odd)}")
    return [group for group in wanted if group]


def is_released(message: Message, effects: Effects) -> bool:
    """Looks at the mark of a message that has one, and deletes it; whether it was released from quarantine.

    A copy is noted as `message.resent`. A mark that is not ours is worth nothing, and a line in the log.
    """
    marks = message.headers.all(mark.FIELD)
    message.headers.delete_all(mark.FIELD)
    found = _opened(message, marks, effects) if marks else None
    if found is None:
        return False
    _log.info("%s of what came as %s from %s", found.kind.value, found.queue_id or "?", found.client_ip or "?")
    message.resent = Resent(client_ip=found.client_ip, queue_id=found.queue_id)
    return found.kind is LetterKind.RELEASE


def _opened(message: Message, marks: list[str], effects: Effects) -> seal.Seal | None:
    try:
        secret = effects.secret()
    except EffectFailed as fault:
        _log.error("%s", fault)
        return None
    content_digest, now_s = seal.digest(message.raw), time.time()
    found = [one for value in marks if (one := seal.opened(value, secret, content_digest, now_s)) is not None]
    if not found:
        _log.warning(
            "not ours, or too old, or changed on its way: %s, of a message from %s",
            mark.FIELD,
            message.envelope.connecting_ip or "?",
        )
        return None
    # Of a copy that was quarantined and released the last mark, which is on top, tells.
    return found[0]
