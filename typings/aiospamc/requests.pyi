# SPDX-License-Identifier: GPL-3.0-or-later
from aiospamc.header_values import HeaderValue

class Request:
    def __init__(self, verb: str, *, headers: dict[str, HeaderValue] = ..., body: bytes = ...) -> None: ...
