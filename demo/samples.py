# SPDX-License-Identifier: GPL-3.0-or-later
"""The messages of the demonstration, and what the suggested-minimum filter should do to each.

They are made here rather than read from files, so that each can be read; every run sends the same bytes.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP

from tests.support.mta import Outcome, Verdict

# https://www.eicar.org: every scanner must report this text, which harms nobody. Cut in two, so that a scanner on this
# machine leaves this file alone.
EICAR = b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$" + b"EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One message, and the outcome that it should have."""

    title: str
    content: bytes
    verdict: Verdict
    # Whether a delivered message is to differ in its body.
    body_changes: bool = False
    # A file name that must not be in what is delivered.
    must_go: bytes = b""

    def complaint(self, outcome: Outcome) -> str:
        """What is wrong with the outcome; empty if nothing."""
        if outcome.verdict is not self.verdict:
            return f"{outcome.verdict.name} instead of {self.verdict.name}"
        if outcome.message is None:
            return ""
        delivered = outcome.message.as_bytes()
        before = self.content.partition(b"\r\n\r\n")[2]
        if self.must_go and b'name="%s"' % self.must_go in delivered:
            return f"{self.must_go.decode()} was delivered"
        if self.body_changes == (outcome.message.body == before):
            return f"the body {'is unchanged' if self.body_changes else 'was changed'}"
        return ""


def samples() -> Iterator[Sample]:
    """The samples in the order in which they are shown."""
    yield Sample(title="clean message", content=_clean(), verdict=Verdict.ACCEPT)
    yield Sample(
        title="blocked attachment",
        content=_with_attachment("Your invoice", b"MZ\x90\0" * 16, "x-msdownload", "invoice.exe"),
        verdict=Verdict.ACCEPT,
        body_changes=True,
        must_go=b"invoice.exe",
    )
    yield Sample(
        title="blocked name inside a zip",
        content=_with_attachment("Holiday pictures", _zip("beach.jpg.scr"), "zip", "pictures.zip"),
        verdict=Verdict.ACCEPT,
        body_changes=True,
        must_go=b"pictures.zip",
    )
    yield Sample(title="message/partial", content=_partial(), verdict=Verdict.REJECT)
    yield Sample(
        title="EICAR test virus",
        content=_with_attachment("Look at this", EICAR, "octet-stream", "harmless.txt"),
        verdict=Verdict.DISCARD,
    )


def _headed(subject: str) -> EmailMessage:
    message = EmailMessage(policy=SMTP)
    message["From"] = "Alice <alice@example.com>"
    message["To"] = "Bob <bob@example.org>"
    message["Subject"] = subject
    message["Date"] = "Mon, 06 Jan 2025 10:00:00 +0000"
    message["Message-ID"] = "<demo@example.com>"
    return message


def _clean() -> bytes:
    message = _headed("Lunch on Friday")
    message.set_content("Hello Bob,\n\nshall we meet at noon?\n\nAlice\n")
    return message.as_bytes()


def _with_attachment(subject: str, content: bytes, subtype: str, filename: str) -> bytes:
    message = _headed(subject)
    message.set_content("Hello Bob,\n\nsee the attachment.\n\nAlice\n")
    message.add_attachment(content, maintype="application", subtype=subtype, filename=filename)
    message.set_boundary("=_demo")
    return message.as_bytes()


def _zip(member: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(zipfile.ZipInfo(member), b"MZ\x90\0" * 16)
    return packed.getvalue()


def _partial() -> bytes:
    """The first of two halves: reassembled only by the reader's mail program, behind every scanner's back."""
    message = _headed("First half")
    message.set_content("Content-Type: application/octet-stream\n\nTVqQAAMAAAAEAAAA\n")
    message.replace_header("Content-Type", 'message/partial; id="half@example.com"; number=1; total=2')
    return message.as_bytes()
