# SPDX-License-Identifier: GPL-3.0-or-later
"""Authentication-Results on a message: ours written, and those deleted that others wrote in our name (RFC 8601).

What stands in one is told by `defang_worker/checks/auth`. Loaded by the first filter that writes one.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Final

from defang_worker.api.networks import is_in
from defang_worker.checks.auth.cfws import Unreadable
from defang_worker.checks.auth.claimed import is_claimed, is_own
from defang_worker.checks.auth.method_result import MethodResult, TellsAuthentication, field_value, written_value
from defang_worker.checks.auth.payload import read_head, read_results

if TYPE_CHECKING:
    from collections.abc import Sequence

    from defang_worker.api.envelope import Envelope
    from defang_worker.api.message import Message
    from defang_worker.checks.outcome import CheckResult

_log: Final = logging.getLogger("defang.worker")

FIELD_NAME: Final = "Authentication-Results"


def add_results(message: Message, results: Sequence[CheckResult], *, smtp_auth: bool) -> None:
    """Puts the field before the header, without the forged ones; raises TypeError for results that have nothing for it,
    and ValueError if the mail server has not told its name and the settings have none."""
    told = method_results(message.envelope, results, smtp_auth=smtp_auth)
    delete_claimed(message)
    message.headers.insert(FIELD_NAME, field_value(authserv_id(message), told))


def method_results(envelope: Envelope, results: Sequence[CheckResult], *, smtp_auth: bool) -> list[MethodResult]:
    """What the field is to tell, in the order of the results."""
    told = _smtp_auth(envelope) if smtp_auth else []
    for result in results:
        if not isinstance(result, TellsAuthentication):
            raise TypeError(f"{result.check}: a {type(result).__name__} has nothing for {FIELD_NAME}")
        told += result.authentication_results(envelope)
    return told


def authserv_id(message: Message) -> str:
    """The name that our fields have; raises ValueError if there is none."""
    if name := message.settings.authserv_id or message.envelope.macros.get("j", ""):
        return name
    raise ValueError(f"{FIELD_NAME} needs the setting authserv_id, for the mail server does not tell its name (j)")


def delete_claimed(message: Message) -> None:
    """Deletes the fields that came from outside in our name."""
    ids = (authserv_id(message), *message.settings.authserv_aliases)
    if is_in(message.envelope.connecting_ip, message.settings.authserv_relays):
        return
    if count := message.headers.delete_if(FIELD_NAME, lambda value: is_claimed(value, ids)):
        _log.info("%d %s deleted: they came in the name of this site", count, FIELD_NAME)


def own_results(message: Message) -> str:
    """All that fields in our name say, as the value of one; without those that were forged or cannot be read."""
    delete_claimed(message)
    ids = (authserv_id(message), *message.settings.authserv_aliases)
    told = []
    for value in message.headers.raw(FIELD_NAME):
        text = re.sub(r"[^\t\n -~]", "?", re.sub(r"\r?\n", "\n", value.decode("ascii", "replace").rstrip()))
        try:
            head = read_head(text)
            if is_own(head, ids) and read_results(text, head.end):
                told.append(text[head.end :].rstrip("; \t\n"))
        except Unreadable:
            continue
    return f"{written_value(ids[0])}{''.join(told)}" if told else no_results(message)


def no_results(message: Message) -> str:
    """The value of a field that tells nothing."""
    return field_value(authserv_id(message), ())


def _smtp_auth(envelope: Envelope) -> list[MethodResult]:
    """RFC 8601, section 2.7.4."""
    macros = envelope.macros
    user = macros.get("auth_authen", "")
    if not user:
        return [MethodResult(method="auth", result="none")]
    return [
        MethodResult(
            method="auth",
            result="pass",
            comment=macros.get("auth_type", ""),
            properties=(("smtp.auth", user), ("smtp.mailfrom", envelope.sender.bare)),
        )
    ]
