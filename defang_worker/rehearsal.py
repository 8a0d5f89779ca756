# SPDX-License-Identifier: GPL-3.0-or-later
"""A small message, filtered by a template before it forks workers (protocol.md, Template).

The first messages of a process load modules, compile patterns and have the interpreter tune its code, which writes to
some megabytes of memory. Done once before the forks, that memory stays shared, and a new worker's first message is as
quick as any. The site's filter takes no part in it, and nothing comes of it.
"""

from __future__ import annotations

import logging
import os
import tempfile
from typing import TYPE_CHECKING, Final

from defang_worker import loop
from defang_worker.api import filter_file
from defang_worker.api.hooks import Filter
from defang_worker.status import StatusTags

if TYPE_CHECKING:
    from defang_worker.api.message import Message
    from defang_worker.api.part import Part
    from defang_worker.log_lines import QueueIdFormatter

# CPython 3.11 tunes a function's code after its eighth call.
_TIMES: Final = 10

_COMMANDS: Final = b"S<sender@example.com>\nR<user@example.org> ? ? ?\nI192.0.2.1\nHmail.example.com\nQrehearsal\nF\n"
_HEADERS: Final = (
    b"From: A Sender <sender@example.com>\nTo: user@example.org\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\n"
    b'MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary="limit"\n'
)
_BODY: Final = b"""
--limit
Content-Type: multipart/alternative; boundary=inner

--inner
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: quoted-printable

Gr=C3=BC=C3=9Fe
--inner
Content-Type: text/html; charset=iso-8859-1

<p>Hello</p>
--inner--

--limit
Content-Type: application/pdf; name="a.pdf"
Content-Disposition: attachment; filename="a.pdf"
Content-Transfer-Encoding: base64

JVBERi0xLjQK
--limit--
"""


class _Rehearsal(Filter):
    """Does with messages what most filters do."""

    def filter_begin(self, message: Message) -> None:
        _ = message.subject

    def filter_part(self, message: Message, part: Part) -> None:  # noqa: ARG002  # a callback's arguments
        _ = (part.filename, part.filenames, part.content_type, part.data)

    def filter_end(self, message: Message) -> None:
        message.headers.add("X-Rehearsal", "done")


def rehearse(formatter: QueueIdFormatter) -> list[bytes]:
    """The answers to some scans of the message; none where no file can be written."""
    answers: list[bytes] = []
    worker = loop.Worker(filter_file.of_class(_Rehearsal), StatusTags(None), formatter)
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with tempfile.TemporaryDirectory(prefix="defang-") as directory:
            for name, content in (("COMMANDS", _COMMANDS), ("HEADERS", _HEADERS), ("INPUTMSG", _HEADERS + _BODY)):
                _write(directory, name, content)
            for _ in range(_TIMES):
                answers.append(worker.answer(b"scan rehearsal " + os.fsencode(directory)))
                _write(directory, "RESULTS", b"")
    except OSError:
        # The first message of each worker takes a little longer, then.
        return answers
    finally:
        logging.disable(before)
    return answers


def _write(directory: str, name: str, content: bytes) -> None:
    with open(os.path.join(directory, name), "wb") as file:  # noqa: PTH118, PTH123
        file.write(content)
