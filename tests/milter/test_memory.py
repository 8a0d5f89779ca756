# SPDX-License-Identifier: GPL-3.0-or-later
"""Freed memory stays with the process. Tried in a process of its own, for it cannot be undone."""

import subprocess
import sys

# Page faults while buffers of a packet's size come and go, as they do for a large message.
CHURN = """
import resource, sys
from defang_milter import memory
if sys.argv[1] == "keep":
    memory.keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def churn():
    for _ in range(200):
        buffers = [bytes(65_000 + number) for number in range(8)]
        del buffers
churn()
before = faults()
churn()
print(faults() - before)
"""


def page_faults(word: str) -> int:
    run = subprocess.run([sys.executable, "-c", CHURN, word], capture_output=True, text=True, timeout=60, check=True)
    return int(run.stdout)


def test_buffers_that_come_and_go_cost_few_page_faults() -> None:
    assert page_faults("keep") * 4 < page_faults("default")
