# SPDX-License-Identifier: GPL-3.0-or-later
from enum import IntEnum

from aiospamc.header_values import Headers

class Status(IntEnum):
    EX_DATAERR = 65
    EX_NOUSER = 67
    EX_TIMEOUT = 79

class Response:
    version: str
    headers: Headers
    @property
    def body(self) -> bytes: ...

class ResponseException(Exception):
    code: int
