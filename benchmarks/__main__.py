# SPDX-License-Identifier: GPL-3.0-or-later
"""Measures defang and MIMEDefang side by side and writes the result to benchmarks/results/.

load: both run all the time, and get messages in turn, round by round: what else the machine does hits both alike.
memory: of one after the other, when all of its 10 workers have filtered mail.
requests: what the multiplexor itself takes for a request.
readiness: how long it takes until a worker of ours serves, forked or started as a program.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks import load, memory, messages, readiness, report, requests
from benchmarks.contestants import DEFAULT_WORKERS, NAMES, Contestant, contestants, version
from benchmarks.processes import NOTHING, Cost
from defang_worker.trial.mta_message import Message
from tests.support.process import ProgramError

RESULTS = Path(__file__).parent / "results"
# Messages a round: each takes some seconds, and CPU time comes in ticks of 10 ms.
COUNTS = {"2.7k": 800, "100k": 300, "5m": 16}
QUICK_COUNTS = {"2.7k": 100, "100k": 40, "5m": 4}
WARM_UP_MESSAGES = 8
STARTS, QUICK_STARTS = 20, 3
_HOW = """\
{workers} workers each, {sessions} SMTP sessions at a time, one message each; MIMEDefang with its embedded interpreter
(-E). The filters look at names and types of all parts and add a header field. CPU time is that of all processes,
children that have ended included, in milliseconds a message."""
_HOW_MEMORY = f"""\
{memory.WORKERS} workers, {memory.MESSAGES} messages of 2.7 KB that all of them share; MIMEDefang with its embedded
interpreter (-E). All processes count, our template with the workers; PSS divides shared pages."""
REQUEST_ROUNDS, QUICK_REQUEST_ROUNDS = 20, 3
_HOW_REQUESTS = f"""\
CPU time of the multiplexor alone, in rounds of {requests.REQUESTS} requests, by {requests.CLIENTS} clients at a time,
to {requests.WORKERS} workers that do nothing."""
_HOW_READINESS = """\
From the order of a worker of ours to its first answer, with the benchmark's filter: forked by a template, and started
as a program."""


@dataclass(slots=True, kw_only=True)
class Tally:
    """What the rounds of one contestant with one size have given so far."""

    latencies_s: list[float] = field(default_factory=list)
    wall_s: float = 0.0
    cost: Cost = NOTHING

    def measurement(self, contestant: Contestant, size: str) -> report.Measurement:
        """The sum of the rounds, with the memory that the contestant has now."""
        return report.Measurement(
            contestant=contestant.name,
            size=size,
            latencies_s=tuple(self.latencies_s),
            wall_s=self.wall_s,
            cost=self.cost,
            memory=contestant.memory(),
        )


def main() -> int:
    """The command's exit status: 1 if a message was not answered as it must be, whatever the figures."""
    options = _parser().parse_args()
    if os.geteuid() != 0:
        print("benchmarks: root has to start this: the daemons run as a user of their own", file=sys.stderr)
        return 1
    try:
        text = "\n\n".join(_page(options)) + "\n"
    except (load.LoadFailed, ProgramError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    print(f"\n{text}")
    if not options.dry and not options.quick:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(text)
        print(f"written to {options.output}")
    return 0


def _parser() -> argparse.ArgumentParser:
    today = dt.datetime.now(dt.UTC).date()
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--measure", nargs="+", choices=list(_SECTIONS), default=list(_SECTIONS), help="not all of it")
    parser.add_argument("--sizes", nargs="+", choices=list(messages.SIZES), default=list(messages.SIZES))
    parser.add_argument("--programs", nargs="+", choices=list(NAMES), default=list(NAMES))
    parser.add_argument("--rounds", type=int, choices=range(1, 21), metavar="1..20", help="of each size (3, quick: 1)")
    parser.add_argument("--sessions", type=int, choices=range(1, 65), metavar="1..64", default=4, help="at a time (4)")
    parser.add_argument(
        "--workers", type=int, choices=range(1, 65), metavar="1..64", default=DEFAULT_WORKERS, help="of each (2)"
    )
    parser.add_argument("--quick", action="store_true", help="few messages and no file: shows that all works")
    parser.add_argument("--output", type=Path, default=RESULTS / f"{today}.md", help="the result (benchmarks/results/)")
    parser.add_argument("--dry", action="store_true", help="print the result and write no file")
    return parser


def _measure_all(options: argparse.Namespace) -> list[report.Measurement]:
    """Size by size; in each round every contestant has its turn, the order reversed from round to round."""
    counts = QUICK_COUNTS if options.quick else COUNTS
    rounds = options.rounds or (1 if options.quick else 3)
    measurements = []
    with contestants(options.programs, workers=options.workers) as running:
        for size in options.sizes:
            message = messages.named(size)
            tallies = {one.name: Tally() for one in running}
            for one in running:
                one.load(message, WARM_UP_MESSAGES, options.sessions)
            for number in range(rounds):
                for one in running if number % 2 == 0 else reversed(running):
                    _measure(one, message, counts[size], options.sessions, tallies[one.name])
                    _progress(f"{size:>5} round {number + 1} of {rounds}", one.name, tallies[one.name])
            measurements += [tallies[one.name].measurement(one, size) for one in running]
    return measurements


def _measure(one: Contestant, message: Message, count: int, sessions: int, tally: Tally) -> None:
    before = one.cost()
    timing = one.load(message, count, sessions)
    tally.cost += one.cost() - before
    tally.latencies_s += timing.latencies_s
    tally.wall_s += timing.wall_s


def _progress(where: str, name: str, tally: Tally) -> None:
    count = len(tally.latencies_s)
    print(
        f"{where}: {name:<10} {count / tally.wall_s:7.1f} msg/s {tally.cost.total_s * 1000 / count:8.2f} ms CPU",
        flush=True,
    )


def _page(options: argparse.Namespace) -> Iterator[str]:
    """The paragraphs of the result; measures what they tell."""
    now = dt.datetime.now(dt.UTC)
    about = "; ".join(
        [*map(version, options.programs), _first_line("perl", "-e", "print $^V"), f"Python {platform.python_version()}"]
    )
    yield f"# Benchmark of {now:%Y-%m-%d %H:%M} UTC"
    yield f"{about}. {platform.system()} {platform.release()}, {os.cpu_count()} x {_processor()}."
    for name in _SECTIONS:
        if name in options.measure:
            yield from _SECTIONS[name](options)
    if options.quick:
        yield "A quick run: too few messages to draw conclusions from, and no file is written."


def _load_section(options: argparse.Namespace) -> Iterator[str]:
    measurements = _measure_all(options)
    yield _HOW.format(workers=options.workers, sessions=options.sessions)
    yield report.table(measurements)
    if compared := report.ratios(measurements):
        yield "Ours divided by theirs:"
        yield compared


def _memory_section(options: argparse.Namespace) -> Iterator[str]:
    yield "## Memory"
    yield _HOW_MEMORY
    yield report.memory_table(list(memory.readings(options.programs)))


def _requests_section(options: argparse.Namespace) -> Iterator[str]:
    yield "## Requests"
    yield _HOW_REQUESTS
    rounds = QUICK_REQUEST_ROUNDS if options.quick else REQUEST_ROUNDS
    yield report.requests_table(requests.measured(options.programs, rounds))


def _readiness_section(options: argparse.Namespace) -> Iterator[str]:
    yield "## Readiness"
    yield _HOW_READINESS
    yield report.readiness_table(readiness.measured(QUICK_STARTS if options.quick else STARTS))


_SECTIONS: Final = {
    "load": _load_section,
    "memory": _memory_section,
    "requests": _requests_section,
    "readiness": _readiness_section,
}


def _first_line(*argv: str) -> str:
    output = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=30).stdout
    return f"{argv[0].capitalize()} {output.strip()}"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return " ".join(line.partition(":")[2].split())
    return platform.machine()


if __name__ == "__main__":
    sys.exit(main())
