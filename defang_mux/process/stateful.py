# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests with the filters' state on them: for workers that know it; for all others it is taken off.

A worker is asked once in its life whether it does, with the first request that has state (protocol.md, State).
"""

from typing import TYPE_CHECKING

import trio

from defang_common.wire import state
from defang_common.wire.errors import Malformed
from defang_common.wire.lines import MAX_ANSWER_LINE_BYTES
from defang_mux.process.exchange import Exchanged, Unseen, exchange

if TYPE_CHECKING:
    from defang_mux.process.slot import Worker


async def ask(worker: "Worker", line: bytes, *, busy_timeout_s: float) -> Exchanged:
    """The worker's answer to a request line; raises as `exchange` does."""
    try:
        plain, word = state.split(line)
    except Malformed:
        # The worker says what is wrong with it, and the client tries later.
        plain, word = line, b""
    if not word:
        return await exchange(worker, line, busy_timeout_s=busy_timeout_s)
    deadline = trio.current_time() + busy_timeout_s
    if worker.takes_state is None:
        told = await exchange(worker, state.QUESTION_TO_WORKER, busy_timeout_s=busy_timeout_s)
        if told.unfit is not None:
            raise Unseen(told.unfit, died=False)
        worker.takes_state = told.answer == state.ABILITIES
    left_s = deadline - trio.current_time()
    if not worker.takes_state:
        return await exchange(worker, plain, busy_timeout_s=left_s)
    limit = MAX_ANSWER_LINE_BYTES + state.MAX_WORD_BYTES
    return await exchange(worker, line, busy_timeout_s=left_s, limit_bytes=limit)
