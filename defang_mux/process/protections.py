# SPDX-License-Identifier: GPL-3.0-or-later
"""What workers may not do, and what of that the system really keeps them from (protocol.md, Protections).

Core dumps and privileges are given up by the multiplexor itself, which needs neither, and so by all that it starts;
limits for workers alone are set from outside (`rlimits`).
"""

import ctypes
import platform
import resource
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from defang_common.wire.confinement import CALLS_ARE_KNOWN_FOR, Confinement
from defang_mux.process.rlimits import WorkerLimits

# prctl(2).
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_GET_NO_NEW_PRIVS: Final = 39
# landlock_create_ruleset(2): its number everywhere, and the flag that asks for the version.
_LANDLOCK_CREATE_RULESET: Final = 444
_LANDLOCK_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Protection:
    """One protection: what there is of it, in words. `is_missing`: it was wanted, and the system does not have it."""

    name: str
    state: str
    is_missing: bool = False


def give_up(*, no_new_privileges: bool, limits: WorkerLimits, asked: Confinement) -> tuple[Protection, ...]:
    """Gives up what this process and its children need not have; all protections of workers, as they are now.

    What is `asked` of workers, they do themselves, and none of Defang's serves that cannot do what the kernel can.
    """
    is_confined = asked.writable is not None or asked.deny_calls
    return (
        _no_core_dumps(),
        _no_new_privileges(wanted=no_new_privileges or is_confined),
        *(Protection(name, f"at most {limit}" if limit else "no limit") for name, limit in limits.described()),
        Protection("cpu-seconds", f"at most {asked.cpu_limit_s} a request" if asked.cpu_limit_s else "no limit"),
        _landlock(asked.writable),
        _denied_calls(wanted=asked.deny_calls),
    )


def _landlock(writable: tuple[str, ...] | None) -> Protection:
    if writable is None:
        return Protection("landlock", "not wanted")
    version = -1
    if sys.platform == "linux":
        version = ctypes.CDLL(None).syscall(_LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), _LANDLOCK_VERSION)
    if version < 1:
        return Protection("landlock", "this kernel has none, or has it switched off", is_missing=True)
    return Protection("landlock", f"version {version}, writing to {':'.join(writable)} and to what the filter names")


def _denied_calls(*, wanted: bool) -> Protection:
    if not wanted:
        return Protection("system-calls", "all allowed")
    machine = platform.machine()
    if sys.platform != "linux" or machine not in CALLS_ARE_KNOWN_FOR or sys.maxsize < 2**32:
        return Protection("system-calls", f"all allowed: those of {machine} are not known", is_missing=True)
    if not Path("/proc/sys/kernel/seccomp").is_dir():
        return Protection("system-calls", "all allowed: this kernel has no seccomp", is_missing=True)
    return Protection("system-calls", "those that no filter needs are denied")


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
