# SPDX-License-Identifier: GPL-3.0-or-later
"""The pool's records as text, in the formats that md-mx-ctrl and monitors read (protocol.md, Reports).

Pure: the pool and `now` in, bytes out. Which command asks for which report stands in `sockets.control`.
"""

from collections.abc import Iterable
from typing import Final

from defang_common.wire import percent
from defang_mux.pool.autoscale import EMA_ALPHA, IN_COOL_S, INTERVAL_S, OUT_COOL_S, SCALE_IN, SCALE_OUT
from defang_mux.pool.policy import Pool
from defang_mux.pool.state import COUNTED, Kind, Slot, State

_WINDOWS_S: Final = (10, 60, 300, 600)
_WINDOWS_H: Final = (1, 4, 12, 24)
_STATE_ORDER: Final = (State.BUSY, State.IDLE, State.STOPPED, State.KILLED)
_LOGGED_ORDER: Final = (State.STOPPED, State.IDLE, State.BUSY, State.KILLED)
_MAX_TAG_BYTES: Final = 63

MIN_BACK_S: Final = _WINDOWS_S[0]
MAX_BACK_S: Final = _WINDOWS_S[-1]


def free(pool: Pool) -> bytes:
    """How many workers are idle or can be started, now or in a moment."""
    return b"%d\n" % pool.free_soon


def messages(pool: Pool) -> bytes:
    """Scans finished since the start, well or not."""
    return b"%d\n" % pool.counts.messages


def status(pool: Pool, now: float) -> bytes:
    """A letter for each slot, then messages, activations, queue size, queued, uptime."""
    letters = "".join(slot.state.value for slot in pool.slots)
    return _line([letters, *_sums(pool, now)])


def workers(pool: Pool, now: float, *, busy_only: bool) -> bytes:
    """A line for each slot: number, state, process, request, last kind, seconds in this state, status tag."""
    slots = (slot for slot in pool.slots if not busy_only or slot.state is State.BUSY)
    return b"".join(_worker_line(slot, now) for slot in slots)


def _worker_line(slot: Slot, now: float) -> bytes:
    words = [str(slot.number), slot.state.value]
    if slot.pid is not None:
        words.append(str(slot.pid))
    if slot.ticket is not None and slot.ticket.kind is not Kind.OTHER:
        words.append(slot.ticket.kind.value)
    if slot.last is not None:
        words.append(f"last={slot.last.value}")
    words.append(f"ago={int(now - slot.changed_at)}")
    tag = _tag(slot)
    if tag:
        words.append(f"({tag})")
    return _line(words)


def _tag(slot: Slot) -> str:
    """The worker's own status tag, else the beginning of the request that it works on."""
    if not slot.tag and slot.ticket is not None:
        return tag_of_request(slot.ticket.line)
    return _printable(slot.tag)


def tag_of_request(line: bytes) -> str:
    """The first two words of a request, decoded, cut and printable: what a worker does, until it says more."""
    return _printable(percent.decode(b" ".join(line.split(b" ", 2)[:2]))[:_MAX_TAG_BYTES])


def _printable(raw: bytes) -> str:
    return "".join(chr(byte) if 0x20 <= byte <= 0x7E else " " for byte in raw)


def worker_info(pool: Pool, number: int, now: float) -> bytes:
    """Nine lines about one slot; -1 stands for what does not apply."""
    slot = pool.slots[number]
    runs = slot.state is not State.STOPPED
    first_age = now - slot.first_request_at if runs and slot.first_request_at is not None else -1
    rows = (
        ("Worker", slot.number),
        ("State", slot.state.name.capitalize()),
        ("PID", -1 if slot.pid is None else slot.pid),
        ("NumRequests", slot.requests),
        ("NumScans", slot.scans),
        ("Age", int(now - slot.started_at) if runs else -1),
        ("FirstReqAge", int(first_age)),
        ("LastStateChangeAge", int(now - slot.changed_at)),
        ("StatusTag", _tag(slot)),
    )
    return "".join(f"{key} {value}\n" for key, value in rows).encode()


def load(kind: Kind, pool: Pool, now: float) -> bytes:
    """29 words about one kind over the four windows; starts and ends of processes only with scans."""
    sums = [pool.history.recent(kind, now=now, seconds=window) for window in _WINDOWS_S]
    scans = kind is Kind.SCAN
    starts = (pool.history.recent_activations(now=now, seconds=window) for window in _WINDOWS_S)
    ends = (pool.history.recent_reaps(now=now, seconds=window) for window in _WINDOWS_S)
    return _line(
        [
            *(str(sum_.count) for sum_ in sums),
            # Readers of this report expect 1 where there was nothing, unlike in `load1` and `hload`.
            *(_float(sum_.mean_busy if sum_.count else 1.0) for sum_ in sums),
            *(_float(sum_.mean_ms) for sum_ in sums),
            *(str(count if scans else 0) for count in starts),
            *(str(count if scans else 0) for count in ends),
            *_states(pool),
            *_sums(pool, now),
        ]
    )


def load1(pool: Pool, seconds: int, now: float) -> bytes:
    """26 words about all counted kinds over `seconds` (`MIN_BACK_S` to `MAX_BACK_S`)."""
    words: list[str] = []
    for kind in COUNTED:
        sums = pool.history.recent(kind, now=now, seconds=seconds)
        words += (str(sums.count), _float(sums.mean_busy), _float(sums.mean_ms))
    running = _running(pool)
    return _line([*words, *_states(pool), *_sums(pool, now), str(seconds), *(str(running[kind]) for kind in COUNTED)])


def _running(pool: Pool) -> dict[Kind, int]:
    """How many workers are busy with each of the counted kinds."""
    kinds = [slot.ticket.kind for slot in pool.slots if slot.ticket is not None]
    return {kind: kinds.count(kind) for kind in COUNTED}


def hload(kind: Kind, pool: Pool, now: float) -> bytes:
    """16 words about one kind over the last full hours."""
    found = [pool.history.hourly(kind, now=now, hours=window) for window in _WINDOWS_H]
    return _line(
        [
            *(str(sums.count) for sums, _ in found),
            *(_float(sums.mean_busy) for sums, _ in found),
            *(_float(sums.mean_ms) for sums, _ in found),
            *(str(covered) for _, covered in found),
        ]
    )


def busy_histogram(pool: Pool) -> bytes:
    """A line for each number of busy workers: how often it was reached."""
    return b"".join(b"%4d %d\n" % entry for entry in enumerate(pool.counts.busy_histogram, start=1))


def autoscale(pool: Pool) -> bytes:
    """The settings of the autoscaling, and the average that it goes by."""
    scale = pool.autoscale
    return _line(
        [
            f"enabled={scale.enabled:d}",
            f"interval={INTERVAL_S}",
            f"ema_busy={scale.ema_busy:.4f}",
            f"scale_out={SCALE_OUT:.2f}",
            f"scale_in={SCALE_IN:.2f}",
            f"out_cool={OUT_COOL_S}",
            f"in_cool={IN_COOL_S}",
            f"ema_alpha={EMA_ALPHA:.4f}",
        ]
    )


def status_line(pool: Pool) -> str:
    """What the log is told at intervals (`-L`)."""
    states = " ".join(f"{state.name.capitalize()}={pool.in_state(state)}" for state in _LOGGED_ORDER)
    counts = pool.counts
    return f"Worker status: {states} Queued={pool.queued} Msgs={counts.messages} Activations={counts.activations}"


def _states(pool: Pool) -> Iterable[str]:
    return (str(pool.in_state(state)) for state in _STATE_ORDER)


def _sums(pool: Pool, now: float) -> tuple[str, ...]:
    numbers = (pool.counts.messages, pool.counts.activations, pool.limits.queue_size, pool.queued)
    return (*map(str, numbers), str(int(now - pool.started_at)))


def _float(number: float) -> str:
    return f"{number:.6f}"


def _line(words: Iterable[str]) -> bytes:
    return " ".join(words).encode() + b"\n"
