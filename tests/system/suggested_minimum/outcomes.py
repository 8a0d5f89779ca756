# SPDX-License-Identifier: GPL-3.0-or-later
"""One message through MIMEDefang's suggested-minimum filter or through ours, with outcomes that can be compared.

MIMEDefang's worker is one process for all messages, asked by request lines over files like a multiplexor would.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from defang_common.wire import answers, results
from defang_common.wire.body import Body
from defang_common.wire.commands import Letter, encode_line
from defang_common.wire.header import Header
from defang_worker.effects.contract import LetterKind
from defang_worker.testing import run_filter
from defang_worker.trial import mta_message as mta
from defang_worker.trial.delivered import DeliveredMessage
from defang_worker.trial.mail_file import MailFile
from defang_worker.trial.session import Session, recipient_line
from defang_worker.trial.wishes import wishes
from tests.support.daemons import USER, make_spool
from tests.support.process import STOP_LIMIT_S

HERE = Path(__file__).parent
OURS = HERE.parents[2] / "docs" / "filters" / "suggested_minimum.py"
WARNING_NAMES = frozenset({"warning.txt", "WARNING.TXT", "warning1.txt", "warning2.txt"})


@dataclass(frozen=True, slots=True)
class Outcome:
    """The verdict, type and name of each part that is delivered, and what others were told."""

    verdict: str
    parts: tuple[str, ...]
    notes: frozenset[str]

    def __str__(self) -> str:
        return " ".join([self.verdict, *self.parts, *sorted(self.notes)])


def parts_of(message: bytes) -> tuple[str, ...]:
    """Type and name of each part but the warnings."""
    return tuple(
        f"{part.content_type}:{part.filename}"
        for part in DeliveredMessage(message).parts
        if part.filename not in WARNING_NAMES
    )


def ours(message: bytes) -> Outcome:
    """What our filter makes of the message."""
    result = run_filter(message, OURS)
    notes = {f"event {line.split(',')[2]}" for _, line in result.lines}
    notes |= {"notice" for letter in result.letters if letter.kind is LetterKind.ADMIN_NOTICE}
    notes |= {"quarantine" for _ in result.quarantined}
    parts = () if result.delivered is None else parts_of(result.delivered)
    return Outcome(result.verdict.value, parts, frozenset(notes))


class TheirWorker:
    """MIMEDefang's worker with its own filter, started again after a message that ended it, as a multiplexor does."""

    def __init__(self, spool: Path, script: Path) -> None:
        self._spool = spool
        self._argv = ["/usr/bin/mimedefang.pl", "-f", str(script), "-server"]
        self._count = 0
        self._process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self._argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            user=USER,
            group=USER,
            extra_groups=[],
            cwd=self._spool,
        )

    def stop(self) -> None:
        """End the process."""
        with self._process as process:  # which closes its pipes
            assert process.stdin is not None
            process.stdin.close()
            process.wait(STOP_LIMIT_S)

    def outcome(self, message: bytes) -> Outcome:
        """What their filter makes of the message; a temporary failure if it cannot."""
        self._count += 1
        directory = self._spool / f"mdefang-{self._count}"
        directory.mkdir()
        content, header = _prepare(message, directory)
        for path in (directory, *directory.iterdir()):
            shutil.chown(path, USER, USER)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b"scan TRIAL001 %b\n" % str(directory).encode())
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if answer != answers.SCAN_OK:
            self.stop()
            self._process = self._start()
            return Outcome("tempfail", (), frozenset())
        return _told(directory, content, header)


def _prepare(message: bytes, directory: Path) -> tuple[mta.Message, Header]:
    """Write the working directory as a front end does."""
    content = mta.Message.parse(MailFile.parse(message).content)
    header, body = Header(None), Body(strip_bare_cr=False)
    for field in content.headers:
        header.add(field.name.rstrip(b" \t"), field.value)
    text = header.for_scan() + b"\n" + body.feed(content.body) + body.end()
    (directory / "INPUTMSG").write_bytes(text)
    (directory / "HEADERS").write_bytes(header.unfolded())
    session = Session()
    lines = [session.commands(), *(recipient_line(f"<{one}>".encode()) for one in session.recipients)]
    lines += [*header.commands, *([encode_line(Letter.SUSPICIOUS_BODY)] if body.suspicious else [])]
    (directory / "COMMANDS").write_bytes(b"".join([*lines, encode_line(Letter.FINISHED)]))
    return content, header


def _told(directory: Path, content: mta.Message, header: Header) -> Outcome:
    told = results.decode((directory / "RESULTS").read_bytes())
    notes = directory / "NOTES"
    noted = frozenset(notes.read_text().splitlines() if notes.exists() else ())
    match told.verdict:
        case results.Discard():
            return Outcome("discard", (), noted)
        case results.Bounce():
            return Outcome("reject", (), noted)
        case results.Tempfail():
            return Outcome("tempfail", (), noted)
    body = directory / "NEWBODY"
    changes = wishes(told.changes, header, body.read_bytes() if body.exists() else b"")
    envelope = mta.Envelope(sender=b"<>", recipients=[])
    delivered = mta.apply_changes(content, envelope, changes, mta.SENDMAIL)
    return Outcome("accept", parts_of(delivered.as_bytes()), noted)


@contextmanager
def their_worker(home: Path) -> Iterator[TheirWorker]:
    """The worker, running as the daemons' user with its files below `home`."""
    spool = home / "spool"
    make_spool(spool)
    script = home / "filter.pl"
    shutil.copy(HERE / "filter.pl", script)
    script.chmod(0o644)
    worker = TheirWorker(spool, script)
    try:
        yield worker
    finally:
        worker.stop()
