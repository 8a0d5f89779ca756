# SPDX-License-Identifier: GPL-3.0-or-later
"""Say whether every user of the machine can read a path, or what keeps them out.

The daemons run as a user of their own, so the interpreter and the tree have to be readable by others. Permission
bits are judged rather than tried: whoever runs this is often root. Called by the shell scripts beside it, with any
Python: `reachable.py PATH...`, or `reachable.py --interpreter` for the one that runs it. Exit status 1: not reachable,
and the reason is on standard output.
"""

from __future__ import annotations

import os
import stat
import sys
import sysconfig


def obstacle(path: str) -> str | None:
    """The first component of `path`, links followed, that others may not pass or read; None when all is open."""
    path = os.path.realpath(path)
    parent = path
    while parent != os.path.dirname(parent):
        parent = os.path.dirname(parent)
        if not os.stat(parent).st_mode & stat.S_IXOTH:
            return parent
    wanted = stat.S_IROTH | (stat.S_IXOTH if os.path.isdir(path) or os.access(path, os.X_OK) else 0)
    return path if os.stat(path).st_mode & wanted != wanted else None


def interpreter_paths() -> list[str]:
    """What a process needs to run this interpreter: the program and the standard library."""
    return [sys.executable, sysconfig.get_path("stdlib"), os.__file__]


def main(arguments: list[str]) -> int:
    """Print the obstacle, if there is one, and return the exit status."""
    if arguments == ["--interpreter"]:
        if sys.version_info < (3, 11):
            print("%s is Python %d.%d, and 3.11 is needed" % (sys.executable, *sys.version_info[:2]))
            return 1
        arguments = interpreter_paths()
    for path in arguments:
        blocking = obstacle(path)
        if blocking:
            print("other users cannot read %s, because of the mode of %s" % (path, blocking))
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
