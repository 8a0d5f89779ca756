# SPDX-License-Identifier: GPL-3.0-or-later
"""A message, from its working directory to RESULTS: the steps of a scan in their order.

Any fault, be it of the filter, of the directory or of our own, makes an `error:` answer, which the front end takes for
a temporary failure: it keeps the directory if so set, and says whose fault it is. RESULTS is complete before `ok` is
answered, or on that answer.
"""

from __future__ import annotations

import gc
import logging
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Final

from defang_common.wire import answers, commands, results, state
from defang_common.wire.errors import WireError
from defang_worker import workdir
from defang_worker.api import ambiguity
from defang_worker.api.hooks import NOTHING_SAID, FilterFault
from defang_worker.api.message import Message
from defang_worker.api.stages import Stage
from defang_worker.api.state import NotKept, States
from defang_worker.api.verdicts import Verdict
from defang_worker.api.words import to_text
from defang_worker.effects import mark
from defang_worker.effects.contract import EffectFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from defang_common.wire.requests import Scan
    from defang_common.wire.results import Result
    from defang_worker.api.hooks import SiteFilter
    from defang_worker.api.record import Record
    from defang_worker.status import StatusTags

_log: Final = logging.getLogger("defang.worker")

# Generations of the collector (gc's documentation).
_YOUNG, _ALL = 1, 2

_FINISH: Final = results.Finish()


def scan(
    site: SiteFilter, request: Scan, tags: StatusTags, states: States | None = None, *, wants_results: bool = False
) -> bytes:
    """The answer line; RESULTS and, if the body changed, NEWBODY are in the directory then.

    Whoever `wants_results` may get RESULTS on the answer instead.
    """
    directory = to_text(request.directory)
    queue_id = to_text(request.queue_id)
    tags.enter("Filtering", queue_id)
    aged_before = gc.get_count()[_ALL]
    states = states or States()
    try:
        answer = _scan(site, directory, states, wants_results=wants_results)
        answer = state.with_changes(answer, *states.changes)
    except (FilterFault, EffectFailed, OSError, WireError, NotKept) as fault:
        _log.error("temporary failure: %s", fault, exc_info=fault.__cause__)
        answer = answers.encode_error(f"scan failed: {fault}")
    finally:
        tags.leave("Filtering", queue_id)
    # The parts of a message refer to one another, so only a collection frees them, what they decoded, and the mapped
    # file that the front end removes meanwhile. One for each message takes less than half the time of one for 25, which
    # have left the processor's caches, and the next message has the same memory again.
    #
    # All of it is young unless it had so many parts that the collector has run meanwhile. Going through the old ones,
    # too, would take five times as long.
    gc.collect(_YOUNG if gc.get_count()[_ALL] == aged_before else _ALL)
    return answer


def _scan(site: SiteFilter, directory: str, states: States, *, wants_results: bool) -> bytes:
    told = commands.decode(workdir.read_commands(directory))
    for line in told.unknown_lines:
        _log.warning("COMMANDS: unknown line ignored: %r", line[:100])
    message = Message(told, workdir.open_message(directory), directory, site.settings, states)
    carry_out = partial(_carry_out, site, message, directory, told.subject_count, wants_results=wants_results)
    if message.record is None:
        return carry_out()[1]
    return _recorded(message.record, site, message, carry_out)


def _carry_out(
    site: SiteFilter, message: Message, directory: str, subject_count: int, *, wants_results: bool
) -> tuple[list[Result], bytes]:
    """Filters, does what is to be done outside, and tells the results: their lines, and the answer."""
    try:
        lines = _filter(site, message, directory, subject_count)
    finally:
        message.journal.guard.stage = Stage.OVER
    workdir.end_if_forked()
    # Before anything is stored or written: what cannot be kept defers the message.
    message.envelope.states.settle(site.settings.max_state_bytes, is_last=True)
    outbox = message.outbox
    is_wanted = outbox.is_wanted and not _is_held_back(message)
    try:
        if is_wanted:
            outbox.store(message, site.effects)
        if message.headers.earlier_changed and not message.is_rejected:
            workdir.drop_begun_headers(directory)
        answer = _tell(directory, [*lines, _FINISH], wants_results=wants_results)
        if is_wanted:
            outbox.send(message, site.effects)
    except BaseException:
        outbox.take_back(site.effects)
        raise
    outbox.log(site.effects, site.settings.event_log)
    return lines, answer


def _is_held_back(message: Message) -> bool:
    """Whether nothing is done outside, for only a failed check defers the message.

    It comes again, as after a fault, and what the filter wants done of it would be done at each try.
    """
    if message.journal.is_deferred:
        _log.info("nothing quarantined or sent of what could not be checked: the message will come again")
    return message.journal.is_deferred


def _tell(directory: str, lines: list[Result], *, wants_results: bool) -> bytes:
    """The answer, with the lines on it where that is wanted and there is room; else they are in RESULTS."""
    if wants_results:
        encoded = b"".join(map(results.encode_line, lines))
        if len(encoded) <= answers.MAX_RESULTS_ON_ANSWER_BYTES:
            return answers.encode_results(encoded)
    workdir.append_results(directory, lines)
    return answers.SCAN_OK


def _recorded(
    record: Record, site: SiteFilter, message: Message, carry_out: Callable[[], tuple[list[Result], bytes]]
) -> bytes:
    """The answer of `carry_out`, with a record written, of what ended in a fault too."""
    target = site.settings.record_log
    try:
        lines, answer = carry_out()
    except BaseException as fault:
        site.effects.write_line(target, record.line(message, [], fault))
        raise
    site.effects.write_line(target, record.line(message, lines, None))
    return answer


def _filter(site: SiteFilter, message: Message, directory: str, subject_count: int) -> list[Result]:
    """Calls the callbacks in their order, writes the new body if there is one, and gives the lines for RESULTS."""
    if mark.is_there(message.raw):
        from defang_worker.api import copies  # noqa: PLC0415  # for what we submitted ourselves

        if copies.is_released(message, site.effects):
            return message.results(None)
    if subject_count > 1:
        # RFC 5322 allows one. Readers differ in which one they show, and the filter would judge by another.
        _log.warning("%d Subject fields, all but the first deleted", subject_count)
        for nth in range(subject_count, 1, -1):
            message.headers.delete("Subject", nth)
    looks_at_parts = site.has("filter_part") or site.has("filter_multipart")
    is_examined = looks_at_parts or site.settings.ambiguity is not None
    if is_examined and message.refused_for_structure():
        return message.results(None)
    _call(site, Stage.BEGIN, message)
    if looks_at_parts:
        _visit_parts(site, message)
    _call(site, Stage.END, message)
    if message.is_streamed:
        return message.results(None)
    if is_examined:
        ambiguity.judge(message, site.settings)
    rebuilt = message.finish_body()
    if rebuilt is not None:
        workdir.write_body(directory, rebuilt)
    if is_examined:
        ambiguity.tell(message, site.settings, is_rewritten=rebuilt is not None)
    _call(site, Stage.WRAPUP, message)
    return message.results(rebuilt)


def _call(site: SiteFilter, hook: Stage, message: Message, *more: object) -> None:
    """Calls the callback if there is one; a final response that it returns is the message's verdict.

    None is called once copies take the message's place.
    """
    if not site.has(hook) or message.is_streamed:
        return
    message.journal.guard.stage = hook
    if message.record is None:
        response = site.ask(hook, message, *more)
    else:
        started = perf_counter()
        try:
            response = site.ask(hook, message, *more)
        finally:
            message.record.took(hook.value, started)
    if response is NOTHING_SAID:
        return
    if response.delay_s:
        _log.warning("%s: no delay is possible once the message has come", hook)
    if response.is_final:
        message.decide(response)
    elif response.verdict is not Verdict.CONTINUE:
        raise FilterFault(f"{hook}: {site.path}: {response.verdict.name} is no verdict on a message")


def _visit_parts(site: SiteFilter, message: Message) -> None:
    """Calls the callbacks for parts, containers before their children; what was dropped is not entered.

    Last come the parts that only other readings of the message have.
    """
    root = message.root
    # The top of a multipart message is no part. Any other message is its own only part.
    waiting = list(reversed(root.children)) if root.is_multipart and not root.is_leaf else [root]
    while waiting:
        part = waiting.pop()
        _call(site, Stage.PART if part.is_leaf else Stage.MULTIPART, message, part)
        if not part.is_dropped:
            waiting.extend(reversed(part.children))
    for part in message.shadow_parts:
        if not part.is_gone:
            _call(site, Stage.PART if part.is_leaf else Stage.MULTIPART, message, part)
