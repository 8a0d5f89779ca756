# SPDX-License-Identifier: GPL-3.0-or-later
"""The secret that marks our own mail, kept in a file of the quarantine and made when it is first needed."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from functools import cache
from typing import Final

from defang_worker.effects.contract import EffectFailed

KEPT_IN: Final = ".key"
"""Its name there. Hosts that share a mail queue's way back have to share the file."""

# The block of the hash is 64; RFC 2104 wants no less than its output, 32.
_SECRET_BYTES: Final = 32


@cache
def secret(directory: str) -> bytes:
    """The secret of that quarantine. Raises EffectFailed if there is none and none can be made."""
    path = f"{directory}/{KEPT_IN}"
    try:
        with suppress(FileNotFoundError):
            return _read(path)
        _make(directory, path)
        return _read(path)
    except OSError as fault:
        raise EffectFailed(f"no secret to mark mail with: {fault}") from fault


def _read(path: str) -> bytes:
    with open(path, "rb") as file:  # noqa: PTH123
        text = file.read().decode("ascii", "replace").strip()
    with suppress(ValueError):
        if len(found := bytes.fromhex(text)) >= _SECRET_BYTES:
            return found
    raise EffectFailed(f"{path}: no secret of {_SECRET_BYTES} bytes in hexadecimal digits")


def _make(directory: str, path: str) -> None:
    """Makes the file, whole when it appears; who is a moment too late leaves the other's."""
    owner = os.stat(directory)  # noqa: PTH116
    unfinished = f"{path}-{secrets.token_hex(8)}"
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, secrets.token_hex(_SECRET_BYTES).encode() + b"\n")
        if os.geteuid() == 0:
            # Made by root's command, it is read by the workers.
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
        os.fsync(descriptor)
        with suppress(FileExistsError):
            os.link(unfinished, path)
    finally:
        os.close(descriptor)
        os.unlink(unfinished)  # noqa: PTH108
