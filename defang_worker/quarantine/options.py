# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line of `defang-worker quarantine`; light, for every start of a worker loads it."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    Words = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001  # has no other name

_UNITS_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_AGE: Final = re.compile(r"(\d{1,6})([smhdw])")

# So much work at a time leaves room for others on a busy disk; the next run goes on.
DEFAULT_EXPIRE_LIMIT: Final = 10_000


def age_s(text: str) -> int:
    """Seconds, of a number with a unit: 90m, 12h, 30d, 2w."""
    match = _AGE.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no age such as 12h, 30d or 2w")
    return int(match[1]) * _UNITS_S[match[2]]


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 on")
    return int(text)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the words and their options."""
    parser.add_argument("-d", "--directory", metavar="DIR", help="the quarantine (default: the filter's setting)")
    words = parser.add_subparsers(dest="word", required=True, metavar="WORD", title="words")
    listing = _word(words, "list", "list what there is, the oldest first")
    _add_selection(listing, "what to list (default: all)")
    listing.add_argument("--json", action="store_true", help="one JSON object a line and entry")
    showing = _word(words, "show", "show one entry, or a file of it")
    showing.add_argument("names", metavar="NAME", nargs=1, help="the entry's directory")
    showing.add_argument("--json", action="store_true", help="as a JSON object")
    showing.add_argument("--file", metavar="FILE", help="write this file of it (ENTIRE_MESSAGE, ...) as it is")
    _add_release(_word(words, "release", "send quarantined messages to their recipients, past the filter"))
    deleting = _word(words, "delete", "delete entries")
    _add_selection(deleting, "what to delete")
    deleting.add_argument("-n", "--dry-run", action="store_true", help="only say what would be done")
    expiring = _word(words, "expire", "delete all that is older, and what crashes left")
    expiring.add_argument("--older-than", metavar="AGE", type=age_s, required=True, help="such as 30d")
    expiring.add_argument("-n", "--dry-run", action="store_true", help="only say what would be done")
    expiring.add_argument(
        "--limit",
        metavar="N",
        type=_count,
        default=DEFAULT_EXPIRE_LIMIT,
        help="at most so many entries in this run (default: %(default)s)",
    )


def _word(words: Words, word: str, does: str) -> argparse.ArgumentParser:
    return words.add_parser(word, help=does, description=f"{does[0].upper()}{does[1:]}.")


def _add_selection(parser: argparse.ArgumentParser, names_help: str) -> None:
    parser.add_argument("names", metavar="NAME", nargs="*", help=names_help)
    parser.add_argument("--older-than", metavar="AGE", type=age_s, help="of this age at least, such as 12h, 30d, 2w")
    parser.add_argument("--newer-than", metavar="AGE", type=age_s, help="of this age at most")
    parser.add_argument("--sender", metavar="PATTERN", help="from a sender like this; * stands for anything")
    parser.add_argument("--recipient", metavar="PATTERN", help="to a recipient like this")
    parser.add_argument("--reason", metavar="TEXT", help="with this text in a reason")


def _add_release(parser: argparse.ArgumentParser) -> None:
    _add_selection(parser, "what to release")
    parser.add_argument("--to", metavar="ADDRESS", action="append", help="to this address, not to the recipients")
    parser.add_argument("-a", "--attach", action="store_true", help="in a new mail, the message or its parts attached")
    parser.add_argument("-s", "--subject", metavar="TEXT", help="of the new mail")
    parser.add_argument("--again", action="store_true", help="even what was released already")
    parser.add_argument(
        "--submit-to", metavar="TARGET", help="a sendmail program, or host:port (default: the filter's)"
    )
    parser.add_argument("-n", "--dry-run", action="store_true", help="only say what would be done")
    parser.add_argument("--json", action="store_true", help="one JSON object a line and entry")
