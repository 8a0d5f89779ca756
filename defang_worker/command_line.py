# SPDX-License-Identifier: GPL-3.0-or-later
"""The words of the command line: every mode with its options, described in one manner.

Loaded at every start of the program, so no mode's own modules are imported here but for its options.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Final

from defang_common import __version__
from defang_worker.api.filter_file import NO_FILTER
from defang_worker.quarantine import options as quarantine_options
from defang_worker.status import STATUS_DESCRIPTOR
from defang_worker.trial import options as trial_options

if TYPE_CHECKING:
    from collections.abc import Sequence

DEFAULT_FILTER: Final = "/etc/mail/defang-filter.py"

# The original's words for what are subcommands here.
_MODES: Final = {
    "-server": ["server"],
    "-serveru": ["server", "--status-tags"],
    "-template": ["template"],
    "-test": ["test"],
    "-features": ["features"],
}

_EXIT_OF_LOADING: Final = "78 if the filter cannot be loaded, 75 if its on_start failed"
_FILES_HELP: Final = "a message, a directory, or - for standard input"


def words_of(argv: Sequence[str]) -> list[str]:
    """The words as our parser knows them."""
    return [word for given in argv for word in _MODES.get(given, [given])]


def parser() -> argparse.ArgumentParser:
    """The parser of all words; the result has `mode`, and `filter` if one is named."""
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "-f",
        "--filter",
        metavar="FILE",
        default=argparse.SUPPRESS,
        help=f"the site's filter, {NO_FILTER} for none (default: {DEFAULT_FILTER})",
    )
    whole = argparse.ArgumentParser(
        prog="defang-worker",
        parents=[shared],
        description="Runs a site's mail filter. A multiplexor starts this program; by hand, try a filter with it.",
        epilog="defang-worker MODE -h tells more of one mode. MIMEDefang's mode words -server, -serveru (server "
        "--status-tags) and -test are understood too, and so is -template.",
    )
    whole.add_argument("-v", "--version", action="version", version=f"defang-worker version {__version__}")
    modes = _Modes(whole, shared)
    _add_serving(modes)
    _add_trying(modes)
    _add_looking(modes)
    return whole


class _Modes:
    """Adds modes, each with a sentence on what it does and one on its exit status."""

    def __init__(self, whole: argparse.ArgumentParser, shared: argparse.ArgumentParser) -> None:
        self._modes = whole.add_subparsers(dest="mode", required=True, metavar="MODE", title="modes")
        self._shared = shared

    def add(self, word: str, does: str, *, exit_status: str, has_filter: bool = True) -> argparse.ArgumentParser:
        """A mode's parser; `does` is a phrase that begins with a verb."""
        return self._modes.add_parser(
            word,
            parents=[self._shared] if has_filter else [],
            help=does,
            description=f"{does[0].upper()}{does[1:]}.",
            epilog=f"Exit status: {exit_status}.",
        )


def _add_serving(modes: _Modes) -> None:
    server = modes.add(
        "server",
        "serve requests, one line each, on standard input",
        exit_status=f"that of on_stop, or 0, when the input has ended; {_EXIT_OF_LOADING}",
    )
    server.add_argument(
        "--status-tags", action="store_true", help=f"tell on descriptor {STATUS_DESCRIPTOR} what is being done"
    )
    modes.add(
        "template",
        "load the filter once, and fork workers as the multiplexor orders them on descriptor 3",
        exit_status="that of a server in each worker, and 0 in the template when the multiplexor wants no more; 78 if "
        "the filter cannot be loaded",
    )
    scan = modes.add(
        "scan",
        "filter the message in one working directory",
        exit_status=f"0 if it was filtered, 1 if not, {_EXIT_OF_LOADING}",
    )
    scan.add_argument("directory", metavar="DIR", help="a directory with COMMANDS and INPUTMSG")


def _add_trying(modes: _Modes) -> None:
    modes.add(
        "test",
        "load the filter, run its on_validate, and say whether it can be used",
        exit_status=f"0 if it can, that of on_validate if not, {_EXIT_OF_LOADING}",
    )
    check = modes.add(
        "check",
        "find what is wrong with the filter, without a message",
        exit_status="0 if nothing is wrong, 1 if something is, 2 for wrong words",
    )
    check.add_argument("--json", action="store_true", help="one JSON object")
    check.add_argument("--no-paths", action="store_true", help="leave out the files that the settings name")
    check.add_argument("--mypy", action="store_true", help="have mypy check the types, too; it has to be installed")
    trial = modes.add(
        "test-mail",
        "show what the filter makes of messages, without doing it",
        exit_status="0 if the filter ran on all messages, whatever it decided; 1 if it failed on one, or could not be "
        "loaded or started; 2 for wrong words, and for files that cannot be read or written",
    )
    trial_options.add_options(trial)
    trial.add_argument("messages", metavar="MESSAGE", nargs="+", help=_FILES_HELP)


def _add_looking(modes: _Modes) -> None:
    quarantine = modes.add(
        "quarantine",
        "list, show, release, delete or expire what is kept back",
        exit_status="0 if all was done, 1 if something was not found or failed, 2 for wrong words",
    )
    quarantine_options.add_options(quarantine)
    features = modes.add(
        "features",
        "show what the filter's checks ask, whether it answers, and in which version",
        exit_status=f"0 if all of it answers, 1 if not, {_EXIT_OF_LOADING}",
    )
    features.add_argument("--json", action="store_true", help="one JSON object")
    structure = modes.add(
        "structure",
        "show the parts of messages, in every way they can be read",
        exit_status="0 if all files could be read, whatever is in them, and 1 if not",
        has_filter=False,
    )
    structure.add_argument("--json", action="store_true", help="one JSON object a line and message")
    structure.add_argument("--extract", metavar="DIR", help="write the contents of all parts to files in DIR, too")
    structure.add_argument("files", metavar="FILE", nargs="+", help=_FILES_HELP)
