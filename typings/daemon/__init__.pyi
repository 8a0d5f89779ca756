# SPDX-License-Identifier: GPL-3.0-or-later
"""Types of python-daemon 3.1, which has none of its own: the one class that its documentation describes."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from types import FrameType, TracebackType
from typing import IO, TypeAlias

_SignalAction: TypeAlias = str | Callable[[int, FrameType | None], object] | None

class DaemonContext:
    def __init__(
        self,
        chroot_directory: str | None = ...,
        working_directory: str = ...,
        umask: int = ...,
        uid: int | None = ...,
        gid: int | None = ...,
        initgroups: bool = ...,
        prevent_core: bool = ...,
        detach_process: bool | None = ...,
        files_preserve: Iterable[int | IO[str] | IO[bytes]] | None = ...,
        pidfile: AbstractContextManager[object] | None = ...,
        stdin: IO[str] | IO[bytes] | None = ...,
        stdout: IO[str] | IO[bytes] | None = ...,
        stderr: IO[str] | IO[bytes] | None = ...,
        signal_map: Mapping[int, _SignalAction] | None = ...,
    ) -> None: ...
    @property
    def is_open(self) -> bool: ...
    def open(self) -> None: ...
    def close(self) -> None: ...
    def terminate(self, signal_number: int, stack_frame: FrameType | None) -> None: ...
    def __enter__(self) -> DaemonContext: ...
    def __exit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, traceback: TracebackType | None
    ) -> None: ...
