# SPDX-License-Identifier: GPL-3.0-or-later
"""The messages that the transactions carry, lines divided by LF; what is done with them stands in `messages.py`."""

from __future__ import annotations

import base64

HEAD = b"From: A. Sender <sender@example.com>\nTo: rcpt@example.org\nSubject: a test\nMessage-ID: <1@example.com>\n"
TEXT = HEAD + b"\nHello,\nthis is the text.\n"

LETTER = b"""\
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="outer"

This is a preamble.
--outer
Content-Type: multipart/alternative; boundary="inner"

--inner
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: quoted-printable

Gr=C3=BC=C3=9Fe,
a line that goes =
on.
--inner
Content-Type: text/html; charset=utf-8

<html><body><p>Hello</p></body></html>

--inner--

--outer
Content-Type: application/octet-stream; name="program.exe"
Content-Disposition: attachment; filename="program.exe"
Content-Transfer-Encoding: base64

TVqQAAMAAAAEAAAA//8AALgAAAAAAAAAQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA
--outer
Content-Type: image/png; name="picture.png"
Content-Disposition: inline; filename="picture.png"
Content-Transfer-Encoding: base64

iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9
--outer--
This is an epilogue.
"""
LETTER = HEAD + LETTER

ALTERNATIVE = (
    HEAD
    + b"""\
MIME-Version: 1.0
Content-Type: multipart/alternative; boundary=alt

--alt
Content-Type: text/plain

plain words

--alt
Content-Type: text/html

<p>plain words</p>

--alt--
"""
)

FORWARD = (
    HEAD
    + b"""\
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="fwd"

--fwd
Content-Type: text/plain

See below.
--fwd
Content-Type: message/rfc822

From: other@example.net
Subject: the nested one
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="nested"

--nested
Content-Type: text/plain

nested text
--nested
Content-Type: application/x-msdownload; name="nested.exe"
Content-Disposition: attachment; filename="nested.exe"
Content-Transfer-Encoding: base64

TVqQAAMAAAAEAAAA
--nested--

--fwd--
"""
)

ODD_BOUNDARY = (
    HEAD
    + b"""\
MIME-Version: 1.0
Content-Type: multipart/mixed;
\tboundary="=_(odd) :b/?+='.,_end"

--=_(odd) :b/?+='.,_end
Content-Type: text/plain

--=_(odd) is not the boundary
--=_(odd) :b/?+='.,_end  \t
Content-Type: text/plain; name="second.txt"
Content-Disposition: attachment; filename="second.txt"

the second
--=_(odd) :b/?+='.,_end--
"""
)

MIME_TEXT = (
    HEAD
    + b"MIME-Version: 1.0\nContent-Type: text/plain\nContent-Disposition: attachment\n"
    + b"Content-Transfer-Encoding: 8bit\n\nread me\n"
)

NO_BOUNDARY = (
    HEAD + b"MIME-Version: 1.0\nContent-Type: multipart/mixed\n\n--guess\n\nno boundary is declared\n--guess--\n"
)

UNENDED = (
    HEAD + b"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=cut\n\n--cut\n\nthe last boundary is missing\n"
)

REPEATED = HEAD + b"X-Mark: one\nX-Other: other\nx-mark: two\nX-MARK: three\n"

LARGE_BODY_BYTES = 1_500_000


def large() -> bytes:
    """A letter with one attachment, 2 MB as sent: about 31 body packets."""
    block = bytes(range(256)) * (LARGE_BODY_BYTES // 256)
    return (
        HEAD
        + b'MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary="large"\n\n--large\nContent-Type: text/plain\n\n'
        + b"see the attachment\n--large\nContent-Type: application/octet-stream; name=large.bin\n"
        + b"Content-Disposition: attachment; filename=large.bin\nContent-Transfer-Encoding: base64\n\n"
        + base64.encodebytes(block)
        + b"--large--\n"
    )
