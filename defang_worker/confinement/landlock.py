# SPDX-License-Identifier: GPL-3.0-or-later
"""Landlock: files outside of the directories that are named can neither be read nor written (landlock(7)).

Opening is judged, not what is open already. Not covered: connecting to unix sockets that have a path, and the network.
From version 6 of the kernel's interface on, signals and abstract unix sockets do not reach other processes either.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
from typing import TYPE_CHECKING, Final

from defang_worker.confinement.kernel import give_up_new_privileges, system_call

if TYPE_CHECKING:
    from collections.abc import Iterable

# The same on all architectures.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_CREATE_RULESET_VERSION: Final = 1
_RULE_PATH_BENEATH: Final = 1

# Rights of linux/landlock.h.
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_MAKE_CHAR, _MAKE_BLOCK = 1 << 6, 1 << 11
_RIGHTS_OF_VERSION_1: Final = (1 << 13) - 1
_REFER, _TRUNCATE = 1 << 13, 1 << 14
_SCOPE_ABSTRACT_SOCKETS, _SCOPE_SIGNALS = 1 << 0, 1 << 1
_OF_FILES: Final = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE


def version() -> int:
    """Of the kernel's interface; 0 if it has none, or has it switched off."""
    try:
        return system_call(_CREATE_RULESET, None, 0, _CREATE_RULESET_VERSION)
    except OSError:
        return 0


def confine(*, readable: Iterable[str], writable: Iterable[str], has: int) -> list[str]:
    """Confines this process and what it starts to these files and directories; returns those that are not there.

    `readable` ones can be executed too. `has` is the kernel's `version`, not 0. Raises OSError.
    """
    handled = _RIGHTS_OF_VERSION_1 | (_REFER if has >= 2 else 0) | (_TRUNCATE if has >= 3 else 0)
    scoped = _SCOPE_ABSTRACT_SOCKETS | _SCOPE_SIGNALS if has >= 6 else 0
    # Devices are no business of a filter. Everything else may be done where files may be written, but for executing.
    in_writable = handled & ~(_EXECUTE | _MAKE_CHAR | _MAKE_BLOCK)
    # Files, network, scopes; older kernels know less of it, and take more if it is 0.
    attributes = struct.pack("=QQQ", handled, 0, scoped)
    ruleset = system_call(_CREATE_RULESET, attributes, len(attributes), 0)
    try:
        missing = [path for path in readable if not _allow(ruleset, path, _EXECUTE | _READ_FILE | _READ_DIR)]
        missing += [path for path in writable if not _allow(ruleset, path, in_writable)]
        # What is thrown away, and terminals.
        _allow(ruleset, "/dev", handled & (_READ_FILE | _READ_DIR | _WRITE_FILE | _TRUNCATE))
        give_up_new_privileges()
        system_call(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
    return missing


def _allow(ruleset: int, path: str, rights: int) -> bool:
    """False if the path is not there, or not ours to look at."""
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ENOTDIR, errno.EACCES}:
            return False
        raise
    try:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            rights &= _OF_FILES
        system_call(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, struct.pack("=Qi", rights, descriptor), 0)
    finally:
        os.close(descriptor)
    return True
