# SPDX-License-Identifier: GPL-3.0-or-later
"""Working directories of a front end that was killed: removed by the next one, as nobody else will.

Called once by `listener`, when the socket is ours. What a front end removes while it runs is `workdir`'s.
"""

import fcntl
import logging
import os
from pathlib import Path

from defang_common.wire import spool

_log = logging.getLogger("defang.milter")


def remove(directory: Path, *, keep: bool) -> int:
    """Removes what is left in the spool unless it is to be kept, or another front end of ours has messages there.

    Returns the descriptor of a lock, held to the end of the process, that says that we may have. Their messages were
    never accepted, so their senders still have them. OSError if the spool cannot be read.
    """
    lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        _log.info("%s has another front end: what is left there stays", directory)
    else:
        if not keep and not (directory / spool.KEEP_MARK).exists():
            _remove_all(directory)
    fcntl.flock(lock, fcntl.LOCK_SH)
    return lock


def _remove_all(directory: Path) -> None:
    for left in sorted(directory.glob(spool.DIRECTORY_PREFIX + "*")):
        if not left.is_dir() or left.is_symlink():
            continue
        import shutil  # noqa: PLC0415  # where a front end was killed

        try:
            shutil.rmtree(left)
        except OSError as error:
            _log.warning("%s, left by a front end that was killed, stays: %s", left, error.strerror)
        else:
            _log.info("%s, left by a front end that was killed, is removed", left)
