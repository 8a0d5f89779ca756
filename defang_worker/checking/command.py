# SPDX-License-Identifier: GPL-3.0-or-later
"""The command: findings as lines or JSON.

Exit status: 0 if nothing is wrong, 1 if something is, 2 for wrong words on the command line.
"""

from __future__ import annotations

import json
import re
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Final

from defang_worker.api import filter_file
from defang_worker.checking.findings import Finding, Kind
from defang_worker.checking.places import check_settings
from defang_worker.checking.rules import check_source, verbs
from defang_worker.checking.typing_tool import ToolMissing, check_types

if TYPE_CHECKING:
    from argparse import Namespace

    from defang_worker.api.settings import Settings

_EXIT_FOUND: Final = 1
_EXIT_USAGE: Final = 2
_LINE: Final = re.compile(r":(\d+): ")


def run(path: str, args: Namespace) -> int:
    """Checks the filter; the value is the exit status."""
    # What the file prints when it is loaded is no finding.
    out, sys.stdout = sys.stdout, sys.stderr
    callbacks: list[str] = []
    try:
        site = filter_file.load(path)
        callbacks = list(site.hooks)
        findings = [] if path == filter_file.NO_FILTER else _findings(site.path, site.settings, args)
    except filter_file.FilterNotLoaded as fault:
        findings = [_not_loaded(path, fault)]
        if fault.__cause__ is not None:
            sys.stderr.writelines(traceback.format_exception(fault.__cause__))
    except ToolMissing as fault:
        sys.stderr.write(f"defang-worker: {fault}\n")
        return _EXIT_USAGE
    finally:
        sys.stdout = out
    out.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    if args.json:
        told = [{"file": one.file, "line": one.line, "check": one.kind.value, "text": one.text} for one in findings]
        out.write(json.dumps({"filter": path, "ok": not findings, "callbacks": callbacks, "findings": told}) + "\n")
    else:
        out.writelines(f"{_place(one)}: {one.kind.value}: {one.text}\n" for one in findings)
        out.write(f"{path}: {_verdict(findings, callbacks)}\n")
    return _EXIT_FOUND if findings else 0


def _findings(path: str, settings: Settings, args: Namespace) -> list[Finding]:
    text = Path(path).read_bytes().decode("utf-8", "replace")
    found = check_source(path, text)
    if not args.no_paths:
        found += check_settings(path, settings, verbs(text))
    if args.mypy:
        found += check_types(path)
    return found


def _not_loaded(path: str, fault: filter_file.FilterNotLoaded) -> Finding:
    """The reason, with its place taken out of the text where it stands at its beginning."""
    text = str(fault)
    place = _LINE.search(text)
    if place is None:
        return Finding(file=path, line=0, kind=Kind.LOAD, text=text.removeprefix(f"{path}: "))
    return Finding(file=text[: place.start()], line=int(place[1]), kind=Kind.LOAD, text=text[place.end() :])


def _place(finding: Finding) -> str:
    return f"{finding.file}:{finding.line}" if finding.line else finding.file


def _verdict(findings: list[Finding], callbacks: list[str]) -> str:
    if findings:
        return "1 thing is wrong" if len(findings) == 1 else f"{len(findings)} things are wrong"
    return f"nothing is wrong; callbacks: {', '.join(callbacks) or 'none'}"
