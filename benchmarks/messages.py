# SPDX-License-Identifier: GPL-3.0-or-later
"""The messages of the load: one shape (text, HTML, two attachments) in several sizes, always the same bytes."""

from __future__ import annotations

import base64
import random

from defang_worker.trial.mta_message import Message, as_crlf

KIB = 1024
MIB = 1024 * KIB
# What the words of `--sizes` mean, in bytes of the whole message.
SIZES = {"2.7k": 2700, "100k": 100 * KIB, "5m": 5 * MIB}
# Four parts in a container within a container: the usual letter with a picture and a document.
_FRAME = b"""\
Received: from client.example.com (client.example.com [192.0.2.7])
\tby mx.example.org (8.17.1/8.17.1) with ESMTPS id 4AMA0001
\tfor <rcpt@example.org>; Sun, 22 Nov 2026 10:00:00 +0000
DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.com; s=mail;
\th=from:to:subject:date:message-id; bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=;
\tb=dzdVyOfAKCdLXdJOc9G2q8LoXSlEniSbav+yuU4zGeeruD00lszZVoG4ZHRNiYzR
From: A. Sender <sender@example.com>
To: B. Recipient <rcpt@example.org>
Subject: =?utf-8?Q?The_report_for_November?=
Date: Sun, 22 Nov 2026 10:00:00 +0000
Message-ID: <20261122100000.1234@example.com>
User-Agent: Example Mailer 1.0
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="----=_Part_1_mixed"

This is a multi-part message in MIME format.
------=_Part_1_mixed
Content-Type: multipart/alternative; boundary="----=_Part_2_alternative"

------=_Part_2_alternative
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: quoted-printable

Dear B.,
please find the report attached. Gr=C3=BC=C3=9Fe, A.

------=_Part_2_alternative
Content-Type: text/html; charset=utf-8
Content-Transfer-Encoding: quoted-printable

<html><head><title>report</title></head><body>
<p>Dear B.,<br>please find the report attached. Gr=C3=BC=C3=9Fe, A.</p>
</body></html>

------=_Part_2_alternative--

------=_Part_1_mixed
Content-Type: image/png; name="logo.png"
Content-Disposition: inline; filename="logo.png"
Content-Transfer-Encoding: base64

iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9
------=_Part_1_mixed
Content-Type: application/pdf; name="report.pdf"
Content-Disposition: attachment; filename="report.pdf"
Content-Transfer-Encoding: base64

%s------=_Part_1_mixed--
"""
_SEED = 20261122
# 57 bytes make one line of 76 characters and its line end, 78 bytes in SMTP.
_LINE_BYTES, _LINE_DATA_BYTES = 78, 57


def of_size(size_bytes: int) -> Message:
    """A letter of about that many bytes as SMTP carries it (never less than the frame's 2 KB)."""
    missing = max(size_bytes - len(as_crlf(_FRAME % b"")), 0)
    data = random.Random(_SEED).randbytes(max(missing * _LINE_DATA_BYTES // _LINE_BYTES, 30))
    return Message.parse(as_crlf(_FRAME % base64.encodebytes(data)))


def named(word: str) -> Message:
    """The letter for a word of SIZES."""
    return of_size(SIZES[word])
