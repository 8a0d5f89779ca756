# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages for the tests with real mail servers: bytes as SMTP carries them, awkward where servers tend to tidy up."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from defang_worker.trial.mta_message import Message, as_crlf

# A picture's and a program's bytes as a mail program encodes them; what matters is that they are long and not text.
PICTURE = as_crlf(base64.encodebytes(bytes(range(256)) * 40))
PROGRAM = as_crlf(base64.encodebytes(b"MZ" + bytes(range(255, -1, -1)) * 40))
TEXT = "Gr\u00fc\u00dfe, and a line with blanks at its end   \r\n.\r\n..two dots\r\nFrom here\r\n\t tab\r\n".encode()

# What neither server may add to or put in order: a server adds Date, From and Message-ID where they are missing.
_HEADERS = (
    b"Received: from a.example.com by b.example.com; Mon, 1 Jan 2024 00:00:00 +0000\r\n"
    b"From: Sender <sender@example.com>\r\n"
    b"To: Recipient <rcpt@example.net>\r\n"
    b"Date: Mon, 1 Jan 2024 00:00:00 +0000\r\n"
    b"Message-ID: <%s@example.com>\r\n"
    b"Subject: %s\r\n"
)


def plain(name: str, subject: str, *, more: Sequence[str] = (), body: bytes = TEXT) -> bytes:
    """A message of one part, with 8-bit text, folded and undecodable headers, and `more` header lines at the end."""
    lines = b"".join(f"{line}\r\n".encode() for line in more)
    return (
        _HEADERS % (name.encode(), subject.encode())
        + b"X-Folded: one\r\n\t two   \r\n   three\r\n"
        + b"X-Eight: \xe9\xff\xfe caf\xe9\r\n"
        + b"X-Tight:value\r\n"
        + b"X-Wide:   value\r\n"
        + b"MIME-Version: 1.0\r\n"
        + b"Content-Type: text/plain; charset=utf-8\r\n"
        + b"Content-Transfer-Encoding: 8bit\r\n"
        + lines
        + b"\r\n"
        + body
    )


def with_attachments(name: str, subject: str, *, program: bytes = PROGRAM) -> bytes:
    """A text, a picture, a program `setup.exe` and a text behind it, with words before and behind the parts."""
    return (
        _HEADERS % (name.encode(), subject.encode())
        + b"MIME-Version: 1.0\r\n"
        + b'Content-Type: multipart/mixed;\r\n\tboundary="=_ b"\r\n\r\n'
        + b"Words before the parts.\r\n"
        + b"--=_ b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
        + TEXT
        + b"\r\n--=_ b\r\nContent-Type: image/png; name=picture.png\r\nContent-Transfer-Encoding: base64\r\n"
        + b"Content-Disposition: inline;\r\n  filename=picture.png\r\n\r\n"
        + PICTURE
        + b"\r\n--=_ b\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n"
        + b"Content-Disposition: attachment; filename=setup.exe\r\n\r\n"
        + program
        + b"\r\n--=_ b\r\nContent-Type: text/plain\r\n\r\nThe end.\r\n"
        + b"--=_ b--\r\nWords behind the parts.\r\n"
    )


def without_added(content: bytes, *added: bytes) -> bytes:
    """The delivered message without what was added to it: the receiver's Received, and the last field of each name."""
    message = Message.parse(content)
    first, *fields = message.headers
    assert first.key == b"received", f"the receiving server's Received is not the first field: {first}"
    for name in added:
        at = max(at for at, field in enumerate(fields) if field.key == name.lower())
        del fields[at]
    return Message(headers=tuple(fields), separator=message.separator, body=message.body).as_bytes()
