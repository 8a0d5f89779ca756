# SPDX-License-Identifier: GPL-3.0-or-later
"""Types of pymilter 1.0.5's C module, which has none of its own; read off the formats it parses its arguments with.

Text goes in and out as UTF-8: an argument that does not encode raises UnicodeEncodeError, and a HELO name, host name or
header name that does not decode never reaches the callback (the exception policy answers). Envelope arguments,
header values and body chunks come as bytes.
"""

from collections.abc import Callable
from typing import Any, TypeAlias, final

# What libmilter tells of the client's address: (address, port) and more for IPv6, a path, or nothing.
SocketAddress: TypeAlias = tuple[str, int] | tuple[str, int, int, int] | str | None

@final
class milterContext:  # noqa: N801  # the name that the type itself reports
    def getsymval(self, name: str, /) -> str | None: ...
    def setreply(self, code: str, dsn: str | None, /, *lines: str) -> None: ...
    def addheader(self, name: str, value: str, index: int = ..., /) -> None: ...
    def chgheader(self, name: str, index: int, value: str | None, /) -> None: ...
    def addrcpt(self, recipient: str, parameters: str | None = ..., /) -> None: ...
    def delrcpt(self, recipient: str, /) -> None: ...
    def chgfrom(self, sender: str, parameters: str | None = ..., /) -> None: ...
    def replacebody(self, chunk: bytes | str, /) -> None: ...
    def quarantine(self, reason: str, /) -> None: ...
    def progress(self) -> None: ...
    def setsymlist(self, stage: int, macros: str, /) -> None: ...
    # One object of the caller's choice a connection; `setpriv` gives back the one before.
    def getpriv(self) -> Any: ...
    def setpriv(self, value: object, /) -> Any: ...

class error(Exception): ...  # noqa: N801

def set_connect_callback(function: Callable[[milterContext, str, int, SocketAddress], int], /) -> None: ...
def set_helo_callback(function: Callable[[milterContext, str], int], /) -> None: ...

# ESMTP arguments follow the address.
def set_envfrom_callback(function: Callable[..., int], /) -> None: ...
def set_envrcpt_callback(function: Callable[..., int], /) -> None: ...
def set_header_callback(function: Callable[[milterContext, str, bytes], int], /) -> None: ...
def set_eoh_callback(function: Callable[[milterContext], int], /) -> None: ...
def set_body_callback(function: Callable[[milterContext, bytes], int], /) -> None: ...
def set_eom_callback(function: Callable[[milterContext], int], /) -> None: ...
def set_abort_callback(function: Callable[[milterContext], int], /) -> None: ...
def set_close_callback(function: Callable[[milterContext], int], /) -> None: ...
def set_exception_policy(answer: int, /) -> None: ...
def set_flags(flags: int, /) -> None: ...
def register(
    name: str = ...,
    unknown: Callable[[milterContext, str], int] | None = ...,
    data: Callable[[milterContext], int] | None = ...,
    # The list holds the four words that the MTA offers, and is changed in place to what is wanted.
    negotiate: Callable[[milterContext, list[int]], int] | None = ...,
) -> None: ...
def opensocket(remove_old: bool | int, /) -> None: ...
def main() -> None: ...
def stop() -> None: ...
def setconn(connection: str, /) -> None: ...
def settimeout(seconds: int, /) -> None: ...
def setbacklog(connections: int, /) -> None: ...
def setdbg(level: int, /) -> None: ...

# (contexts made, contexts freed)
def getdiag() -> tuple[int, int]: ...
def getversion() -> tuple[int, int, int]: ...

ACCEPT: int
ADDHDRS: int
ADDRCPT: int
ADDRCPT_PAR: int
ALL_OPTS: int
CHGBODY: int
CHGFROM: int
CHGHDRS: int
CONTINUE: int
CURR_ACTS: int
DELRCPT: int
DISCARD: int
FAILURE: int
MODBODY: int
M_CONNECT: int
M_DATA: int
M_ENVFROM: int
M_ENVRCPT: int
M_EOH: int
M_EOM: int
M_HELO: int
NOREPLY: int
P_HDR_LEADSPC: int
P_NOBODY: int
P_NOCONNECT: int
P_NODATA: int
P_NOEOH: int
P_NOHDRS: int
P_NOHELO: int
P_NOMAIL: int
P_NORCPT: int
P_NOUNKNOWN: int
P_NR_BODY: int
P_NR_CONN: int
P_NR_DATA: int
P_NR_EOH: int
P_NR_HDR: int
P_NR_HELO: int
P_NR_MAIL: int
P_NR_RCPT: int
P_NR_UNKN: int
P_RCPT_REJ: int
P_SKIP: int
QUARANTINE: int
REJECT: int
SETSYMLIST: int
SKIP: int
SUCCESS: int
TEMPFAIL: int
V1_ACTS: int
V2_ACTS: int
VERSION: int
