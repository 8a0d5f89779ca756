# SPDX-License-Identifier: GPL-3.0-or-later
"""The command itself: files in, trees or JSON out, one message after the other.

Exit status: 0 if all files could be read, whatever is in them; 1 if one could not, or the output not be written.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from defang_worker.structure.describe import describe
from defang_worker.structure.drawing import draw
from defang_worker.structure.extract import Extraction

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from defang_worker.mime.defects import Defect
    from defang_worker.structure.describe import MessageFacts, PartFacts

_STANDARD_INPUT: Final = "-"
# A working directory of the worker has its message in this file.
_MESSAGE_FILE: Final = "INPUTMSG"


def run(files: Sequence[str], *, as_json: bool, extract_to: str | None) -> int:
    """Show the messages in `files`; the value is the exit status."""
    is_coloured = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    status = 0
    # A name may hold bytes that are no text, and the terminal may know few characters.
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    sys.stderr.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        for name in files:
            status |= _show(name, as_json=as_json, extract_to=extract_to, is_coloured=is_coloured)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has seen enough; nothing more can be written at the end either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status


def _show(name: str, *, as_json: bool, extract_to: str | None, is_coloured: bool) -> int:
    """Show the message or messages that a name on the command line stands for; return 1 if one cannot be read."""
    status = 0
    try:
        sources = list(_sources(name))
    except OSError as error:
        return _complain(name, error)
    for source in sources:
        try:
            message = sys.stdin.buffer.read() if source == _STANDARD_INPUT else Path(source).read_bytes()
            with Extraction(Path(extract_to), source) if extract_to is not None else nullcontext() as keeper:
                facts = describe(message, keeper)
        except OSError as error:
            status = _complain(source, error)
            continue
        if as_json:
            sys.stdout.write(json.dumps(as_object(source, facts)) + "\n")
        else:
            sys.stdout.writelines(f"{line}\n" for line in draw(source, facts, is_coloured=is_coloured))
    return status


def _sources(name: str) -> Iterator[str]:
    """Yield the files that a name stands for: a directory stands for its message, or for the files right in it."""
    path = Path(name)
    if name == _STANDARD_INPUT or not path.is_dir():
        yield name
    elif (path / _MESSAGE_FILE).exists():
        yield str(path / _MESSAGE_FILE)
    else:
        yield from sorted(str(entry) for entry in path.iterdir() if entry.is_file() and entry.name[0] != ".")


def _complain(name: str, error: OSError) -> int:
    reason = error.strerror or str(error)
    place = f" ({error.filename})" if error.filename not in {None, name} else ""
    sys.stderr.write(f"defang-worker: {name}: {reason}{place}\n")
    return 1


def as_object(file: str, message: MessageFacts) -> dict[str, Any]:
    """Return the facts as JSON has them."""
    return {
        "file": file,
        "size": message.size,
        "defects": [_defect_object(defect) for defect in message.defects],
        "parts": [_part_object(part) for part in message.parts],
    }


def _part_object(part: PartFacts) -> dict[str, Any]:
    return {
        "part": part.number,
        "content_type": part.content_type,
        "is_leaf": part.is_leaf,
        "filenames": list(part.filenames),
        "size": part.size,
        "sha256": part.sha256,
        "encoding": part.encoding,
        "view": part.view,
        "defects": [_defect_object(defect) for defect in part.defects],
    }


def _defect_object(defect: Defect) -> dict[str, str]:
    return {"name": defect.name, "severity": defect.severity.name.lower(), "part": defect.part}
