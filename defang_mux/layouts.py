# SPDX-License-Identifier: GPL-3.0-or-later
"""How md-mx-ctrl shows replies to people and as JSON: tables, bars, blocks.

Text in, text out, but for JSON's time and host name. The original's layouts, to the blank. Called by `ctl` only.
"""

import json
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

_STATE_WORDS: Final = {"I": "idle", "B": "busy", "S": "stopped", "K": "killed"}

_MAX_WORKER_CELLS: Final = 25
_MAX_QUEUE_CELLS: Final = 20

_LOAD_ROWS: Final = (("10 Sec", 10), (" 1 Min", 60), (" 5 Min", 300), ("10 Min", 600))
_HLOAD_ROWS: Final = ("1h", "4h", "12h", "24h")
_LOAD1_ROWS: Final = ("Scan", "Relayok", "Senderok", "Recipok")
_LOAD1_WORDS: Final = 26

# Title of the counts, and what the times are times of.
_LOAD_TITLES: Final = {
    "": ("Msgs", "Scan"),
    "-relayok": ("Conn", "Conn"),
    "-senderok": ("MAIL", "MAIL"),
    "-recipok": ("RCPT", "RCPT"),
}


class Unfit(Exception):  # named for the reply, which fits no layout
    """A reply that cannot be laid out; the message is to be printed instead."""

    def __init__(self, message: str, *, is_error_reply: bool = False) -> None:
        super().__init__(message)
        self.is_error_reply = is_error_reply


@dataclass(frozen=True, slots=True)
class Layout:
    """What to send, and how to show the reply. `ends_line`: a missing last newline is added."""

    request: str
    lay_out: Callable[[str], str]
    ends_line: bool = True


def find(typed: str) -> Layout | None:
    """The layout for a command as it was typed; None for those whose reply is shown as it is, decoded."""
    layout = _FIXED.get(typed)
    if layout is not None:
        return layout
    word, blank, rest = typed.partition(" ")
    if blank and word in _WITH_NUMBER:
        lay_out, ends_line = _WITH_NUMBER[word]
        return Layout(f"load1 {rest}", lay_out, ends_line)
    return None


def _as_is(reply: str) -> str:
    return reply


def _unfit(reply: str) -> Unfit:
    if reply.startswith("error: "):
        return Unfit(reply.rstrip("\n"), is_error_reply=True)
    return Unfit(f"Could not interpret response: {reply}".rstrip("\n"))


def _reread(reply: str) -> str:
    """The error and what belongs to it, if the filter was not reread."""
    if reply.startswith("error: "):
        raise _unfit(reply)
    return reply


# Status


def _status_words(reply: str) -> list[str]:
    if reply[:1] not in _STATE_WORDS:
        raise Unfit(f"ERROR {reply}".rstrip("\n"), is_error_reply=True)
    return reply.split()


def _state_words(letters: str) -> list[str]:
    return [_STATE_WORDS.get(letter, f"unknown state '{letter}'") for letter in letters]


def _status(reply: str) -> str:
    states = _state_words(_status_words(reply)[0])
    rows = (f"Worker {number}: {state}\n" for number, state in enumerate(states))
    return f"Max workers: {len(states)}\n" + "".join(rows)


def _json_status(reply: str) -> str:
    states = _state_words(_status_words(reply)[0])
    rows = (f',"Worker{number}": {json.dumps(state)}' for number, state in enumerate(states))
    return _json_head() + "".join(rows) + "}"


def _bar_status(reply: str) -> str:
    words = _status_words(reply)
    try:
        letters, messages, _, queue_size, queued, *_ = words
        text = _bar(letters.count("B"), len(letters), _MAX_WORKER_CELLS, "B")
        if int(queue_size):
            text += "  " + _bar(int(queued), int(queue_size), _MAX_QUEUE_CELLS, "Q")
    except ValueError:
        raise _unfit(reply) from None
    return f"{text} {messages}\n"


def _bar(count: int, most: int, cells: int, mark: str) -> str:
    """`3/10 QQQ.......`: a cell for each, or `cells` for all of them, rounded up."""
    filled = count if most <= cells else -(-count * cells // most)
    return f"{count:3d}/{most} {mark * filled}{'.' * (min(most, cells) - filled)}"


# Load


def _load_table(suffix: str, row_labels: tuple[str, ...] | None, reply: str) -> str:
    """A row for each window; `row_labels` if the windows are hours, whose length stands in the reply."""
    words = reply.split()
    counted, timed = _LOAD_TITLES[suffix]
    head = f"{'Load':>6} {counted:>17} {counted + '/Sec':>15} {'Avg ms/' + timed:>15}   Avg Busy Workers\n"
    try:
        if row_labels is not None:
            spans = [(f"{label:>6}", int(words[12 + row])) for row, label in enumerate(row_labels)]
        else:
            spans = list(_LOAD_ROWS)
        rows = [
            _load_row(label, int(words[row]), seconds, float(words[8 + row]), float(words[4 + row]))
            for row, (label, seconds) in enumerate(spans)
        ]
    except (IndexError, ValueError):
        raise _unfit(reply) from None
    return head + "".join(rows)


def _load_row(label: str, count: int, seconds: int, mean_ms: float, mean_busy: float) -> str:
    rate = count / seconds if seconds else 0.0
    return f"{label} {count:15d} {rate:15.2f} {mean_ms:15.1f} {mean_busy:15.2f}\n"


def _load1_numbers(reply: str) -> list[float]:
    try:
        numbers = [float(word) for word in reply.split()]
    except ValueError:
        raise _unfit(reply) from None
    if len(numbers) != _LOAD1_WORDS:
        raise _unfit(reply)
    return numbers


def _load1(reply: str) -> str:
    numbers = _load1_numbers(reply)
    seconds = int(numbers[21])
    busy, idle, stopped, killed, _, _, size, queued = map(int, numbers[12:20])
    scan, relayok, senderok, recipok = map(int, numbers[22:26])
    lines = [
        f"Statistics for last {seconds} seconds:",
        f"{'Cmd':>10} {'Num':>15} {'Num/s':>15} {'AvgWorkers':>15} {'AvgMS':>15}",
    ]
    for row, title in enumerate(_LOAD1_ROWS):
        count, mean_busy, mean_ms = numbers[3 * row : 3 * row + 3]
        rate = count / seconds if seconds else 0.0
        lines.append(f"{title:>10} {int(count):15d} {rate:15.1f} {mean_busy:15.1f} {mean_ms:15.1f}")
    lines += [
        "",
        "Current Snapshot:",
        f"Workers: busy={busy} idle={idle} stopped={stopped} killed={killed}",
        f"Cmds:   scan={scan} relayok={relayok} senderok={senderok} recipok={recipok}",
        f"Queue:  size={size} queued={queued}",
    ]
    return "\n".join(lines) + "\n"


def _json_load1(reply: str) -> str:
    numbers = [int(number) for number in _load1_numbers(reply)]
    workers = zip(("busy", "idle", "stopped", "killed"), numbers[12:16], strict=True)
    commands = zip(("scan", "relayok", "senderok", "recipok"), numbers[22:26], strict=True)
    return (
        _json_head()
        + ","
        + ", ".join(f'"{state}workers":{count}' for state, count in workers)
        + ","
        + ", ".join(f'"{word}":{count}' for word, count in commands)
        + f',"queue_size":{numbers[18]}, "queued_requests":{numbers[19]}}}'
    )


def _json_head() -> str:
    return f'{{"timestamp": "{time.ctime()}","hostname": {json.dumps(socket.gethostname())}'


def _fixed() -> dict[str, Layout]:
    table = {
        "status": Layout("status", _status),
        "rawstatus": Layout("status", _as_is),
        "barstatus": Layout("status", _bar_status),
        "jsonstatus": Layout("status", _json_status, ends_line=False),
        "reread": Layout("reread", _reread),
        "msgs": Layout("msgs", _as_is),
    }
    for suffix in _LOAD_TITLES:
        for word, row_labels in (("load", None), ("hload", _HLOAD_ROWS)):
            request = word + suffix
            table["raw" + request] = Layout(request, _as_is)
            table[request] = Layout(request, partial(_load_table, suffix, row_labels))
    return table


_FIXED: Final = _fixed()
_WITH_NUMBER: Final[dict[str, tuple[Callable[[str], str], bool]]] = {
    "load1": (_load1, True),
    "rawload1": (_as_is, True),
    "jsonload1": (_json_load1, False),
}
