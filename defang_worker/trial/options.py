# SPDX-License-Identifier: GPL-3.0-or-later
"""The words of `defang-worker test-mail`. Loaded at every start of the program, so nothing heavy is imported here."""

from __future__ import annotations

import argparse
from typing import Final

from defang_worker.trial.session import Session

DEFAULTS: Final = Session()
"""What is told to the filter where the command line says nothing else."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """The command's options and arguments."""
    session = parser.add_argument_group(
        "what the mail server tells the filter",
        "Of a directory with INPUTMSG in it, as is kept of a message, COMMANDS there takes the defaults' place.",
    )
    session.add_argument(
        "--from",
        dest="sender",
        metavar="ADDRESS",
        help=f"envelope sender (default: {DEFAULTS.sender})",
    )
    session.add_argument(
        "--from-arg", dest="sender_args", metavar="WORD", action="append", default=[], help="an ESMTP argument of MAIL"
    )
    session.add_argument(
        "--to",
        dest="recipients",
        metavar="ADDRESS",
        action="append",
        help=f"a recipient; given again, another one (default: {DEFAULTS.recipients[0]})",
    )
    session.add_argument(
        "--relay-ip", metavar="IP", type=_ip, help=f"the client's address (default: {DEFAULTS.relay_ip})"
    )
    session.add_argument("--relay-host", metavar="NAME", help=f"the client's name (default: {DEFAULTS.relay_host})")
    session.add_argument("--helo", metavar="NAME", help="what the client calls itself (default: its name)")
    session.add_argument("--queue-id", metavar="ID", help=f"the queue ID (default: {DEFAULTS.queue_id})")
    session.add_argument(
        "--macro",
        metavar="NAME=VALUE",
        type=_macro,
        action="append",
        default=[],
        help="a macro as it is at MAIL, without braces",
    )
    session.add_argument(
        "--mta",
        choices=["postfix", "sendmail"],
        default="sendmail",
        help="whose way of placing and counting header fields is followed (default: %(default)s)",
    )
    parser.add_argument(
        "--strict", action="store_true", help="a call that has no effect in its callback is a fault of the filter"
    )
    output = parser.add_argument_group("output")
    # The one object has no room for the other's lines.
    shown = output.add_mutually_exclusive_group()
    shown.add_argument("--json", action="store_true", help="one JSON object a line and message")
    shown.add_argument("--diff", action="store_true", help="show the changes, not the message")
    output.add_argument(
        "-o", "--output", metavar="OUT", help="write the delivered message there; a directory for several, - for stdout"
    )
    output.add_argument(
        "--color",
        choices=["auto", "always", "never"],
        default="auto",
        help="colours, auto for those on a terminal without NO_COLOR (default: %(default)s)",
    )


def _ip(word: str) -> str:
    from ipaddress import ip_address  # noqa: PLC0415  # for who names one

    try:
        ip_address(word)
    except ValueError:
        raise argparse.ArgumentTypeError(f"no IPv4 or IPv6 address: {word!r}") from None
    return word


def _macro(words: str) -> tuple[str, str]:
    name, found, value = words.partition("=")
    if not (name and found):
        raise argparse.ArgumentTypeError(f"not NAME=VALUE: {words}")
    return name.strip("{}"), value
