# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages and keys for the tests of sender authentication."""

from __future__ import annotations

import functools
import subprocess
from pathlib import Path

from defang_common.wire import commands
from defang_worker import Settings
from defang_worker.api.message import Message

WAIT_S = 60
PLAIN = (
    b"From: Joe <joe@example.com>\nTo: bob@example.org\nSubject: hello\nDate: Mon, 5 Jan 2026 10:00:00 +0000\n\nHi.\n\n"
)


def message(raw: bytes = PLAIN, sender: bytes = b"joe@example.com") -> Message:
    envelope = b"S<%b>\n=j mail.example.org\nQQ1\nHclient.example.com\nI192.0.2.7\nEhelo.example.com\n" % sender
    return Message(commands.decode(envelope + b"R<bob@example.org> ? ? ?\nF\n"), raw, "/nowhere", Settings())


@functools.cache
def rsa_key(bits: int = 1024) -> tuple[bytes, str]:
    """A private key as PEM, and its record."""
    words = ["openssl", "genrsa", str(bits)]
    private = subprocess.run(words, capture_output=True, timeout=WAIT_S, check=True).stdout
    return private, rsa_record(private)


def rsa_record(private: bytes) -> str:
    words = ["openssl", "rsa", "-pubout"]
    public = subprocess.run(words, input=private, capture_output=True, timeout=WAIT_S, check=True).stdout.decode()
    return "v=DKIM1; k=rsa; p=" + "".join(line for line in public.splitlines() if not line.startswith("-"))


def openssl_ed25519(path: Path) -> bytes:
    words = ["openssl", "genpkey", "-algorithm", "ed25519", "-out", str(path)]
    subprocess.run(words, capture_output=True, timeout=WAIT_S, check=True)
    return path.read_bytes()
