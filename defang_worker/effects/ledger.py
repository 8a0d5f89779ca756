# SPDX-License-Identifier: GPL-3.0-or-later
"""Several copies of one message, each handed over once although the whole may take more than one try.

What was handed over is noted in a file, the ledger, until all are. If one copy fails the message is deferred; when its
client sends it again, the ledger tells which recipients have theirs. A worker that dies between a copy and its note
sends that copy twice: a mail too many, never one too few.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
from typing import TYPE_CHECKING, Final

from defang_worker.effects.contract import EffectFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from defang_worker.effects.contract import Letter

_log: Final = logging.getLogger("defang.worker")

_NAME_CHARS: Final = 16


def submit_all(letters: tuple[Letter, ...], path: str, submit: Callable[[Letter], None]) -> None:
    """Submits those letters that the ledger of this path does not have, and removes it when none is left.

    Raises EffectFailed, before anything is submitted if no ledger can be kept.
    """
    descriptor = _opened(path)
    try:
        done = set(_read(descriptor).decode("ascii", "replace").split())
        for letter in letters:
            name = _name(letter)
            if name in done:
                _log.info("handed over in an earlier try: the copy for %s", ", ".join(letter.recipients))
                continue
            submit(letter)
            _note(descriptor, name)
        os.unlink(path)  # noqa: PTH108
    except OSError as fault:
        raise EffectFailed(f"copies not noted as submitted: {fault}") from fault
    finally:
        os.close(descriptor)


def _opened(path: str) -> int:
    try:
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)  # noqa: PTH103, PTH120
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError as fault:
        raise EffectFailed(f"copies not submitted: {fault}") from fault
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as fault:
        os.close(descriptor)
        # The client gave up waiting and sent the message again, while the first try is still at work.
        raise EffectFailed("copies not submitted: another worker is submitting them") from fault
    return descriptor


def _read(descriptor: int) -> bytes:
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0)


def _note(descriptor: int, name: str) -> None:
    line = f"{name}\n".encode()
    if os.write(descriptor, line) != len(line):
        raise OSError("the disk is full")


def _name(letter: Letter) -> str:
    return hashlib.sha256("\0".join(letter.recipients).encode("utf-8", "surrogateescape")).hexdigest()[:_NAME_CHARS]
