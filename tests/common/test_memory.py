# SPDX-License-Identifier: GPL-3.0-or-later
"""What starting has used is given back. Tried in a process of its own, which has little else."""

import subprocess
import sys

# Blocks of half a page, of which a few stay in use all over the heap: as loading modules leaves it.
FRAGMENTED = """
import re
from defang_common.host import memory
def resident_kib():
    return int(re.search(r"VmRSS:\\s+(\\d+)", open("/proc/self/status").read())[1])
blocks = [bytes(2000) for _ in range(10_000)]
kept = blocks[::50]
del blocks
before = resident_kib()
memory.give_back()
print(before - resident_kib())
"""
FREED_KIB = 10_000 * 2000 // 1024


def test_free_pages_between_blocks_in_use_are_given_back() -> None:
    run = subprocess.run([sys.executable, "-c", FRAGMENTED], capture_output=True, text=True, timeout=60, check=True)
    assert int(run.stdout) > FREED_KIB / 2
