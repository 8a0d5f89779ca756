# SPDX-License-Identifier: GPL-3.0-or-later
"""seccomp: system calls that no filter needs fail with EPERM (seccomp(2)).

Calls by which one process looks into another, or which change the system: modules, mounts, namespaces, keys, clocks. A
list of what is denied and not of what is allowed, because a filter may load any library, and start any scanner.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import struct
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from defang_worker.confinement.kernel import give_up_new_privileges, prctl

if TYPE_CHECKING:
    from collections.abc import Iterable

# prctl(2), linux/seccomp.h.
_PR_SET_SECCOMP, _MODE_FILTER = 22, 2
_ALLOW, _FAIL = 0x7FFF_0000, 0x0005_0000

# linux/bpf_common.h: load a word; compare with a constant; return a constant.
_LOAD, _IF_EQUAL, _IF_AT_LEAST, _IF_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
# Offsets in struct seccomp_data. Of the first argument the low half, on little-endian machines.
_NUMBER_AT, _ARCHITECTURE_AT, _FIRST_ARGUMENT_AT = 0, 4, 16

# CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET of clone(2).
_NEW_NAMESPACES: Final = 0x7E02_0000
# x86_64 has a second table, of the x32 programs, from this number on.
_X32_FROM: Final = 0x4000_0000


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """A kernel's name for itself (linux/audit.h), where clone is, and what is denied."""

    audit_number: int
    clone: int
    denied: tuple[int, ...]


# The same everywhere: io_uring_setup, open_tree, move_mount, fsopen, fsconfig, fsmount, fspick, pidfd_getfd,
# mount_setattr, quotactl_fd.
NEW_CALLS: Final = (425, 428, 429, 430, 431, 432, 433, 438, 442, 443)
# With its flags in memory, where no filter can look: said not to exist, so that the C library takes clone.
_CLONE3: Final = 435

ARCHITECTURES: Final = {
    "x86_64": Architecture(
        audit_number=0xC000_003E,
        clone=56,
        denied=(
            101, 310, 311, 312,  # ptrace, process_vm_readv, process_vm_writev, kcmp
            165, 166, 155, 161, 304,  # mount, umount2, pivot_root, chroot, open_by_handle_at
            272, 308,  # unshare, setns
            167, 168, 163, 179,  # swapon, swapoff, acct, quotactl
            169, 246, 320, 170, 171,  # reboot, kexec_load, kexec_file_load, sethostname, setdomainname
            175, 176, 313, 172, 173,  # init_module, delete_module, finit_module, iopl, ioperm
            164, 227, 305, 159,  # settimeofday, clock_settime, clock_adjtime, adjtimex
            248, 249, 250,  # add_key, request_key, keyctl
            298, 321, 323, 103,  # perf_event_open, bpf, userfaultfd, syslog
        ),
    ),
    "aarch64": Architecture(
        audit_number=0xC000_00B7,
        clone=220,
        denied=(
            117, 270, 271, 272,  # ptrace, process_vm_readv, process_vm_writev, kcmp
            40, 39, 41, 51, 265,  # mount, umount2, pivot_root, chroot, open_by_handle_at
            97, 268,  # unshare, setns
            224, 225, 89, 60,  # swapon, swapoff, acct, quotactl
            142, 104, 294, 161, 162,  # reboot, kexec_load, kexec_file_load, sethostname, setdomainname
            105, 106, 273,  # init_module, delete_module, finit_module
            170, 112, 266, 171,  # settimeofday, clock_settime, clock_adjtime, adjtimex
            217, 218, 219,  # add_key, request_key, keyctl
            241, 280, 282, 116,  # perf_event_open, bpf, userfaultfd, syslog
        ),
    ),
}  # fmt: skip


def architecture() -> Architecture | None:
    """Ours, if its calls are known."""
    # A 32-bit interpreter on a 64-bit kernel has other numbers.
    if sys.platform != "linux" or struct.calcsize("P") != 8:
        return None
    return ARCHITECTURES.get(platform.machine())


_INSTRUCTION: Final = struct.Struct("=HBBI")


def deny(own: Architecture) -> None:
    """Denies the calls to this process and to all that it starts, for good. Raises OSError."""
    code = program(own)
    buffer = ctypes.create_string_buffer(code, len(code))
    length = len(code) // _INSTRUCTION.size
    filter_program = struct.pack("@HP", length, ctypes.addressof(buffer))
    give_up_new_privileges()
    prctl(_PR_SET_SECCOMP, ctypes.c_ulong(_MODE_FILTER), filter_program)


def program(own: Architecture) -> bytes:
    """The instructions for the kernel, which runs them at each system call."""
    denied = (*own.denied, *NEW_CALLS)
    fail, absent = _FAIL | errno.EPERM, _FAIL | errno.ENOSYS
    # Jumps count the instructions that are left out, and reach 255 of them at most.
    lines: list[tuple[int, int, int, int]] = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_IF_EQUAL, 1, 0, own.audit_number),
        (_RETURN, 0, 0, fail),
        (_LOAD, 0, 0, _NUMBER_AT),
        (_IF_AT_LEAST, 0, 1, _X32_FROM),
        (_RETURN, 0, 0, fail),
        (_IF_EQUAL, 0, 1, _CLONE3),
        (_RETURN, 0, 0, absent),
        *_each(denied, fail),
        (_IF_EQUAL, 0, 3, own.clone),
        (_LOAD, 0, 0, _FIRST_ARGUMENT_AT),
        (_IF_ANY_BIT, 0, 1, _NEW_NAMESPACES),
        (_RETURN, 0, 0, fail),
        (_RETURN, 0, 0, _ALLOW),
    ]
    return b"".join(_INSTRUCTION.pack(*line) for line in lines)


def _each(numbers: Iterable[int], outcome: int) -> list[tuple[int, int, int, int]]:
    lines = []
    for number in numbers:
        lines += [(_IF_EQUAL, 0, 1, number), (_RETURN, 0, 0, outcome)]
    return lines
