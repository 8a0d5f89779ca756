# SPDX-License-Identifier: GPL-3.0-or-later
"""Compares this tree with another checkout of it: `python -m benchmarks.against DIR`, as root.

Both chains run all the time and get their load in turn, in many short rounds. What a change is worth is told by the
differences of rounds that follow upon one another, with the standard error of their mean: 1 or 2 % can be seen, if the
rounds are enough, on a machine that has other things to do.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Final

from benchmarks import load, messages
from benchmarks.contestants import DEFAULT_WORKERS, OURS, Contestant, chain_of, started
from benchmarks.processes import Cost
from benchmarks.report import markdown
from tests.support.process import ProgramError

_COUNTS: Final = {"2.7k": 400, "100k": 200, "5m": 40}
_WARM_UP_MESSAGES: Final = 16
_SESSIONS: Final = 4
_MS: Final = 1000.0
_GROUPS: Final[dict[str, Callable[[Cost], float]]] = {
    "milter": lambda cost: cost.milter_s,
    "mux": lambda cost: cost.mux_s,
    "workers": lambda cost: cost.workers_s,
    "all": lambda cost: cost.total_s,
}


@dataclass(frozen=True, slots=True)
class Pair:
    """What one round cost in the other tree and in this one, for a message."""

    before: Cost
    now: Cost


def table(size: str, pairs: Sequence[Pair]) -> str:
    """Milliseconds a message by process group, and by how much this tree takes more or less."""
    rows = []
    for name, of in _GROUPS.items():
        before_ms = [of(pair.before) * _MS for pair in pairs]
        now_ms = [of(pair.now) * _MS for pair in pairs]
        differences = [now - before for before, now in zip(before_ms, now_ms, strict=True)]
        error = stdev(differences) / len(differences) ** 0.5
        share = f"{mean(differences) / mean(before_ms):+.1%}" if any(before_ms) else "-"
        difference = f"{mean(differences):+.3f} ± {error:.3f}"
        rows.append((size, name, f"{mean(before_ms):.3f}", f"{mean(now_ms):.3f}", difference, share))
    return markdown(("size", "processes", "before ms", "now ms", "difference ms", ""), rows)


def main() -> int:
    """The command's exit status."""
    options = _parser().parse_args()
    if os.geteuid() != 0:
        print("benchmarks: root has to start this: the daemons run as a user of their own", file=sys.stderr)
        return 1
    now = chain_of(OURS, DEFAULT_WORKERS)
    chains = {"before": replace(now, programs=options.tree.resolve() / ".venv" / "bin"), "now": now}
    try:
        with started(chains, workers=DEFAULT_WORKERS) as (before, after):
            for size in options.sizes:
                print(table(size, _pairs(before, after, size, options.rounds)), flush=True)
    except (load.LoadFailed, ProgramError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.against", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tree", type=Path, metavar="DIR", help="the other checkout, in which `make setup` was run")
    parser.add_argument("--sizes", nargs="+", choices=list(messages.SIZES), default=list(messages.SIZES))
    parser.add_argument("--rounds", type=int, choices=range(2, 201), metavar="2..200", default=24, help="each (24)")
    return parser


def _pairs(before: Contestant, now: Contestant, size: str, rounds: int) -> list[Pair]:
    message, count = messages.named(size), _COUNTS[size]

    def cost_of(one: Contestant) -> Cost:
        began = one.cost()
        one.load(message, count, _SESSIONS)
        return (one.cost() - began).of_each(count)

    for one in (before, now):
        one.load(message, _WARM_UP_MESSAGES, _SESSIONS)
    pairs = []
    for number in range(rounds):
        # In turn, for whoever comes second finds the caches of the first.
        costs = {one.name: cost_of(one) for one in ((before, now) if number % 2 == 0 else (now, before))}
        pairs.append(Pair(costs[before.name], costs[now.name]))
    return pairs


if __name__ == "__main__":
    sys.exit(main())
