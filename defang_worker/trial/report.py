# SPDX-License-Identifier: GPL-3.0-or-later
"""A trial's results for people: one message in full, many as a table. Words and colours only."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from defang_worker.trial import as_json, shown_changes
from defang_worker.trial.diff import changed_lines
from defang_worker.trial.result import Fate
from defang_worker.trial.shown_changes import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from defang_worker.trial.result import Result, Timing

_GREEN, _RED, _YELLOW, _BOLD, _DIM = "32", "31", "33", "1", "2"
_FATE_COLOURS: Final = {Fate.ACCEPT: _GREEN, Fate.REJECT: _RED, Fate.TEMPFAIL: _YELLOW, Fate.DISCARD: _RED}
_SLOWEST: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What a summary needs of one result; the messages themselves would fill the memory."""

    file: str
    verdict: Fate
    is_modified: bool
    is_fault: bool
    elapsed_ms: float

    @classmethod
    def of(cls, file: str, result: Result) -> Done:
        """The result for that file, in short."""
        return cls(
            file=file,
            verdict=result.verdict,
            is_modified=result.modified,
            is_fault=result.fault is not None,
            elapsed_ms=result.elapsed_ms,
        )


class Report:
    """Makes lines; with `is_coloured` for a terminal."""

    def __init__(self, *, is_coloured: bool) -> None:
        self._is_coloured = is_coloured

    def message(self, file: str, result: Result) -> Iterator[str]:
        """The outcome for one message, without the message itself."""
        yield f"{self._paint(_BOLD, printable(file))}: {self._outcome(result)}"
        yield from self._section("fault", [result.fault.text] if result.fault else [])
        yield from self._section("changes", map(shown_changes.line, shown_changes.objects(result)))
        yield from self._section("quarantined", map(_words, as_json.quarantined(result)))
        yield from self._section("notifications", map(_words, as_json.notifications(result)))
        yield from self._section("warnings", result.warnings)
        yield from self._section(
            "defects", (f"{one.severity.name.lower()}: {one.name}, {_place(one.part)}" for one in result.defects)
        )
        yield from self._section("log", result.log)
        yield from self._section("lines", (f"{target}: {line}" for target, line in result.lines))
        yield from self._section("time", [_times(result.timings, result.elapsed_ms)])

    def diff(self, result: Result) -> Iterator[str]:
        """What was changed in the message; nothing if it is not delivered."""
        if result.delivered is None or not result.modified:
            return
        colours = {"+": _GREEN, "-": _RED}
        for line in changed_lines(result.came, result.delivered):
            yield self._paint(colours.get(line[:1], _DIM), line[:1] + printable(line[1:]))

    def row(self, file: str, result: Result) -> str:
        """The outcome for one of many messages, on a line."""
        fate = self._paint(_FATE_COLOURS[result.verdict], f"{result.verdict:8}")
        changed = "changed" if result.modified else ""
        more = (result.fault.text if result.fault else result.reply).replace("\n", " ")
        return f"{fate} {result.code} {changed:7} {result.elapsed_ms:9.1f} ms  {printable(file)}  {more}".rstrip()

    def summary(self, done: Sequence[Done]) -> Iterator[str]:
        """Counts, times and the slowest of many messages."""
        fates = Counter(one.verdict for one in done)
        counts = ", ".join(f"{fates[fate]} {fate}" for fate in Fate if fates[fate]) or "none"
        changed = sum(one.is_modified for one in done)
        faults = sum(one.is_fault for one in done)
        total_ms = sum(one.elapsed_ms for one in done)
        messages = "1 message" if len(done) == 1 else f"{len(done)} messages"
        yield ""
        yield self._paint(_BOLD, f"{messages}: {counts}; {changed} changed, {faults} filter faults")
        if done:
            yield f"{total_ms:.0f} ms in all, {total_ms / len(done):.1f} ms a message; the slowest:"
        for one in sorted(done, key=lambda one: one.elapsed_ms, reverse=True)[:_SLOWEST]:
            yield f"{one.elapsed_ms:9.1f} ms  {printable(one.file)}"

    def _outcome(self, result: Result) -> str:
        fate = self._paint(_FATE_COLOURS[result.verdict], result.verdict.value)
        words = f"{result.code} {result.dsn} {printable(result.reply)}".rstrip()
        changed = ", changed" if result.modified else ", unchanged" if result.delivered is not None else ""
        return f"{fate}{changed} ({words}, at {result.stage})"

    def _section(self, title: str, lines: Iterable[str]) -> Iterator[str]:
        for number, line in enumerate(lines):
            head = f"{title}:" if number == 0 else ""
            yield f"  {self._paint(_DIM, f'{head:14}')} {printable(line)}"

    def _paint(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._is_coloured else text


def _words(what: dict[str, object]) -> str:
    told = {key: " ".join(value) if isinstance(value, list) else value for key, value in what.items()}
    return ", ".join(f"{key} {value}" for key, value in told.items() if value)


def _place(part: str) -> str:
    return f"part {part}" if part else "the message"


def _times(timings: Mapping[str, Timing], elapsed_ms: float) -> str:
    each = [
        f"{hook} {timing.elapsed_ms:.2f} ms" + (f" ({timing.calls} calls)" if timing.calls > 1 else "")
        for hook, timing in timings.items()
    ]
    return f"{elapsed_ms:.1f} ms" + (f"; {', '.join(each)}" if each else "")
