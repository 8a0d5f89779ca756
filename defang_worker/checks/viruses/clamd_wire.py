# SPDX-License-Identifier: GPL-3.0-or-later
"""`Client`: a conversation with clamd by PyPI's `clamd`, which writes the commands and takes the replies apart.

What the package lacks is added: a connection that keeps the deadline (its timeout is for one read) and knows IPv6, open
files (FILDES), and sessions of several commands, in which contents go out in one piece (it sends 1 KB at a time).
Commands and replies: clamd(8), COMMANDS. Within a session every reply begins with its command's number, and replies
come in any order.
"""

from __future__ import annotations

import re
import sys
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from defang_worker.checks.faults import ServiceFault
from defang_worker.checks.stream import Stream

# The package asks pkg_resources what version it has, and does without: loading that takes longer than a whole worker.
_IS_HIDDEN: Final = sys.modules.setdefault("pkg_resources", None) is None  # type: ignore[arg-type]
try:
    from clamd import ClamdError, ClamdNetworkSocket
except ImportError as missing:
    raise ImportError(f"clamd needs a package that is not there ({missing}): make install EXTRAS=clamav") from missing
finally:
    if _IS_HIDDEN:
        del sys.modules["pkg_resources"]

if TYPE_CHECKING:
    from collections.abc import Iterator

    from defang_worker.checks.budget import Deadline
    from defang_worker.mime.headers import Buffer

__all__ = ["Client", "Reply"]

_MAX_REPLY_BYTES: Final = 16 * 1024
"""More than any path and name together, which is all that a reply has."""
# With the blank, by which the descriptor travels: a message of ancillary data has at least one byte.
_FILDES: Final = b"nFILDES\n "
_STREAM_END: Final = b"\0\0\0\0"

_NO_DESCRIPTOR: Final = "No file descriptor received."
_STREAM_LIMIT: Final = "INSTREAM size limit exceeded."
_LIMIT_NAMES: Final = "Heuristics.Limits.Exceeded"
# What stands before the last colon: the command's number, and what was scanned.
_ABOUT: Final = re.compile(r"(\d{1,9})(?:: (?:stream|fd\[\d+\]))?(?:: (.+))?", re.DOTALL)
# With ExtendedDetectionInfo, MD5 and size stand behind the name.
_EXTENDED: Final = re.compile(r"\([0-9a-f]{32}:\d+\)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What clamd says of one command of a session."""

    number: int
    """The command's, from 1."""
    virus: str = ""
    """The name of what it found."""
    error: str = ""
    """Why it cannot tell."""

    @property
    def lacks_descriptor(self) -> bool:
        """Whether it did not get the file, as where a security module (AppArmor) does not let it have that."""
        return self.error == _NO_DESCRIPTOR

    @property
    def ends_session(self) -> bool:
        """Whether clamd closes the connection behind it, which it does in the midst of what is too large."""
        return self.error == _STREAM_LIMIT


class _Socket:
    """So much of a socket, and of its file, as the package uses. Whoever made the stream closes it."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def send(self, data: bytes) -> None:
        self._stream.send(data)

    def makefile(self, _mode: str) -> Self:
        return self

    def readline(self) -> bytes:
        try:
            return self._stream.read_until(b"\n", at_most=_MAX_REPLY_BYTES)
        except OSError as fault:
            # The package would make of it an error of its own that does not say what it was.
            raise ServiceFault(str(fault) or type(fault).__name__) from fault

    def close(self) -> None:
        pass


class Client(ClamdNetworkSocket):
    """Connects to a unix socket (an absolute path) or host:port when it is used, as a context: for one session.

    All methods raise ServiceDown, ServiceFault or OSError if clamd does not do its work.
    """

    clamd_socket: _Socket
    _stream: Stream

    def __init__(self, address: str, deadline: Deadline) -> None:
        super().__init__()
        self._address = address
        self._deadline = deadline

    def _init_socket(self) -> None:
        self._stream = Stream.connect(self._address, self._deadline)
        self.clamd_socket = _Socket(self._stream)

    def _close_socket(self) -> None:
        self._stream.socket.close()

    def version(self) -> str:
        """Versions of program and database, and the database's date; has a connection of its own."""
        with _garbage_is_a_fault():
            told = super().version()
        if not told.startswith("ClamAV "):
            raise ServiceFault(f"answered with what is no version: {told[:100]!r}")
        return told

    def __enter__(self) -> Self:
        self._init_socket()
        try:
            self._send_command("IDSESSION")
        except BaseException:
            self._close_socket()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            with suppress(OSError):  # all is said
                if kind is None:
                    self._send_command("END")
        finally:
            self._close_socket()

    def show_file(self, descriptor: int) -> None:
        """Has an open file scanned; for unix sockets."""
        self._stream.send_descriptor(_FILDES, descriptor)

    def show_bytes(self, data: Buffer) -> None:
        """Has bytes scanned."""
        self._send_command("INSTREAM")
        self._stream.send_pieces([len(data).to_bytes(4), data, _STREAM_END])

    def reply(self) -> Reply:
        """What clamd says next."""
        with _garbage_is_a_fault():
            said = self._recv_response()
            return _understood(said, *self._parse_response(said))


@contextmanager
def _garbage_is_a_fault() -> Iterator[None]:
    try:
        yield
    # What is no UTF-8 is a ValueError.
    except (ClamdError, ValueError) as garbage:
        raise ServiceFault(f"answered with what is no reply: {str(garbage)[:100]!r}") from garbage


def _understood(said: str, about: str, text: str | None, status: str) -> Reply:
    """The reply of which the package says that it is about that; raises ValueError for what is none."""
    match = _ABOUT.fullmatch(about)
    if match is None:
        raise ValueError(said)
    number = int(match[1])
    text = ": ".join(filter(None, (match[2], text)))
    if (status == "OK") is bool(text):
        raise ValueError(said)
    if status == "OK":
        return Reply(number=number)
    if status == "ERROR":
        return Reply(number=number, error=text)
    if text.startswith(_LIMIT_NAMES):
        # It stopped looking: that is no virus, and no sign that there is none.
        return Reply(number=number, error=f"over a limit of clamd: {text}")
    return Reply(number=number, virus=_EXTENDED.sub("", text))
