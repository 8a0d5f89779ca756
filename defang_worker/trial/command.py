# SPDX-License-Identifier: GPL-3.0-or-later
"""`defang-worker test-mail`: messages in, what the filter makes of them out.

Exit status: 0 if the filter ran on all messages, whatever it decided; 1 if it failed on one of them, or cannot be
loaded; 2 for wrong words on the command line, and for files that cannot be read or written.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
import traceback
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Final, TextIO

from defang_common.wire.errors import WireError
from defang_common.wire.spool import COMMANDS, INPUTMSG
from defang_worker import stacks
from defang_worker.api import filter_file, stages
from defang_worker.api.hooks import FilterFault
from defang_worker.trial import mta_message as mta
from defang_worker.trial.as_json import as_object
from defang_worker.trial.given_session import session_for
from defang_worker.trial.play import play
from defang_worker.trial.progress import Progress
from defang_worker.trial.report import Done, Report
from defang_worker.trial.shown_changes import printable

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterator
    from types import FrameType

    from defang_worker.api.hooks import SiteFilter
    from defang_worker.trial.result import Result

_STANDARD_STREAM: Final = "-"
_EXIT_FAULT: Final = 1
_EXIT_USAGE: Final = 2
# As a shell reports a program that SIGINT has ended.
_EXIT_INTERRUPTED: Final = 130
_HABITS: Final = {"sendmail": mta.SENDMAIL, "postfix": mta.POSTFIX}


def run(path: str, args: Namespace) -> int:
    """Tries the filter; the value is the exit status."""
    # A message that ends workers is what some are tried for.
    stacks.write_when_it_ends()
    out = _private_output()
    try:
        site = filter_file.load(path)
        if site.has("on_start"):
            site.call("on_start")
    except (filter_file.FilterNotLoaded, FilterFault) as fault:
        _complain(f"filter not usable: {fault}")
        if fault.__cause__ is not None:
            sys.stderr.writelines(traceback.format_exception(fault.__cause__))
        return _EXIT_FAULT
    command = _Command(site, args, out)
    try:
        command.run()
        out.flush()
    except BrokenPipeError:
        # Whoever read our output has seen enough; nothing more can be written at the end either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())
    try:
        if site.has("on_stop"):
            site.call("on_stop")
    except FilterFault as fault:
        _complain(str(fault))
        return command.status or _EXIT_FAULT
    return command.status


def _private_output() -> TextIO:
    """Our standard output; what the filter prints goes to standard error from now on."""
    out = os.fdopen(os.dup(1), "w", encoding=sys.stdout.encoding, errors="backslashreplace")
    sys.stdout.flush()
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    sys.stderr.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    return out


def _complain(text: str) -> None:
    sys.stderr.write(f"defang-worker: {text}\n")


class _Command:
    """One run of the command; `status` is its exit status so far."""

    def __init__(self, site: SiteFilter, args: Namespace, out: TextIO) -> None:
        self.status = 0
        self._site = site
        self._args = args
        self._report_out = sys.stderr if args.output == _STANDARD_STREAM else out
        self._message_out = out
        is_coloured = args.color == "always" or (
            args.color == "auto" and self._report_out.isatty() and "NO_COLOR" not in os.environ
        )
        self._report = Report(is_coloured=is_coloured)
        self._habits = _HABITS[args.mta]
        self._interrupted = False
        self._written: set[Path] = set()

    def run(self) -> None:
        """Tries all messages. Ctrl-C ends it behind the message in work, a second one at once."""
        names = self._args.messages
        before = signal.signal(signal.SIGINT, self._interrupt)
        try:
            files = [(name, file) for name in names for file in self._found(name)]
            if any(Path(name).is_dir() for name in names) and not self._args.json:
                self._table(files)
            else:
                for name, file in files:
                    if (result := self._try(name, file, is_one_of_many=len(files) > 1)) is not None:
                        self._show(file, result)
        finally:
            signal.signal(signal.SIGINT, before)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002  # a signal handler's
        # An exception would be taken for the filter's.
        self._interrupted = True
        self.status = _EXIT_INTERRUPTED
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    def _found(self, name: str) -> list[str]:
        """The messages that a name stands for; without any, the command fails."""
        files = list(self._files(name))
        if not files:
            self._cannot(f"{name}: there is no message in it")
        return files

    def _cannot(self, text: str) -> None:
        self.status = _EXIT_USAGE
        _complain(text)

    def _files(self, name: str) -> Iterator[str]:
        """The messages that a name stands for: of a directory all files, but of a working directory the message."""
        if name == _STANDARD_STREAM or not Path(name).is_dir():
            yield name
            return
        for directory, below, files in os.walk(name, onerror=self._unreadable):
            below[:] = sorted(one for one in below if one[0] != ".")
            found = [INPUTMSG] if INPUTMSG in files else sorted(one for one in files if one[0] != ".")
            yield from (str(Path(directory, one)) for one in found)

    def _unreadable(self, error: OSError) -> None:
        self._cannot(f"{error.filename}: {error.strerror or error}")

    def _table(self, files: list[tuple[str, str]]) -> None:
        done: list[Done] = []
        with Progress(sys.stderr, len(files)) as progress:
            for name, file in files:
                result = self._try(name, file, is_one_of_many=True)
                if result is None:
                    continue
                done.append(Done.of(file, result))
                progress.clear()
                self._report_out.write(self._report.row(file, result) + "\n")
                progress.step(len(done))
        self._report_out.writelines(f"{line}\n" for line in self._report.summary(done))

    def _try(self, name: str, file: str, *, is_one_of_many: bool) -> Result | None:
        """The result for one message; None if it cannot be read, or nothing more is to be done."""
        if self._interrupted:
            return None
        try:
            raw = sys.stdin.buffer.read() if file == _STANDARD_STREAM else Path(file).read_bytes()
            with stages.strict() if self._args.strict else nullcontext():
                result = play(self._site, raw, session_for(self._args, file), self._habits)
            if result.fault is not None:
                self.status = self.status or _EXIT_FAULT
                _complain(f"{file}: {result.fault.text}")
                sys.stderr.write(result.fault.traceback)
            if result.delivered is not None and self._args.output:
                self._deliver(name, file, result.delivered, is_one_of_many=is_one_of_many)
        except WireError as error:
            self._cannot(f"{file}: {COMMANDS} beside it: {error}")
            return None
        except OSError as error:
            place = f" ({error.filename})" if error.filename not in {None, file} else ""
            self._cannot(f"{file}: {error.strerror or error}{place}")
            return None
        return result

    def _deliver(self, name: str, file: str, message: bytes, *, is_one_of_many: bool) -> None:
        """Writes a delivered message where it was asked for; those of a directory keep their places below it."""
        if self._args.output == _STANDARD_STREAM:
            self._message_out.flush()
            self._message_out.buffer.write(message)
            self._message_out.buffer.flush()
            return
        out = Path(self._args.output)
        if is_one_of_many or out.is_dir():
            below = Path(file).relative_to(name) if file != name else Path("stdin" if file == "-" else Path(file).name)
            out = out / below
            out.parent.mkdir(parents=True, exist_ok=True)
            if out in self._written:
                raise FileExistsError(errno.EEXIST, "another message of this run has that name", str(out))
            self._written.add(out)
        out.write_bytes(message)

    def _show(self, file: str, result: Result) -> None:
        if self._args.json:
            self._report_out.write(json.dumps(as_object(file, result)) + "\n")
            return
        self._report_out.writelines(f"{line}\n" for line in self._report.message(file, result))
        if self._args.diff:
            self._report_out.writelines(f"{line}\n" for line in self._report.diff(result))
        elif result.delivered is not None and not self._args.output:
            # Whatever a sender wrote is not for a terminal to obey; -o has the bytes.
            lines = result.delivered.replace(b"\r\n", b"\n").decode("utf-8", "backslashreplace").split("\n")
            self._report_out.writelines(f"{line}\n" for line in ["", *map(printable, lines)])
        self._report_out.flush()
