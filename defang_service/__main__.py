# SPDX-License-Identifier: GPL-3.0-or-later
"""The command `defang-service`: a word, and variables in the environment, to an exit status."""

import os
import sys
from collections.abc import Callable, Sequence
from typing import Final

from defang_common import __version__
from defang_service import variables
from defang_service.operations import Operations
from defang_service.trial import Failed

PROGRAM: Final = "defang-service"

WORDS: Final = {
    "start": "start what does not run; returns when the sockets accept connections",
    "stop": "stop; returns when all processes and sockets are gone",
    "restart": "stop and start, if options and filter can be used",
    "try-restart": "restart if it runs",
    "reload": "read the changed filter, if it can be loaded (also: reread, force-reload)",
    "status": "say what runs: exit status 0 if all does, 3 if nothing does, 1 or 4 if something is wrong",
    "check": "read the options and load the filter on trial, as the daemons' user",
    "exec-mux": "become the multiplexor, in the foreground (for systemd)",
    "exec-milter": "become the milter, in the foreground (for systemd)",
}
_ALIASES: Final = {"reread": "reload", "force-reload": "reload", "condrestart": "try-restart"}

_WRONG_WORD: Final = 2
_NOT_CONFIGURED: Final = 6


def usage() -> str:
    """The text of `--help`."""
    lines = "".join(f"  {word:<12} {text}\n" for word, text in WORDS.items())
    return (
        f"usage: {PROGRAM} WORD\n\n{lines}\n"
        "Milter and multiplexor as one service, for start scripts and units. What they are to do stands in\n"
        "variables of the environment, which those take from the defaults file (docs/install.md).\n"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Carries out one word; 0, or the exit statuses of the Linux Standard Base's start scripts."""
    words = list(sys.argv[1:] if argv is None else argv)
    word = _ALIASES.get(words[0], words[0]) if len(words) == 1 else ""
    if word in ("-h", "--help"):
        _say(usage().rstrip())
        return 0
    if word in ("-v", "--version"):
        _say(f"{PROGRAM} version {__version__}")
        return 0
    if word not in WORDS:
        sys.stderr.write(usage())
        return _WRONG_WORD
    try:
        service = variables.service_of(os.environ)
    except variables.Nonsense as error:
        sys.stderr.write(f"{PROGRAM}: {error}\n")
        return _NOT_CONFIGURED
    try:
        return _carry_out(word, Operations(service=service, environment=os.environ, say=_say))
    except Failed as error:
        sys.stderr.write(f"{PROGRAM}: {error}\n")
        return 1


def _carry_out(word: str, operations: Operations) -> int:
    match word:
        case "status":
            return operations.status()
        case "try-restart":
            if operations.runs():
                operations.restart()
        case "exec-mux":
            operations.replace_by(operations.service.mux)
        case "exec-milter":
            operations.replace_by(operations.service.milter)
        case _:
            plain: dict[str, Callable[[], None]] = {
                "start": operations.start,
                "stop": operations.stop,
                "restart": operations.restart,
                "reload": operations.reload,
                "check": operations.check,
            }
            plain[word]()
    return 0


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201  # what was done is what the command is asked for


if __name__ == "__main__":
    sys.exit(main())
