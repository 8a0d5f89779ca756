# SPDX-License-Identifier: GPL-3.0-or-later
"""Names in the spool: the working directory and its files (protocol.md, Working directory)."""

import re
from typing import Final

from .errors import Unencodable

INPUTMSG: Final = "INPUTMSG"
HEADERS: Final = "HEADERS"
PRISTINE_HEADERS: Final = "PRISTINE_HEADERS"
COMMANDS: Final = "COMMANDS"
RESULTS: Final = "RESULTS"
NEWBODY: Final = "NEWBODY"
WORK: Final = "Work"

DIRECTORY_PREFIX: Final = "mdefang-"
KEEP_MARK: Final = "DO-NOT-DELETE-WORK-DIRS"
"""While a file of this name stands in the spool, no working directory is removed."""

# Not that of working directories, for whoever looks for these must not find it.
_STOCK: Final = re.compile(r"stock-[0-9a-f]{8}")

# 60 characters, so that the seconds part wraps after 60**5 s, which is some 24 years.
_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWX"
_BASE: Final = len(_DIGITS)


def _base60(number: int, digits: int) -> str:
    out = ""
    for _ in range(digits):
        number, digit = divmod(number, _BASE)
        out = _DIGITS[digit] + out
    return out


def transaction_id(seconds: int, serial: int) -> str:
    """Seven characters: five for the time in seconds, two for a serial number of the process."""
    return _base60(seconds, 5) + _base60(serial, 2)


def directory_name(message_id: str) -> str:
    """The working directory's name for a queue ID or a transaction ID."""
    if not message_id or "/" in message_id or "\0" in message_id:
        raise Unencodable(f"no directory name can be made of {message_id!r}")
    return DIRECTORY_PREFIX + message_id


def stock_name(chosen: bytes) -> str:
    """The name of a directory for files of messages that are over, which later ones are written to; by four bytes."""
    return f"stock-{chosen.hex()}"


def is_stock_name(name: str) -> bool:
    """Whether a stock may have this name."""
    return _STOCK.fullmatch(name) is not None
