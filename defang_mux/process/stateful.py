# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests of a front end of ours, for workers that may not be: what such a worker does not know is kept from it.

A worker is asked once in its life what it can, with the first request that has the filters' state on it (protocol.md,
Abilities). To others neither state nor the wish for RESULTS on the answer is passed on, and a message without header
files is not given.
"""

import os
from typing import TYPE_CHECKING

from defang_common.wire import abilities, requests, spool, state
from defang_common.wire.abilities import HEADER_FILES_WANTED, Abilities, Ability
from defang_common.wire.errors import Malformed
from defang_common.wire.lines import MAX_ANSWER_LINE_BYTES
from defang_mux.process.exchange import Exchanged, Unseen, exchange

if TYPE_CHECKING:
    from defang_mux.process.slot import Worker

_STATEFUL_ANSWER_BYTES = MAX_ANSWER_LINE_BYTES + state.MAX_WORD_BYTES


async def ask(worker: "Worker", line: bytes) -> Exchanged:
    """The worker's answer to a request line, or that it needs more; raises as `exchange` does."""
    try:
        plain, word = state.split(line)
    except Malformed:
        # The worker says what is wrong with it, and the client tries later.
        plain, word = line, b""
    if not word:
        return await exchange(worker, line)
    if worker.abilities is None:
        worker.abilities = await _abilities(worker)
    if Ability.NO_HEADER_FILES not in worker.abilities and _lacks_header_files(plain):
        return Exchanged(HEADER_FILES_WANTED)
    if Ability.STATE not in worker.abilities:
        return await exchange(worker, plain)
    if Ability.RESULTS_ON_ANSWER not in worker.abilities:
        line = state.without_wish(line, word)
    return await exchange(worker, line, limit_bytes=_STATEFUL_ANSWER_BYTES)


async def _abilities(worker: "Worker") -> Abilities:
    told = await exchange(worker, abilities.QUESTION_TO_WORKER)
    if told.unfit is not None:
        raise Unseen(told.unfit, died=False)
    return abilities.decode(told.answer)


def _lacks_header_files(line: bytes) -> bool:
    """Whether this is the scan of a directory in which the front end has not written them."""
    try:
        request = requests.decode(line)
    except Malformed:
        return False
    # Of the two files the last one to be written.
    last = spool.PRISTINE_HEADERS.encode()
    return isinstance(request, requests.Scan) and not os.path.lexists(b"%b/%b" % (request.directory, last))
