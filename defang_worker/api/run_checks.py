# SPDX-License-Identifier: GPL-3.0-or-later
"""`run_checks` of messages, envelopes and connections: the checks run, and their failure policies are applied.

Loaded by the first filter that runs one. What a check is and how it runs stands in `defang_worker.checks`.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, Final, assert_never

from defang_common.wire.spool import COMMANDS
from defang_worker.api.verdicts import CheckFailed, Response
from defang_worker.checks import runner
from defang_worker.checks.budget import Budget
from defang_worker.checks.check import FailurePolicy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from defang_worker.api.envelope import Connection, Envelope
    from defang_worker.api.message import Message
    from defang_worker.checks.check import Check
    from defang_worker.checks.runner import Results

_log: Final = logging.getLogger("defang.worker")

MARK_FIELD: Final = "X-Defang-Unchecked"
"""The header field by which a message tells which checks could not be made."""


def of_message(message: Message, checks: Sequence[Check[Any, Any]]) -> Results:
    """Runs checks of a whole message. If one with the policy tempfail could not tell, or not of all, the message is
    deferred, unless the filter gives it another verdict."""
    if message.check_budget is None:
        message.check_budget = _budget_of_scan(message)
    results = runner.run(checks, message, message.check_budget)
    if message.record is not None:
        message.record.scanners += [result.as_record() for result in results]
    unchecked = _unchecked(checks, results)
    if failed := unchecked[FailurePolicy.TEMPFAIL]:
        _log.warning("deferred, could not be checked: %s", ", ".join(failed))
        message.journal.defer(_response(failed))
    for name in unchecked[FailurePolicy.MARK]:
        message.headers.add(MARK_FIELD, name)
    return results


def of_envelope(envelope: Envelope, checks: Sequence[Check[Any, Any]]) -> Results:
    """Runs checks of sender and recipients; raises CheckFailed if one with the policy tempfail could not tell."""
    budget = Budget.of(envelope.settings.check_budget_s, now=envelope.began_at)
    results = runner.run(checks, envelope, budget)
    for name in _deferred_if_failed(checks, results)[FailurePolicy.MARK]:
        envelope.headers.add(MARK_FIELD, name)
    return results


def of_connection(connection: Connection, checks: Sequence[Check[Any, Any]]) -> Results:
    """Runs checks of a client; raises CheckFailed as above. There is no header yet, so a mark is for the log alone."""
    budget = Budget.of(connection.settings.check_budget_s, now=connection.began_at)
    results = runner.run(checks, connection, budget)
    _deferred_if_failed(checks, results)
    return results


def _budget_of_scan(message: Message) -> Budget:
    """The budget of a message, from the moment that COMMANDS was complete: the time in the multiplexor's queue counts,
    for the mail server has been waiting."""
    try:
        complete_at = (message.envelope.workdir / COMMANDS).stat().st_mtime
    except OSError:
        complete_at = time.time()  # a message under test, without a directory
    elapsed_s = time.time() - complete_at
    return Budget.of(message.settings.check_budget_s, now=time.monotonic(), elapsed_s=elapsed_s)


def _deferred_if_failed(checks: Sequence[Check[Any, Any]], results: Results) -> dict[FailurePolicy, list[str]]:
    unchecked = _unchecked(checks, results)
    if failed := unchecked[FailurePolicy.TEMPFAIL]:
        raise CheckFailed(_response(failed))
    return unchecked


def _unchecked(checks: Sequence[Check[Any, Any]], results: Results) -> dict[FailurePolicy, list[str]]:
    """The names of checks that could not tell, or not of all, by what is to become of that."""
    found: dict[FailurePolicy, list[str]] = {policy: [] for policy in FailurePolicy}
    for check in checks:
        if results[check].is_complete:
            continue
        match check.on_failure:
            case FailurePolicy.TEMPFAIL | FailurePolicy.IGNORE:
                pass
            case FailurePolicy.MARK:
                _log.warning("passes unchecked: %s", check.name)
            case _:
                assert_never(check.on_failure)
        found[check.on_failure].append(check.name)
    return found


def _response(names: list[str]) -> Response:
    return Response.tempfail(f"Could not be checked now ({', '.join(names)}), please try again later")
