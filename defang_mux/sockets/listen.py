# SPDX-License-Identifier: GPL-3.0-or-later
"""Listening sockets: unix or TCP, left-over files replaced, living ones respected.

Non-blocking, for `requests` and the other doors to serve.
"""

import errno
import os
import socket
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from defang_common.host.daemon import StartFailed

_OWNER_ONLY_UMASK: Final = 0o077
_GROUP_UMASK: Final = 0o007
_NO_UMASK: Final = 0
_HOSTS: Final = {
    "inet": (socket.AF_INET, "127.0.0.1"),
    "inet_any": (socket.AF_INET, "0.0.0.0"),  # noqa: S104  # asked for by its name
    "inet6": (socket.AF_INET6, "::1"),
    "inet6_any": (socket.AF_INET6, "::"),
}


@dataclass(frozen=True, slots=True)
class Listener:
    """A listening socket, non-blocking, and its file if it has one, as lstat saw it first."""

    socket: socket.socket
    path: Path | None
    file: os.stat_result | None

    def close(self) -> None:
        """Removes the file unless it is another program's by now, and closes. A second call does nothing."""
        if self.socket.fileno() >= 0:
            if self.path is not None and self.file is not None:
                with suppress(FileNotFoundError):
                    if os.path.samestat(self.path.lstat(), self.file):
                        self.path.unlink()
            self.socket.close()


def listen_for_owner(path: Path, *, group: bool, backlog: int) -> Listener:
    """A unix socket that only our user, and with `group` our group, may use. Raises `StartFailed`."""
    return _listen_unix(path, umask=_GROUP_UMASK if group else _OWNER_ONLY_UMASK, backlog=backlog)


def listen_for_own(address: str, *, group: bool, backlog: int) -> Listener:
    """As `listen_for_owner` where the address is a unix socket's, for everyone on this port otherwise."""
    path = unix_path(address)
    if path is None:
        return listen_for_all(address, backlog=backlog)
    return listen_for_owner(path, group=group, backlog=backlog)


def listen_for_all(address: str, *, backlog: int) -> Listener:
    """A socket that everyone may use, at `/path`, `unix:/path`, `inet:PORT` and the like. Raises `StartFailed`."""
    kind, _, rest = address.partition(":")
    if kind in _HOSTS:
        return _listen_tcp(kind, rest, backlog)
    path = unix_path(address)
    if path is None:
        raise StartFailed(f"no socket address: {address!r} (/PATH, unix:/PATH, inet:PORT, inet6:PORT)")
    return _listen_unix(path, umask=_NO_UMASK, backlog=backlog)


def unix_path(address: str) -> Path | None:
    """The path in `/path`, `unix:/path` or `local:/path`; None for anything else."""
    kind, colon, rest = address.partition(":")
    path = rest if colon and kind in ("unix", "local") else address
    return Path(path) if path.startswith("/") else None


def _listen_tcp(kind: str, port: str, backlog: int) -> Listener:
    family, host = _HOSTS[kind]
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise StartFailed(f"no port number: {port!r}")
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((host, int(port)))
        return _opened(listener, None, backlog)
    except OSError as error:
        listener.close()
        raise StartFailed(f"cannot listen on {kind}:{port}: {error.strerror}") from None


def _listen_unix(path: Path, *, umask: int, backlog: int) -> Listener:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(umask)
    try:
        _make_room(path)
        listener.bind(os.fspath(path))
        return _opened(listener, path, backlog)
    except OSError as error:
        listener.close()
        raise StartFailed(f"cannot listen on {path}: {error.strerror or error}") from None
    except BaseException:
        listener.close()
        raise
    finally:
        os.umask(before)


def _opened(listener: socket.socket, path: Path | None, backlog: int) -> Listener:
    listener.listen(backlog)
    listener.setblocking(False)
    return Listener(listener, path, None if path is None else path.lstat())


def _make_room(path: Path) -> None:
    """Removes the socket of a program that is gone. Whatever else lies there is left alone."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise StartFailed(f"{path} is in the way: it is not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        # A full backlog must not keep us waiting; it is an answer too.
        probe.setblocking(False)
        result = probe.connect_ex(os.fspath(path))
    if result == errno.ECONNREFUSED:
        path.unlink()
    elif result in (0, errno.EAGAIN, errno.EPROTOTYPE):
        raise StartFailed(f"another program serves on {path}")
    elif result != errno.ENOENT:
        raise OSError(result, os.strerror(result))
