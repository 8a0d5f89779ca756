# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks at connect, HELO, MAIL and RCPT: each to one Answer.

A callback that is not there costs nothing: the answer is "continue". What a callback wants done to the message goes to
RESULTS before the answer, and only if the answer lets sender or recipient pass.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, assert_never

from defang_common.wire import answers, state
from defang_common.wire.answers import Verdict
from defang_common.wire.errors import Unencodable
from defang_common.wire.requests import HeloOk, RecipOk, RelayOk, SenderOk
from defang_worker.api.envelope import Connection, Envelope, Recipient
from defang_worker.api.hooks import FilterFault
from defang_worker.api.stages import Stage
from defang_worker.api.state import NotKept, States
from defang_worker.api.verdicts import CheckFailed
from defang_worker.workdir import append_results

if TYPE_CHECKING:
    from defang_common.wire.answers import Answer
    from defang_worker.api.hooks import SiteFilter
    from defang_worker.api.verdicts import Response

Check = RelayOk | HeloOk | SenderOk | RecipOk

_log: Final = logging.getLogger("defang.worker")

_LOOPBACK: Final = frozenset({"127.0.0.1", "::1"})
_REFUSALS: Final = frozenset({Verdict.REJECT, Verdict.TEMPFAIL})
_CONTINUE: Final = answers.answer(Verdict.CONTINUE)
_TEMPFAIL: Final = answers.answer(Verdict.TEMPFAIL)


def check_line(site: SiteFilter, request: Check, states: States) -> bytes:
    """The answer's line, with what the callback has changed in the state that came with the request."""
    try:
        answer = check(site, request, states)
        states.settle(site.settings.max_state_bytes)
    except NotKept as fault:
        answer = _tempfail(FilterFault(f"{site.path}: {fault}"), states)
    return state.with_changes(answers.encode(answer), *states.changes)


def check(site: SiteFilter, request: Check, states: States | None = None) -> Answer:
    """The answer to a client that connects, says HELO, names a sender or a recipient."""
    states = states or States()
    match request:
        case RelayOk():
            return _of_connection(site, Stage.RELAY, request, states)
        case HeloOk():
            return _of_connection(site, Stage.HELO, request, states)
        case SenderOk():
            return _of_sender(site, request, states)
        case RecipOk():
            return _of_recipient(site, request, states)
        case _:
            assert_never(request)


def _of_connection(site: SiteFilter, hook: Stage, request: RelayOk | HeloOk, states: States) -> Answer:
    if not site.has(hook):
        return _CONTINUE
    try:
        response = site.ask(hook, Connection.of_request(request, states, site.settings))
    except FilterFault as fault:
        return _tempfail(fault, states)
    if response.verdict is Verdict.DISCARD:
        # libmilter's manual forbids it at these stages.
        return _tempfail(FilterFault(f"{hook}: {site.path}: there is no message to discard yet"), states)
    return _checked(response)


def _of_sender(site: SiteFilter, request: SenderOk, states: States) -> Answer:
    if not site.has(Stage.SENDER):
        return _CONTINUE
    envelope = Envelope.of_request(request, states, None, site.settings)
    return _of_envelope(site, Stage.SENDER, envelope)


def _of_recipient(site: SiteFilter, request: RecipOk, states: States) -> Answer:
    if not site.has(Stage.RECIPIENT):
        return _CONTINUE
    tested = Recipient.of_request(request)
    envelope = Envelope.of_request(request, states, tested, site.settings)
    return _of_envelope(site, Stage.RECIPIENT, envelope, tested)


def _of_envelope(site: SiteFilter, hook: Stage, envelope: Envelope, *more: Recipient) -> Answer:
    states = envelope.states
    guard = envelope.journal.guard
    guard.stage = hook
    try:
        answer = _checked(site.ask(hook, envelope, *more))
        if answer.verdict in _REFUSALS and hook is Stage.RECIPIENT and _is_spared(site, envelope):
            _log.info("recipient passes, for the mail is of this host: %s", more[0].address)
            return _CONTINUE
        if answer.verdict is Verdict.CONTINUE and (lines := envelope.journal.results([])):
            # First, for what cannot be kept has the sender or recipient come again.
            states.settle(site.settings.max_state_bytes)
            append_results(envelope.directory, lines)
    except (FilterFault, Unencodable, OSError) as fault:
        return _tempfail(fault, states)
    finally:
        guard.stage = Stage.OVER
    return answer


def _is_spared(site: SiteFilter, envelope: Envelope) -> bool:
    return site.settings.local_recipients_pass and envelope.client_ip in _LOOPBACK


def _checked(response: Response) -> Answer:
    if correction := response.correction():
        _log.warning("%s", correction)
    return response.to_answer()


def _tempfail(fault: Exception, states: States) -> Answer:
    states.give_up()
    if isinstance(fault.__cause__, CheckFailed):
        return _checked(fault.__cause__.response)
    _log.error("temporary failure: %s", fault, exc_info=fault.__cause__ or fault)
    return _TEMPFAIL
