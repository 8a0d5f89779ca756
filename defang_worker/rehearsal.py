# SPDX-License-Identifier: GPL-3.0-or-later
"""A letter, filtered by a template before it forks workers, and the modules for rare mail (protocol.md, Template).

The first messages of a process load modules, compile patterns and have the interpreter tune its code, which writes to
some megabytes of memory. Done once before the forks, that memory stays shared, and a new worker's first message is as
quick as any. The site's filter takes no part in it, and nothing comes of it.
"""

from __future__ import annotations

import binascii
import logging
import os
import tempfile
from typing import TYPE_CHECKING, Final

# What a message can make a worker load, whatever the filter does with it; this is the last moment to load it for all.
import defang_worker.mime.archives.foreign
import defang_worker.mime.archives.tar
import defang_worker.mime.archives.zip
import defang_worker.mime.binhex
import defang_worker.mime.boilerplate
import defang_worker.mime.canonical_rebuild
import defang_worker.mime.damage
import defang_worker.mime.explore
import defang_worker.mime.html
import defang_worker.mime.new_body
import defang_worker.mime.one_reading
import defang_worker.mime.smime
import defang_worker.mime.tnef
import defang_worker.mime.uuencode
import defang_worker.mime.yenc  # noqa: F401
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
# Each time a letter of its own: of what has come before, a worker remembers what it has found out.
_HEADERS: Final = b"""\
Received: from mail.example.com (mail.example.com [192.0.2.1])
\tby mx.example.org (8.17.1/8.17.1) with ESMTPS id %(number)d
\tfor <user@example.org>; Mon, 23 Nov 2026 10:00:00 +0000
From: A Sender <sender@example.com>
To: user@example.org
Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?= %(number)d
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="=_limit_%(number)d"
"""
_BODY: Final = b"""
This is a multi-part message in MIME format.
--=_limit_%(number)d
Content-Type: multipart/alternative; boundary="=_inner_%(number)d"

--=_inner_%(number)d
Content-Type: text/plain; charset=utf-8; format=flowed
Content-Transfer-Encoding: quoted-printable

Gr=C3=BC=C3=9Fe
--=_inner_%(number)d
Content-Type: text/html; charset=iso-8859-1
Content-Transfer-Encoding: 7bit

<p>Hello</p>
--=_inner_%(number)d--

--=_limit_%(number)d
Content-Type: image/png; name="%(number)d.png"
Content-Disposition: inline; filename="%(number)d.png"
Content-Transfer-Encoding: base64

%(binary)s--=_limit_%(number)d
Content-Type: application/pdf; name="a %(number)d.pdf"
Content-Disposition: attachment; filename="a %(number)d.pdf"
Content-Transfer-Encoding: base64

%(binary)s--=_limit_%(number)d--
"""
_BINARY: Final = b"".join([binascii.b2a_base64(bytes(range(start, start + 57))) for start in range(0, 190, 19)])


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
            _write(directory, "COMMANDS", _COMMANDS)
            for number in range(_TIMES):
                letter = {b"number": number, b"binary": _BINARY}
                _write(directory, "INPUTMSG", (_HEADERS + _BODY) % letter)
                # As a front end and a multiplexor of ours ask.
                answers.append(worker.answer(b'scan rehearsal %b """' % os.fsencode(directory)))
    except OSError:
        # The first message of each worker takes a little longer, then.
        return answers
    finally:
        logging.disable(before)
    return answers


def _write(directory: str, name: str, content: bytes) -> None:
    with open(os.path.join(directory, name), "wb") as file:  # noqa: PTH118, PTH123
        file.write(content)
