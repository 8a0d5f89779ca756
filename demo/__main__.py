# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m demo [--once]`: start the programs, send the samples, stay until Ctrl-C.

Exit status 0 if every sample got the outcome that it should, 1 otherwise. The programs are in programs.py, the messages
in samples.py, the words in report.py.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time

from demo import report
from demo.programs import ProgramError, Programs
from demo.samples import Sample, samples
from tests.support.mta import Milter, MilterError, Outcome

CHECK_INTERVAL_S = 1.0


def main() -> int:
    """Run the demonstration and return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__.partition("\n")[0])
    parser.add_argument("--once", action="store_true", help="end after the samples")
    once = parser.parse_args().once
    # However we are asked to end, the programs are stopped and the spool is removed.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    page = report.Page(sys.stdout)
    started_s = time.monotonic()
    try:
        with Programs() as programs:
            good = _show_samples(programs, page, started_s)
            if not good:
                page.log(programs.log())
            if not once:
                _stay(programs, page)
    except KeyboardInterrupt:
        page.line("\nStopped.")
        return 0
    except (ProgramError, MilterError) as error:
        page.failure(str(error))
        return 1
    return 0 if good else 1


def _show_samples(programs: Programs, page: report.Page, started_s: float) -> bool:
    """Send each sample in a connection of its own; true if all went as they should."""
    page.opening(programs)
    wrong = 0
    first_verdict_s = 0.0
    for number, sample in enumerate(samples(), start=1):
        seconds, outcome = _send(programs, sample, number)
        first_verdict_s = first_verdict_s or time.monotonic() - started_s
        wrong += bool(sample.complaint(outcome))
        page.sample(number, sample, outcome, seconds)
    page.summary(number, wrong, first_verdict_s)
    return not wrong


def _send(programs: Programs, sample: Sample, number: int) -> tuple[float, Outcome]:
    """The outcome of one sample, and the seconds from its connection to its verdict."""
    began_s = time.monotonic()
    with Milter(programs.milter_address) as milter:
        outcome = milter.send(
            sample.content,
            sender=b"<alice@example.com>",
            recipients=[b"<bob@example.org>"],
            queue_id=b"demo%04d" % number,
        )
    return time.monotonic() - began_s, outcome


def _stay(programs: Programs, page: report.Page) -> None:
    page.how_to_connect(programs)
    while True:
        programs.check()
        time.sleep(CHECK_INTERVAL_S)


if __name__ == "__main__":
    sys.exit(main())
