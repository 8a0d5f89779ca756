# SPDX-License-Identifier: GPL-3.0-or-later
"""A site filter for tests: words of the Subject choose the verdict, X-Hold names a file to wait for.

`.exe` parts are removed. verdicts.pl does the same for a Perl worker.
"""

import os
import time
from pathlib import Path

from defang_worker import Message, Part

HOLD_LIMIT_S = 60.0


def filter_begin(message: Message) -> None:
    hold = message.headers.get("X-Hold")
    if hold:
        wait_while_there_is(Path(hold))
    words = message.subject.split()
    if "reject" in words:
        message.reject("no thank you, 50% sure", code=554, dsn="5.7.9")
    if "tempfail" in words:
        message.tempfail("come back later", code=450, dsn="4.7.9")
    if "discard" in words:
        message.discard()
    if "quarantine" in words:
        message.mta_quarantine("looks odd")
    if "strip" in words:
        message.headers.delete_all("X-Many")
    if "mark" in words:
        message.headers.add("X-Queue-ID", message.envelope.queue_id or "")


def filter_part(_message: Message, part: Part) -> None:
    if part.matches(r"\.exe$"):
        part.drop(warning=f"{part.filename} was removed")


def wait_while_there_is(file: Path) -> None:
    """Tell in FILE.worker who waits, and wait until FILE is gone; meanwhile a test kills what it wants to."""
    if not file.exists():
        return
    told = file.with_name(file.name + ".new")
    told.write_text(str(os.getpid()))
    told.rename(file.with_name(file.name + ".worker"))
    deadline = time.monotonic() + HOLD_LIMIT_S
    while file.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
