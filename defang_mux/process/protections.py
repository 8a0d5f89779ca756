# SPDX-License-Identifier: GPL-3.0-or-later
"""What workers may not do, and what of that the system really keeps them from (protocol.md, Protections).

Core dumps and privileges are given up by the multiplexor itself, which needs neither, and so by all that it starts;
limits for workers alone are set from outside (`rlimits`).
"""

import ctypes
import resource
import sys
from dataclasses import dataclass
from typing import Final

from defang_mux.process.rlimits import WorkerLimits

# prctl(2).
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_GET_NO_NEW_PRIVS: Final = 39


@dataclass(frozen=True, slots=True)
class Protection:
    """One protection: what there is of it, in words. `is_missing`: it was wanted, and the system does not have it."""

    name: str
    state: str
    is_missing: bool = False


def give_up(*, no_new_privileges: bool, limits: WorkerLimits) -> tuple[Protection, ...]:
    """Gives up what this process and its children need not have; all protections of workers, as they are now."""
    return (
        _no_core_dumps(),
        _no_new_privileges(wanted=no_new_privileges),
        *(Protection(name, f"at most {limit}" if limit else "no limit") for name, limit in limits.described()),
    )


def _no_core_dumps() -> Protection:
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except OSError as error:
        return Protection("core-dumps", f"allowed: {error.strerror}", is_missing=True)
    return Protection("core-dumps", "none")


def _no_new_privileges(*, wanted: bool) -> Protection:
    name = "new-privileges"
    if sys.platform != "linux":
        return Protection(name, "allowed: this system cannot take them", is_missing=wanted)
    libc = ctypes.CDLL(None)
    if wanted and libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return Protection(name, "allowed: the kernel refuses to take them", is_missing=True)
    # Whoever started us may have seen to it, too.
    return Protection(name, "none" if libc.prctl(_PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 else "allowed")


def report(protections: tuple[Protection, ...]) -> bytes:
    """A line for each: its name and what there is of it."""
    return "".join(f"{protection.name} {protection.state}\n" for protection in protections).encode()
