# SPDX-License-Identifier: GPL-3.0-or-later
"""The stack on standard error when a worker is ended by a fault, by its CPU limit, or because it hangs.

The multiplexor sends SIGUSR2 to a worker that took too long, before it ends it (protocol.md, Ending a worker). Called
once, before the first request; a process that forks later has it too.
"""

import faulthandler
import signal
from typing import Final

_STANDARD_ERROR: Final = 2


def write_when_it_ends() -> None:
    """Has the stacks of all threads written at fatal signals, SIGXCPU and SIGUSR2; only the last one is survived."""
    faulthandler.enable(_STANDARD_ERROR)
    faulthandler.register(signal.SIGUSR2, _STANDARD_ERROR)
    faulthandler.register(signal.SIGXCPU, _STANDARD_ERROR, chain=True)
