# SPDX-License-Identifier: GPL-3.0-or-later
"""A message for each row of the suggested minimum (docs/filters/README.md), and the sample corpus."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Final

from defang_worker.testing import MessageBuilder

CORPUS: Final = Path(__file__).parents[2] / "worker" / "mime" / "corpus"
EICAR: Final = b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$" + b"EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
# What MIMEDefang's filter blocks.
ENDINGS: Final = (
    *("ade", "adp", "app", "asd", "asf", "asx", "bas", "bat", "chm", "cmd", "com", "cpl", "crt", "dll", "exe", "fxp"),
    *("hlp", "hta", "hto", "inf", "ini", "ins", "isp", "js", "jse", "lib", "lnk", "mdb", "mde", "msc", "msi", "msp"),
    *("mst", "ocx", "pcd", "pif", "prg", "reg", "scr", "sct", "sh", "shb", "shs", "sys", "url", "vb", "vbe", "vbs"),
    *("vcs", "vxd", "wmd", "wms", "wmz", "wsc", "wsf", "wsh", "{00020C01-0000-0000-C000-000000000046}", "EXE", "exe.."),
)


def zipped(*names: str, content: bytes = b"words") -> bytes:
    """A zip with members of these names."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(zipfile.ZipInfo(name), content)
    return file.getvalue()


def _with(name: str, data: bytes = b"words", content_type: str = "application/octet-stream") -> MessageBuilder:
    return MessageBuilder().text("Hello\n").attach(name, data, content_type)


def _all_endings() -> MessageBuilder:
    message = MessageBuilder().text("Hello\n")
    for ending in ENDINGS:
        message.attach(f"name.{ending}", b"words")
    for name in ("report.pdf", "exe", "exe.png", "a.exeter", "notes.txt"):
        message.attach(name, b"words")
    return message


def _part(fields: str, body: str = "words") -> MessageBuilder:
    return MessageBuilder().text("Hello\n").part(f"{fields}\n\n{body}\n".encode())


def _fragment(number: int, body: bytes) -> MessageBuilder:
    return MessageBuilder().header("Content-Type", f'message/partial; id="a@b"; number={number}; total=2').body(body)


_FORGED: Final = MessageBuilder().header("X-Forged", b"one\rX-Other: two").bytes()
_UUENCODED: Final = "Hello\n\nbegin 644 name.exe\n#0V%T\n`\nend\n"
_ROWS: Final[dict[str, MessageBuilder | bytes]] = {
    "plain": MessageBuilder(),
    "alternatives": MessageBuilder().text("Hello\n").html("<p>Hello</p>\n"),
    "harmless attachments": _with("report.pdf").attach("notes.txt", b"words", "text/plain"),
    "every ending": _all_endings(),
    "an ending that is blocked since": _with("name.iso"),
    "two subjects": MessageBuilder().header("Subject", "another"),
    "name in Content-Type": _part('Content-Type: application/octet-stream; name="name.exe"'),
    "name in Content-Description": _part("Content-Type: application/octet-stream\nContent-Description: name.exe"),
    "name in an encoded word": _part('Content-Disposition: attachment; filename="=?utf-8?b?bmFtZS5leGU=?="'),
    "name after RFC 2231": _part("Content-Disposition: attachment; filename*=utf-8''name%2Eexe"),
    "only part blocked": MessageBuilder().attach("name.exe", b"words"),
    "forged line end": _FORGED,
    "fragment": _fragment(1, b"A: b\n\nc\n"),
    "later fragment": _fragment(2, b"c\n"),
    "fragment as a part": _part('Content-Type: message/partial; id="a@b"; number=2; total=2'),
    "test virus": _with("letter.txt", EICAR),
    "container of a blocked name": _part(
        'Content-Type: message/rfc822\nContent-Disposition: attachment; filename="name.exe"', "Subject: inner\n\nwords"
    ),
    "blocked name in an attached message": MessageBuilder().text("See\n").attach_message(_with("name.exe")),
    "zip with a blocked name": _with("papers.zip", zipped("notes.txt", "name.exe"), "application/zip"),
    "harmless zip": _with("papers.zip", zipped("notes.txt"), "application/zip"),
    "damaged zip": _with("papers.zip", zipped("notes.txt")[:-30], "application/zip"),
    "zip in a zip": _with("papers.zip", zipped("inner.zip", content=zipped("name.exe")), "application/zip"),
    "message in a zip": _with("papers.zip", zipped("letter.eml", content=_with("name.exe").bytes()), "application/zip"),
    "zip of another name": _with("papers.bin", zipped("name.exe"), "application/zip"),
    "file in a text": MessageBuilder().text(_UUENCODED),
    "signed part with a blocked name": MessageBuilder().nested(
        "signed", _with("name.exe"), MessageBuilder().attach("s.asc", b"words", "application/pgp-signature")
    ),
}

MESSAGES: Final = {
    **{f"corpus {path.stem}": path.read_bytes() for path in sorted(CORPUS.glob("*.eml"))},
    **{name: one if isinstance(one, bytes) else one.bytes() for name, one in _ROWS.items()},
}
"""The messages by name."""
