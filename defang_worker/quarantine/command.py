# SPDX-License-Identifier: GPL-3.0-or-later
"""The words of `defang-worker quarantine`, and what they print.

Exit status: 0 if all was done, 1 if something was not found or failed (on standard error), 2 for a wrong command line.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

from defang_worker.effects.contract import EffectFailed
from defang_worker.quarantine import release as letters
from defang_worker.quarantine import removal
from defang_worker.quarantine.entries import Entry, NoEntry, entry
from defang_worker.quarantine.selection import Selection

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from defang_worker.api.settings import Settings
    from defang_worker.effects.contract import Letter
    from defang_worker.effects.site import SiteEffects

_FAILED: Final = 1
_WRONG_CALL: Final = 2
# A mail server that hangs is to stop nobody's shell for longer; one that scans what comes may take its time.
_SUBMISSION_S: Final = 90.0
# Often enough to see that it works, seldom enough not to scroll.
_PROGRESS_EVERY: Final = 1000


def run(args: argparse.Namespace, settings: Settings, make_effects: Callable[[Settings], SiteEffects]) -> int:
    """Does what the command line says; the value is the exit status."""
    if args.directory:
        settings = replace(settings, quarantine_dir=str(Path(args.directory).absolute()))
    directory = settings.quarantine_dir
    try:
        match args.word:
            case "list":
                return _list(directory, args)
            case "show":
                return _show(entry(directory, args.names[0]), args)
            case "release":
                settings = replace(settings, submit_to=args.submit_to or settings.submit_to)
                return _release(settings, make_effects(settings), args)
            case "delete":
                return _delete(directory, args)
            case _:
                return _expire(directory, args)
    except NoEntry as fault:
        return _say(str(fault))
    except OSError as fault:
        return _say(f"{fault.filename or directory}: {fault.strerror or fault}")
    except ValueError as fault:
        return _say(f"{directory}: {fault}")


def _say(text: str, status: int = _FAILED) -> int:
    sys.stderr.write(f"defang-worker quarantine: {_shown(text)}\n")
    return status


def _shown(text: str) -> str:
    """On one line, and without what a terminal would obey."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


def _line(*texts: str) -> None:
    sys.stdout.write("  ".join(map(_shown, texts)) + "\n")


def _object(one: Entry) -> dict[str, object]:
    return {"name": one.name, "path": one.path, **one.facts, "released": one.released}


def _list(directory: str, args: argparse.Namespace) -> int:
    for one in Selection.of(args).found(directory):
        if args.json:
            sys.stdout.write(json.dumps(_object(one)) + "\n")
            continue
        facts = one.facts
        parts = len(facts["parts"])
        kept = "whole" if facts["entire"] else f"{parts} part{'s' * (parts != 1)}"
        to = ", ".join(facts["recipients"])
        mark = "released" if one.released else "kept"
        _line(one.name, mark, kept, f"<{facts['sender']}> to {to}", facts["subject"], "; ".join(facts["reasons"]))
    return 0


def _show(one: Entry, args: argparse.Namespace) -> int:
    if args.file:
        sys.stdout.flush()
        sys.stdout.buffer.write(one.read(args.file))
        return 0
    if args.json:
        sys.stdout.write(json.dumps(_object(one), indent=1) + "\n")
        return 0
    for name, value in _object(one).items():
        for each in value if isinstance(value, list) else [value]:
            _line(f"{name}:", each if isinstance(each, str) else json.dumps(each))
    _line("files:", ", ".join(sorted(one.files)))
    return 0


def _release(settings: Settings, effects: SiteEffects, args: argparse.Namespace) -> int:
    selection = Selection.of(args)
    if selection.is_all:
        return _say("release wants names, or which to release", _WRONG_CALL)
    status = count = 0
    for count, one in enumerate(selection.found(settings.quarantine_dir), 1):  # noqa: B007
        try:
            letter = _letter(one, settings, effects, args)
            if letter is None:
                continue
            if not args.dry_run:
                effects.submit(letter, time.monotonic() + _SUBMISSION_S)
                letters.note(one, letter)
        # One that fails leaves the others alone.
        except NoEntry as fault:
            # It names the entry itself.
            status = _say(str(fault))
            continue
        except (EffectFailed, OSError, ValueError) as fault:
            status = _say(f"{one.name}: {fault}")
            continue
        _tell_release(one, letter, args)
    return status if count else _say("nothing of that kind is in the quarantine")


def _letter(one: Entry, settings: Settings, effects: SiteEffects, args: argparse.Namespace) -> Letter | None:
    if one.released and not args.again:
        _say(f"{one.name}: released already at {one.released[-1]['time']}, --again does it once more", 0)
        return None
    to = tuple(address.strip().removeprefix("<").removesuffix(">") for address in args.to or ())
    if args.attach:
        return letters.attached(one, effects.secret(), to, settings, args.subject or "")
    return letters.original(one, effects.secret(), to)


def _tell_release(one: Entry, letter: Letter, args: argparse.Namespace) -> None:
    if args.json:
        told = {"name": one.name, "from": letter.sender, "to": letter.recipients, "attached": args.attach}
        sys.stdout.write(json.dumps({**told, "done": not args.dry_run}) + "\n")
    else:
        verb = "would be released" if args.dry_run else "released"
        _line(f"{one.name}: {verb} from <{letter.sender}> to {', '.join(letter.recipients)}")


def _delete(directory: str, args: argparse.Namespace) -> int:
    selection = Selection.of(args)
    if selection.is_all:
        return _say("delete wants names, or which to delete", _WRONG_CALL)
    count = 0
    # A list, for what is deleted while it is gone through could be missed.
    for count, one in enumerate([*selection.found(directory)], 1):  # noqa: B007
        if not args.dry_run:
            removal.remove(one)
        _line(f"{one.name}: {'would be deleted' if args.dry_run else 'deleted'}")
    return 0 if count else _say("nothing of that kind is in the quarantine")


def _expire(directory: str, args: argparse.Namespace) -> int:
    old = Selection(older_than_s=args.older_than)
    chosen = [*islice(old.found(directory), args.limit + 1)]
    for number, one in enumerate(chosen[: args.limit], 1):
        if not args.dry_run:
            removal.remove(one)
        if number % _PROGRESS_EVERY == 0:
            sys.stderr.write(f"{number} of {min(len(chosen), args.limit)}\n")
    left = [*removal.remains(directory)]
    if not args.dry_run:
        for path in left:
            removal.remove_remains(path)
    verb = "would be deleted" if args.dry_run else "deleted"
    more = ", and there are more" if len(chosen) > args.limit else ""
    _line(f"{min(len(chosen), args.limit)} entries {verb}{more}; {len(left)} remains of other kinds {verb}")
    return 0
