# SPDX-License-Identifier: GPL-3.0-or-later
# ruff: noqa: C901, E501, PLR0912, PLR0915  # lists of messages, in the order of the constructs
"""Messages for every construct that hides a file, several for each: what `test_variants.py` wants to be found.

Each has an attachment blocked.exe whose content is MARK, unless it says otherwise. Written with LF, as latin-1.
"""

import base64
import binascii
import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from tests.support import cms_maker

MARK = "MARKER-VARIANT-QZPLX"
PLAIN = f"Plain words, line 1, not a program.\nPlain words, line 2, not a program.\n{MARK}\nEnd of the file.\n"
NAME = "blocked.exe"


class Variant(NamedTuple):
    construct: str
    message: bytes
    names: frozenset[str] = frozenset({NAME})
    is_named: bool = True
    """Whether the table's name for the construct must be among the defects; else a neighbor will do."""


def b64(text: str = PLAIN, width: int = 76) -> str:
    data = base64.b64encode(text.encode("latin-1")).decode()
    return "".join(data[at : at + width] + "\n" for at in range(0, len(data), width))


def message(
    body: str, fields: str = 'Content-Type: multipart/mixed; boundary="b"\n', version: str = "MIME-Version: 1.0\n"
) -> str:
    head = "From: Ann <ann@sender.example>\nTo: desk@gateway.example\nSubject: Notes\n"
    return (
        head + "Date: Mon, 7 Jun 2026 09:30:00 +0000\nMessage-ID: <1@sender.example>\n" + version + fields + "\n" + body
    )


TEXT = "Content-Type: text/plain; charset=us-ascii\n\nGood morning, see below.\n"
TYPE = "Content-Type: application/octet-stream\n"
CODE = "Content-Transfer-Encoding: base64\n"
FILE = 'Content-Disposition: attachment; filename="blocked.exe"\n'
PART = TYPE + CODE + FILE + "\n" + b64()


def parts(*entities: str, boundary: str = "b", end: str | None = None) -> str:
    body = "".join(f"--{boundary}\n{entity}" for entity in entities)
    return body + (f"--{boundary}--\n" if end is None else end)


def with_file(fields: str, body: str = "") -> str:
    """Return a message whose second part has these fields."""
    return message(parts(TEXT, fields + "\n" + (body or b64())))


def disposition(value: str) -> str:
    return with_file(TYPE + CODE + "Content-Disposition: " + value + "\n")


def inner(kind: str = 'multipart/mixed; boundary="i"', *entities: str, boundary: str = "i") -> str:
    return f"Content-Type: {kind}\n\n" + parts(*(entities or (TEXT, PART)), boundary=boundary)


def rooted(content_type: str, body: str) -> str:
    return message(body, f"Content-Type: {content_type}\n")


def archive(*members: tuple[str, str], comment: str = "", method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as made:
        for name, content in members:
            made.writestr(zipfile.ZipInfo(name), content, compress_type=method)
        made.comment = comment.encode()
    return file.getvalue()


def attached(data: bytes, name: str = "papers.zip", kind: str = "application/zip") -> str:
    text = base64.encodebytes(data).decode()
    return message(
        parts(TEXT, f'Content-Type: {kind}\n{CODE}Content-Disposition: attachment; filename="{name}"\n\n{text}')
    )


def uuencoded(name: str = NAME) -> str:
    data = PLAIN.encode()
    lines = [binascii.b2a_uu(data[at : at + 45]).decode() for at in range(0, len(data), 45)]
    return f"begin 644 {name}\n" + "".join(lines) + "`\nend\n"


def yencoded(name: str = NAME) -> str:
    data = PLAIN.encode()
    text = ""
    for byte in data:
        value = (byte + 42) % 256
        text += chr(value) if value not in {0, 10, 13, 61} else "=" + chr((value + 64) % 256)
    return f"=ybegin line=512 size={len(data)} name={name}\n{text}\n=yend size={len(data)}\n"


def fields_variants() -> Iterator[tuple[str, str]]:
    mixed = 'Content-Type: multipart/mixed; boundary="b"\n'
    plain = "Content-Type: text/plain\n"
    body = parts(TEXT, PART)
    yield "H01", message(body, plain + mixed)
    yield "H01", message(body, mixed + plain)
    yield "H01", message(body, 'Content-Type: multipart/mixed; boundary="x"\n' + mixed)
    yield "H01", message(parts(TEXT, plain + inner()))
    yield "H01", with_file("Content-Type: text/plain\n" + TYPE + CODE + FILE)
    yield (
        "H01",
        with_file(
            'Content-Type: text/plain; name="notes.txt"\nCONTENT-TYPE: application/octet-stream; name="blocked.exe"\n'
            + CODE
        ),
    )
    yield "H01", message(parts(TEXT, "Content-Type: text/plain\nContent-Type: message/rfc822\n\n" + message(body)))
    for encoding in ("7bit", "8bit", "quoted-printable", "binary", "x-unknown"):
        yield "H02", with_file(TYPE + f"Content-Transfer-Encoding: {encoding}\n" + CODE + FILE)
        yield "H02", with_file(TYPE + CODE + f"Content-Transfer-Encoding: {encoding}\n" + FILE)
    yield "H03", with_file(TYPE + CODE + 'Content-Disposition: attachment; filename="notes.txt"\n' + FILE)
    yield "H03", with_file(TYPE + CODE + FILE + 'Content-Disposition: attachment; filename="notes.txt"\n')
    yield "H03", with_file(TYPE + CODE + "Content-Disposition: inline\n" + FILE)
    yield "H03", with_file(TYPE + FILE + CODE + "content-disposition: inline\n")
    for value in (
        'attachment; filename="notes.txt"; filename="blocked.exe"',
        'attachment; filename="blocked.exe"; filename="notes.txt"',
        'attachment; filename="notes.txt"; FileName="blocked.exe"',
        'attachment; filename="notes.txt"; size=1; filename=blocked.exe',
        "attachment; filename=a.txt; filename=b.txt; filename=blocked.exe; filename=c.txt",
    ):
        yield "H04", disposition(value)
    yield "H04", with_file('Content-Type: application/octet-stream; name="notes.txt"; name="blocked.exe"\n' + CODE)
    yield "H05", with_file('Content-Type: application/octet-stream; name="report.txt"\n' + CODE + FILE)
    yield (
        "H05",
        with_file(
            'Content-Type: application/octet-stream; name="blocked.exe"\n'
            + CODE
            + 'Content-Disposition: attachment; filename="report.txt"\n'
        ),
    )
    yield "H05", disposition("attachment; filename=\"notes.txt\"; filename*=utf-8''blocked.exe")
    yield "H05", disposition("attachment; filename*=utf-8''notes.txt; filename=\"blocked.exe\"")
    yield (
        "H05",
        with_file(
            "Content-Type: application/octet-stream; name*=utf-8''blocked.exe\n"
            + CODE
            + 'Content-Disposition: attachment; filename="a.txt"\n'
        ),
    )
    yield "H06", message(body, 'Content-Type : multipart/mixed; boundary="b"\n')
    yield "H06", message(body, 'Content-Type\t: multipart/mixed; boundary="b"\n')
    yield "H06", with_file(TYPE + CODE + 'Content-Disposition : attachment; filename="blocked.exe"\n')
    yield "H06", with_file(TYPE + "Content-Transfer-Encoding   : base64\n" + FILE)
    for value in (
        'attachment (; filename="notes.txt"); filename(x)="blocked.exe"',
        '(a) attachment; (b) filename (c) = (d) "blocked.exe"',
        "attachment; filename=(x)blocked.exe",
        "attachment; (filename=notes.txt;) filename=blocked.exe",
        'attachment; (a \\) b) filename(x)="blocked.exe"',
    ):
        yield "H07", disposition(value)
    yield "H07", with_file(TYPE + "Content-Transfer-Encoding: (really) base64\n" + FILE)
    yield "H07", with_file(TYPE + "Content-Transfer-Encoding: base64 (really)\n" + FILE)
    yield "H07", message(body, 'Content-Type: (x) multipart/mixed; boundary="b"\n')
    yield "H07", message(body, 'Content-Type: multipart(x)/mixed; boundary="b"\n')
    yield "H07", message(body, 'Content-Type: multipart/mixed; boundary(x)="b"\n')
    yield "H07", message(body, "Content-Type: multipart/mixed; (boundary=z) boundary=b\n")
    for value in (
        'attachment filename="blocked.exe"',
        'attachment;; filename="blocked.exe"',
        'attachment, filename="blocked.exe"',
        'attachment: filename="blocked.exe"',
        'attachment; size=12 filename="blocked.exe"',
        "attachment; filename=notes.txt filename=blocked.exe",
        'attachment; foo="bar"filename="blocked.exe"',
        'attachment; foo="bar" filename="blocked.exe"',
        'attachment| filename="blocked.exe"',
        'attachment/filename="blocked.exe"',
        "attachment; filename=blocked.exe junk",
        'attachment; filename="blocked.exe", size=1',
    ):
        yield "H08", disposition(value)
    for value in (
        'multipart/mixed boundary="b"',
        "multipart/mixed boundary=b",
        'multipart/mixed, boundary="b"',
        'multipart/mixed;; boundary="b"',
        'multipart/mixed; charset=x boundary="b"',
        'multipart/mixed: boundary="b"',
        'multipart/mixed; ; ;boundary="b"',
    ):
        yield "H08", rooted(value, body)
    for value in (
        'attachment; filename = "blocked.exe"',
        'attachment; filename= "blocked.exe"',
        'attachment; filename ="blocked.exe"',
        "attachment; filename\t=\tblocked.exe",
        'attachment; filename=\n "blocked.exe"',
        'attachment; filename\n ="blocked.exe"',
    ):
        yield "H09", disposition(value)
    yield "H09", rooted('multipart/mixed; boundary = "b"', body)
    for value in (
        'attachment; filename="blocked.exe',
        'attachment; filename=blocked.exe"',
        'attachment; foo="bar; filename="blocked.exe"',
        'attachment; foo="; filename=blocked.exe',
        '"attachment; filename=blocked.exe',
        'attachment; filename="blocked.exe; size=12',
        'attachment; filename=""blocked.exe"',
    ):
        yield "H10", disposition(value)
    yield "H10", rooted('multipart/mixed; boundary="b', body)
    yield "H10", rooted('multipart/mixed; charset="x; boundary="b"', body)
    for value in (
        "=?UTF-8?B?YmxvY2tlZC5leGU=?=",
        "=?utf-8?Q?blocked=2Eexe?=",
        "=?UTF-8?B?YmxvY2tl?= =?UTF-8?B?ZC5leGU=?=",
        "block=?UTF-8?Q?ed=2Eexe?=",
        "=?iso-8859-1*en?q?blocked.exe?=",
        "=?UTF-8?B?YmxvY2tlZC5leGU=?",
        "=?UTF-8?B?YmxvY2tlZC5leGU=",
    ):
        yield "H11", disposition(f'attachment; filename="{value}"')
        yield "H11", with_file(f'Content-Type: application/octet-stream; name="{value}"\n' + CODE)
    yield "H11", disposition("attachment; filename==?UTF-8?B?YmxvY2tlZC5leGU=?=")
    yield "H11", disposition('attachment;\n filename="=?UTF-8?B?YmxvY2tl?=\n =?UTF-8?B?ZC5leGU=?="')
    for value in (
        'filename*0="blocked"; filename*2=".exe"',
        'filename*1=".exe"; filename*0="blocked"',
        'filename*1="blocked"; filename*2=".exe"',
        'filename*0="blocked"; filename*1=".txt"; filename*1=".exe"',
        'filename*0="blocked"; filename*1=".exe"; filename*1=".txt"',
        'filename*00="blocked"; filename*01=".exe"',
        'filename*0="blocked"; filename*a=".exe"',
        'filename*0="notes.txt"; filename*0="blocked.exe"',
        'filename*0="blocked"; filename*10=".exe"; filename*9=""',
        'filename*0="block"; filename*3="ed"; filename*7=".exe"',
        "filename*1*=.exe; filename*0*=utf-8''blocked",
        'filename*-1="blocked"; filename*0=".exe"',
        'filename="notes.txt"; filename*1="blocked"; filename*2=".exe"',
    ):
        yield "H12", disposition("attachment; " + value)
    for value in (
        "x-nowhere''blocked%2Eexe",
        "utf-8'blocked%2Eexe",
        "blocked%2Eexe",
        "''blocked%2Eexe",
        "utf-7''blocked+AC4-exe",
        "utf-16be''%00b%00l%00o%00c%00k%00e%00d%00.%00e%00x%00e",
        "utf-16''%FE%FF%00b%00l%00o%00c%00k%00e%00d%00.%00e%00x%00e",
        "us-ascii'en''blocked%2Eexe",
        "utf-16le''b%00l%00o%00c%00k%00e%00d%00.%00e%00x%00e%00",
    ):
        if value != "us-ascii'en''blocked%2Eexe":
            yield "H13", disposition("attachment; filename*=" + value)
    yield "H13", disposition("attachment; filename*0*=x-none''block; filename*1*=ed%2Eexe")
    yield "H13", disposition("attachment; filename*0*=block; filename*1*=ed%2Eexe")
    for value in (
        'attachment; filename="blocked\n .exe"',
        'attachment; filename="block\n\ted.exe"',
        'attachment;\n \n filename="blocked.exe"',
        "attachment;\n\t\n\tfilename=blocked.exe",
    ):
        yield "H15", disposition(value)
    yield "H15", with_file(' Content-Disposition: attachment; filename="blocked.exe"\n' + TYPE + CODE)
    yield "H15", with_file("\tContent-Type: application/octet-stream\n" + CODE + FILE)
    yield "H15", with_file(TYPE + " \n" + CODE + FILE)
    stray = "this line is not a field\n"
    yield "H16", with_file(TYPE + stray + CODE + FILE)
    yield "H16", with_file(stray + TYPE + CODE + FILE)
    yield "H16", with_file(TYPE + CODE + FILE + stray)
    yield "H16", message(body, stray + mixed)
    yield "H16", message(body, "X-One: 1\n" + stray + mixed + "X-Two: 2\n")
    yield "H16", message(parts(TEXT, TYPE + FILE + CODE + b64()))
    yield "H16", message(parts(TEXT, TYPE + "\n" + CODE + FILE + "\n" + b64()))
    yield "H16", message(parts(TEXT, TYPE + FILE + PLAIN))
    yield "H17", message(body, version="")
    yield "H17", message(body, version="MIME-Version: 2.0\n")
    yield "H17", message(body, version="MIME-Version: 1.0\nMIME-Version: 1.0\n")
    yield "H17", message(body, version="MIME-Version:\n")
    yield "H17", message(body, version="MIME-Version: 1.0 beta\n")
    yield "H17", message(b64(), TYPE + CODE + FILE, version="")
    for value in (
        "multipart; boundary=b",
        "multipart/; boundary=b",
        "multipart//mixed; boundary=b",
        "multipart/mixed/x; boundary=b",
        "multipart / mixed; boundary=b",
        '"multipart/mixed"; boundary=b',
        "multi part/mixed; boundary=b",
        "/mixed; boundary=b",
        "multipart/mi xed; boundary=b",
        "; boundary=b",
        "multipart mixed; boundary=b",
        "boundary=b",
    ):
        yield "H18", rooted(value, body)
    for value in (
        '; name="blocked.exe"',
        'application; name="blocked.exe"',
        'name="blocked.exe"',
        '/; name="blocked.exe"',
        'application/octet stream; name="blocked.exe"',
        'application//octet-stream; name="blocked.exe"',
    ):
        yield "H18", with_file(f"Content-Type: {value}\n" + CODE)
    yield "H18", with_file("Content-Type:\n" + CODE + FILE)
    for value in (
        'filename="blocked.exe"',
        '; filename="blocked.exe"',
        'x-strange; filename="blocked.exe"',
        'attach; filename="blocked.exe"',
        '"attachment"; filename="blocked.exe"',
        "*; filename=blocked.exe",
    ):
        yield "H19", disposition(value)
    for value in (
        '"block\\ed\\.exe"',
        "'blocked.exe'",
        "\"'blocked.exe'\"",
        'blocked".exe"',
        '"blocked".exe',
        '"\\b\\l\\o\\c\\k\\e\\d.exe"',
        '"blocked"".exe"',
        '"block\\ed.exe"',
    ):
        yield "H20", disposition(f"attachment; filename={value}")


def raw_8bit_variants() -> Iterator[Variant]:
    for raw, name in (
        ("bl\xc3\xb6cked.exe", "bl\xf6cked.exe"),
        ("bl\xf6cked.exe", "bl\xf6cked.exe"),
        ("bl\xe2\x82\xaccked.exe", "bl\u20accked.exe"),
        ("bl\x80cked.exe", "bl\u20accked.exe"),
    ):
        for text in (
            disposition(f'attachment; filename="{raw}"'),
            disposition(f"attachment; filename={raw}"),
            with_file(f'Content-Type: application/octet-stream; name="{raw}"\n' + CODE),
        ):
            yield Variant("H14", text.encode("latin-1"), frozenset({name}))


def boundary_variants() -> Iterator[tuple[str, str]]:
    def cut(declared: str, used: str) -> str:
        return rooted(f"multipart/mixed; boundary={declared}", parts(TEXT, PART, boundary=used))

    for value in ("=_a?b/c:d", "foo bar", "a/b", "a(b)c", "a,b", "a:b", "<b>", "a@b", "[b]", "a=b", "foo bar baz"):
        yield "B01", cut(value, value)
    yield "B01", cut("a/b; charset=x", "a/b")
    yield "B01", cut("foo bar", "foo")
    yield "B01", cut("a(b)c", "ac")
    for declared, used in (
        ("'b'", "b"),
        ("'b'", "'b'"),
        ('"abc"tail', "abc"),
        ('"abc"tail', "abctail"),
        ('"a\\bc"', "abc"),
        ('"a\\bc"', "a\\bc"),
        ("\"'b'\"", "b"),
        ('"a\\"b"', 'a"b'),
        ('a"b"c', "abc"),
        ('"abc"tail', '"abc"tail'),
    ):
        yield "B02", cut(declared, used)
    for declared in ('""', "", '" "', "''"):
        yield "B03", cut(declared, "")
        yield "B03", cut(declared, "guess")
    both = parts(TEXT, PART, boundary="two")
    yield "B04", rooted('multipart/mixed; boundary="one"; boundary="two"', both)
    yield "B04", rooted('multipart/mixed; boundary="two"; boundary="one"', both)
    yield "B04", rooted('multipart/mixed; boundary="one"; boundary="two"', parts(TEXT, boundary="one") + both)
    yield (
        "B04",
        rooted('multipart/mixed; boundary="one"; BOUNDARY=two', parts(TEXT, TEXT, boundary="one", end="") + both),
    )
    yield (
        "B05",
        rooted(
            'multipart/mixed; boundary="abc"',
            parts(TEXT, inner('multipart/mixed; boundary="abcx"', TEXT, PART, boundary="abcx"), boundary="abc"),
        ),
    )
    yield (
        "B05",
        rooted(
            'multipart/mixed; boundary="abc"',
            parts(TEXT, inner('multipart/mixed; boundary="abc--"', TEXT, PART, boundary="abc--"), boundary="abc"),
        ),
    )
    yield (
        "B05",
        rooted(
            'multipart/mixed; boundary="abcx"',
            parts(TEXT, inner('multipart/mixed; boundary="abc"', TEXT, PART, boundary="abc"), boundary="abcx"),
        ),
    )
    yield (
        "B05",
        rooted(
            'multipart/mixed; boundary="abc"',
            parts(TEXT, inner('multipart/mixed; boundary="abc def"', PART, boundary="abc def"), boundary="abc"),
        ),
    )
    long = "x" * 71
    yield "B06", cut(f'"{long}"', long)
    yield "B06", cut(f'"{long}"', long[:70])
    yield "B06", cut(f'"{"y" * 200}"', "y" * 200)
    yield "B06", cut("z" * 120, "z" * 120)
    for junk in (" junk", "junk", "\tx", ";x", ".", " -", " (comment)", "\x00"):
        if junk != "\x00":
            yield "B07", message(f"--b\n{TEXT}--b{junk}\n{PART}--b--\n")
            yield "B07", message(f"--b{junk}\n{PART}--b{junk}\n{TEXT}--b--\n")
    yield "B08", message(parts(TEXT, PART, end=""))
    yield "B08", message(parts(TEXT, f"Content-Type: multipart/mixed; boundary=i\n\n--i\n{PART}"))
    yield "B08", message(parts(TEXT, f"Content-Type: multipart/mixed; boundary=i\n\n--i\n{TEXT}--i\n{PART}", TEXT))
    yield "B08", message(parts(TEXT, TYPE + CODE + FILE + "\n" + b64().rstrip("=\n"), end=""))
    yield "B09", message(PART + parts(TEXT))
    yield "B09", message("\n" + PART + "\n" + parts(TEXT))
    yield "B09", message(uuencoded() + parts(TEXT))
    yield "B09", message("Some words.\n\n" + PART + parts(TEXT))
    yield "B09", message(FILE + TYPE + CODE + "\n" + b64() + parts(TEXT))
    yield "B10", message(parts(TEXT) + "--b\n" + PART + "--b--\n")
    yield "B10", message(parts(TEXT) + "--b\n" + PART)
    yield "B10", message(parts(TEXT) + "\n" + PART)
    yield "B10", message(parts(TEXT) + uuencoded())
    yield "B10", message(parts(TEXT) + "Regards\n\n" + PART)
    nested = inner('multipart/mixed; boundary="b"', TEXT, PART, boundary="b")
    yield "B11", message(parts(TEXT, nested))
    yield "B11", message(parts(TEXT, nested, TEXT))
    yield "B11", message(parts(TEXT, "Content-Type: message/rfc822\n\n" + message(parts(TEXT, PART))))
    yield "B11", message(parts(TEXT, inner("multipart/alternative; boundary=b", PART, boundary="b")))
    yield "B12", rooted("multipart/mixed", parts(TEXT, PART))
    yield "B12", rooted("multipart/mixed; charset=x", parts(TEXT, PART, boundary="=_NextPart"))
    yield "B12", message(parts(TEXT, "Content-Type: multipart/mixed\n\n" + parts(TEXT, PART, boundary="i")))
    yield "B12", rooted("multipart/mixed; boundry=b", parts(PART))
    yield "B12", rooted("multipart/mixed; boundary=zzz", parts(TEXT, PART))
    for declared, used in (
        ("*=us-ascii''ab%2Dcd", "ab-cd"),
        ('="=?us-ascii?Q?ab=2Dcd?="', "ab-cd"),
        ('="=?us-ascii?Q?ab=2Dcd?="', "=?us-ascii?Q?ab=2Dcd?="),
        ('*0="ab"; boundary*1="cd"', "abcd"),
        ("*0*=us-ascii''ab; boundary*1*=%2Dcd", "ab-cd"),
        ("*=us-ascii''ab%2Dcd", "ab%2Dcd"),
        ('="=?us-ascii?B?YWI=?="', "ab"),
        ("*=ab%2Dcd", "ab-cd"),
    ):
        yield "B13", rooted(f"multipart/mixed; boundary{declared}", parts(TEXT, PART, boundary=used))
    yield "B14", message("--b--\n" + parts(TEXT, PART))
    yield "B14", message("--b--\n--b\n" + PART)
    for close in ("--b --", "--b-", "--b--x", "--b- -", "--b---", "--b-- junk"):
        yield "B14", message(f"--b\n{TEXT}--b\n{PART}{close}\n")
        yield "B14", message(f"--b\n{TEXT}{close}\n--b\n{PART}--b--\n")
    yield "B15", rooted('multipart/mixed; boundary="AbC"', parts(TEXT, PART, boundary="abc"))
    yield "B15", rooted("multipart/mixed; boundary=abc", parts(TEXT, PART, boundary="ABC"))
    yield (
        "B15",
        rooted("multipart/mixed; boundary=aBc", parts(TEXT, boundary="aBc", end="") + parts(PART, boundary="abc")),
    )
    yield "B15", rooted("multipart/mixed; boundary=ABC", parts(PART, boundary="Abc", end=""))
    for declared, used in (('" b"', "b"), ('" b"', " b"), ('"b "', "b"), ('"b\t"', "b"), ('" b "', " b")):
        yield "B16", cut(declared, used)
    yield "B16", message(f"--b\n{TEXT} --b\n{PART}--b--\n")
    yield "B16", message(f" --b\n{PART} --b--\n")
    yield "B16", message(f"--b\n{TEXT}\t--b\n{PART}\t--b--\n")
    head = message("", "")[:-1]
    yield "B17", head + 'Content-Type: multipart/mixed; boundary="b"\n' + parts(TEXT, PART)
    yield "B17", message(parts(TEXT, "Content-Type: multipart/mixed; boundary=i\n" + parts(TEXT, PART, boundary="i")))
    yield "B17", message(parts(TYPE + FILE, PART))
    yield "B17", head + "Content-Type: multipart/mixed; boundary=b\n--b\n" + PART


def encoding_variants() -> Iterator[tuple[str, str]]:
    def coded(body: str) -> str:
        return with_file(TYPE + CODE + FILE, body)

    data = b64()
    yield "E01", coded(data[:20] + "!*" + data[20:])
    yield "E01", coded(data[:10] + "-" + data[10:40] + "_" + data[40:])
    yield "E01", coded("".join(line[:30] + " . " + line[30:] + "\n" for line in data.splitlines()))
    yield "E01", coded("".join(line + "\\\n" for line in data.splitlines()))
    yield "E01", coded(data.replace("\n", "#\n"))
    first, second = PLAIN[:40], PLAIN[40:]
    yield "E02", coded(b64(first) + b64(second))
    yield "E02", coded(b64(first).strip() + b64(second))
    yield "E02", coded("====\n" + data)
    yield "E02", coded(data[:21] + "=" + data[21:])
    yield "E02", coded(b64(PLAIN[:1]) + b64(PLAIN[1:40]) + b64(PLAIN[40:]))
    padless = b64().rstrip("=\n")
    for text in (PLAIN, PLAIN + "x", PLAIN + "xy"):
        if len(text) % 3:
            yield "E03", coded(b64(text).rstrip("=\n") + "\n")
    yield "E03", coded(b64(PLAIN + "x" * (-len(PLAIN) % 3)).strip() + "Q\n")
    yield "E03", coded(padless + "\n" if len(PLAIN) % 3 else padless + "A\n")
    yield "E03", coded(b64(PLAIN + "x" * (-len(PLAIN) % 3)).strip() + "QUI\n")
    footer = "-- \nSent by the list\n"
    yield "E04", coded(data + footer)
    yield "E04", coded("Sent by the list, see below:\n\n" + data)
    yield "E04", coded(data + "\n_____\nlist mailing list\nlist@lists.example\n")
    yield "E04", coded(data + "\nThis message was scanned for viruses.\n")
    yield "E05", coded("".join(char + "\n" for char in data.replace("\n", "")))
    yield "E05", coded(data.replace("\n", "\n\n"))
    yield "E05", coded(data.replace("\n", "") + "\n" if len(data) > 1100 else b64(PLAIN * 8, 2000))
    yield "E05", coded(b64(PLAIN, 4))
    yield "E05", coded(b64(PLAIN, 12))
    for value in (
        '"base64"',
        "base64;",
        "base 64",
        "base64; x=y",
        "base-64",
        "'base64'",
        "base64,",
        "<base64>",
        "BASE64.",
        "ba se64",
        "base64 ;",
        "base64 base64",
        ":base64",
        "base_64",
        "base64/mime",
        "7bit base64",
    ):
        yield "E06", with_file(TYPE + f"Content-Transfer-Encoding: {value}\n" + FILE)
    quoted = "".join(f"={ord(char):02X}" if char in "MKP" else char for char in PLAIN)
    for value in ('"quoted-printable"', "quoted-printable;", "quoted printable", "quotedprintable"):
        yield "E06", with_file(TYPE + f"Content-Transfer-Encoding: {value}\n" + FILE, quoted)
    for value in ("x-base64", "", "x-unknown", "none", "mime", "b64", "unknown", "utf-8", "x-gzip64"):
        yield "E07", with_file(TYPE + f"Content-Transfer-Encoding: {value}\n" + FILE)
    for value in ("x-uuencode", "uuencode", "x-uue", "", "x-unknown"):
        yield "E07", with_file(TYPE + f"Content-Transfer-Encoding: {value}\n" + FILE, uuencoded())
    code = "Content-Transfer-Encoding: quoted-printable\n"
    small = "".join(f"={ord(char):02x}" if char in "MKPZ" else char for char in PLAIN)
    yield "E08", with_file(TYPE + code + FILE, small)
    yield "E08", with_file(TYPE + code + FILE, PLAIN.replace("VAR", "VA=  \nR"))
    yield "E08", with_file(TYPE + code + FILE, PLAIN + "=G7 =\n")
    yield "E08", with_file(TYPE + code + FILE, PLAIN.replace("words", "w=orZZds=") + "=4")
    yield "E08", with_file(TYPE + code + FILE, PLAIN.replace("VAR", "=56=\n=41=52") + "=zz\n")
    for kind in ("text/plain", "text/html", "text/plain; charset=utf-8; format=flowed"):
        yield "E09", message("Hello\n\n" + uuencoded() + "after\n", f"Content-Type: {kind}\n")
    yield "E09", message(parts(TEXT + uuencoded()))
    yield "E09", message("Hello\n" + uuencoded(), "", version="")
    yield "E09", message(b64("Hello\n" + uuencoded()), "Content-Type: text/plain\n" + CODE)
    yield "E09", message(uuencoded("notes.txt") + "\n" + uuencoded(), "Content-Type: text/plain\n")
    for body in (parts(TEXT, PART),):
        yield "E10", message(b64(body), 'Content-Type: multipart/mixed; boundary="b"\n' + CODE)
        yield "E10", message(body, 'Content-Type: multipart/mixed; boundary="b"\n' + CODE)
        yield "E10", message(body.replace("=", "=3D"), 'Content-Type: multipart/mixed; boundary="b"\n' + code)
        yield "E10", message(body, 'Content-Type: multipart/mixed; boundary="b"\n' + code)
        yield (
            "E10",
            message(
                parts(
                    TEXT,
                    f'Content-Type: multipart/mixed; boundary="b2"\n{CODE}\n' + b64(parts(TEXT, PART, boundary="b2")),
                )
            ),
        )
    nested = message(parts(TEXT, PART, boundary="n"), "Content-Type: multipart/mixed; boundary=n\n")
    yield "E11", message(parts(TEXT, "Content-Type: message/rfc822\n" + CODE + "\n" + b64(nested)))
    yield "E11", message(parts(TEXT, "Content-Type: message/rfc822\n" + code + "\n" + nested.replace("=", "=3D")))
    yield "E11", message(parts(TEXT, "Content-Type: message/rfc822\n" + CODE + "\n" + nested))
    yield "E11", message(b64(nested), "Content-Type: message/rfc822\n" + CODE)
    yield (
        "E12",
        message(
            "Hello\n" + yencoded(), "Content-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: 8bit\n"
        ),
    )
    yield "E12", message(parts(TEXT, "Content-Type: text/plain\n\n" + yencoded()))
    yield (
        "E12",
        message(
            parts(TEXT, "Content-Type: application/octet-stream\nContent-Transfer-Encoding: 8bit\n\n" + yencoded())
        ),
    )
    yield "E13", with_file(TYPE + FILE)
    yield "E13", with_file(TYPE + "Content-Transfer-Encoding: 7bit\n" + FILE)
    yield "E13", with_file('Content-Type: application/octet-stream; name="blocked.exe"\n')
    yield "E13", with_file("Content-Type: text/plain\n" + FILE)
    yield "E13", with_file(TYPE + "Content-Transfer-Encoding: 8bit\n" + FILE, b64(PLAIN, 60))


def crlf(text: str) -> str:
    return text.replace("\n", "\r\n")


def byte_variants() -> Iterator[tuple[str, str]]:
    body = parts(TEXT, PART)
    yield "L01", with_file("Content-Type: application/octet-stream\r" + FILE + CODE)
    yield "L01", with_file(TYPE + FILE.rstrip("\n") + "\r" + CODE)
    yield "L01", message(parts(TEXT).replace("--b--\n", "\r--b\r" + PART.replace("\n", "\r") + "--b--\n"))
    yield "L01", message(body, 'X-One: 1\rContent-Type: multipart/mixed; boundary="b"\n')
    yield "L01", message(body, 'Content-Type: multipart/mixed;\r boundary="b"\n')
    yield "L01", disposition('attachment; file\rname="blocked.exe"')
    yield "L01", message(f"--b\n{TEXT}--b\r{PART}--b--\n")
    yield "L02", crlf(message(body)).replace("--b\r\n", "--b\n")
    yield "L02", crlf(message(body)).replace("Content-Disposition", "X-One: 1\nContent-Disposition")
    yield "L02", crlf(message("")) + body
    yield "L02", crlf(message(body)).replace("\r\n\r\n", "\n\n")
    yield "L03", disposition('attachment; filename="blocked.exe\0.txt"')
    yield "L03", disposition('attachment; filename="bloc\0ked.exe"')
    yield "L03", message(f"--b\n{TEXT}--b\0\n{PART}--b--\n")
    yield "L03", message(f"--b\n{TEXT}--\0b\n{PART}--b--\n")
    yield "L03", with_file(TYPE + CODE + FILE, b64().replace("a", "a\0"))
    yield "L03", message(body, 'Content\0-Type: multipart/mixed; boundary="b"\n')
    yield "L03", message(body, 'Content-Type: multipart/mixed; boundary="b\0x"\n')
    yield "L03", with_file(TYPE + "Content-Transfer-Encoding: base64\0\n" + FILE)
    yield "L04", message(parts(TEXT + "x" * 1200 + "\n", PART))
    yield "L04", message(body, "X-Long: " + "y" * 1500 + '\nContent-Type: multipart/mixed; boundary="b"\n')
    yield (
        "L04",
        with_file(TYPE + CODE + 'Content-Disposition: attachment; x="' + "z" * 1000 + '"; filename="blocked.exe"\n'),
    )
    yield "L04", with_file(TYPE + CODE + FILE, b64(PLAIN * 10, 4000))
    mark = "\xef\xbb\xbf"
    yield "L05", mark + 'Content-Type: multipart/mixed; boundary="b"\n' + message(body, "")
    yield "L05", mark + message(body)
    yield "L05", message(parts(TEXT, mark + PART))
    yield "L05", message(parts(TEXT, mark + FILE + TYPE + CODE + "\n" + b64()))
    yield "L06", "\n" + message(body)
    yield "L06", "\n\n" + message(body)
    yield "L06", "From ann@sender.example Mon Jun  7 09:30:00 2026\n" + message(body)
    yield "L06", ">From ann@sender.example Mon Jun  7 09:30:00 2026\n" + message(body)
    yield "L06", message(parts(TEXT, "\n" + PART))
    yield (
        "L06",
        message(
            parts(
                TEXT,
                "Content-Type: message/rfc822\n\n\n"
                + message(parts(TEXT, PART, boundary="n"), "Content-Type: multipart/mixed; boundary=n\n"),
            )
        ),
    )
    yield "L06", " \n" + message(body)
    for blank in ("\x0b", "\x0c", "\xa0", "\xc2\xa0", "\x85", "\xc2\x85", "\x1c", "\xe2\x80\xa8"):
        yield "L07", disposition(f'attachment;{blank}filename="blocked.exe"')
        yield "L07", disposition(f'attachment;filename{blank}="blocked.exe"')
        if "\xa0" not in blank:
            yield (
                "L07",
                with_file(TYPE + CODE + f'X-One: 1{blank}Content-Disposition: attachment; filename="blocked.exe"\n'),
            )
        yield "L07", message(body, f'Content-Type:{blank}multipart/mixed; boundary="b"\n')
        yield "L07", with_file(TYPE + f"Content-Transfer-Encoding: base64{blank}\n" + FILE)
    yield "L08", crlf(message(body)).replace("\r\n", "\r\r\n")
    yield "L08", crlf(message(body)).replace('boundary="b"\r\n', 'boundary="b"\r\r\n')
    yield "L08", crlf(message(body)).replace("--b\r\n", "--b\r\r\n")
    yield "L08", crlf(message(body)).replace("stream\r\n", "stream\r\r\n")


def type_variants() -> Iterator[tuple[str, str]]:
    nested = message(parts(TEXT, PART, boundary="n"), "Content-Type: multipart/mixed; boundary=n\n")
    for number in (1, 2, "x"):
        yield "T01", message(nested, f'Content-Type: message/partial; id="x"; number={number}; total=2\n')
    yield "T01", message(parts(TEXT, "Content-Type: message/partial; id=x; number=1\n\n" + nested))
    yield (
        "T02",
        message(
            parts(
                TEXT,
                'Content-Type: message/external-body; access-type=local-file; name="/tmp/blocked.exe"\n\nContent-Type: application/octet-stream\n\n'
                + MARK,
            )
        ),
    )
    yield (
        "T02",
        message(
            parts(
                TEXT,
                f"Content-Type: message/external-body; access-type=anon-ftp; site=x.example\n\n{TYPE}{FILE}\n{MARK}\n",
            )
        ),
    )
    yield (
        "T02",
        message(
            f"{TYPE}{FILE}\n{MARK}\n",
            'Content-Type: message/external-body; access-type=URL; URL="http://x.example/a"\n',
        ),
    )
    yield "T03", message(parts(TEXT, "Content-Type: message/rfc822\n\n" + nested))
    yield "T03", message(nested, "Content-Type: message/rfc822\n")
    yield (
        "T03",
        message(parts(TEXT, "Content-Type: message/rfc822\n\n" + message(nested, "Content-Type: message/rfc822\n"))),
    )
    eml = b64(nested)
    yield (
        "T04",
        message(parts(TEXT, 'Content-Type: application/octet-stream; name="forwarded.eml"\n' + CODE + "\n" + eml)),
    )
    yield "T04", message(parts(TEXT, TYPE + CODE + "\n" + eml))
    yield "T04", message(parts(TEXT, "Content-Type: text/plain\n" + CODE + "\n" + eml))
    yield "T04", message(parts(TEXT, "Content-Type: text/plain\n\n" + nested))
    yield "T04", message(parts(TEXT, "Content-Type: message/x-mail\n\n" + nested))
    yield (
        "T04",
        message(
            parts(
                TEXT, 'Content-Type: application/x-mail\nContent-Disposition: attachment; filename="a.EML"\n\n' + nested
            )
        ),
    )
    yield (
        "T04",
        message(parts(TEXT, TYPE + "Content-Transfer-Encoding: quoted-printable\n\n" + nested.replace("=", "=3D"))),
    )
    for kind in ("x-bundle", "parallel", "appledouble", "form-data", "voice-message", "x-mixed-replace"):
        yield "T05", message(parts(TEXT, PART), f"Content-Type: multipart/{kind}; boundary=b\n")
    for kind in ("text/plain", "text/html", "text/x-script"):
        yield "T07", with_file(f'Content-Type: {kind}; name="blocked.exe"\n' + CODE)
        yield (
            "T07",
            with_file(f"Content-Type: {kind}\n" + CODE + 'Content-Disposition: inline; filename="blocked.exe"\n'),
        )
    for kind in ("text/plain", "application/octet-stream", "text/html; charset=us-ascii"):
        yield "T08", rooted(f'{kind}; boundary="b"', parts(TEXT, PART))
        yield "T08", message(parts(TEXT, f"Content-Type: {kind}; boundary=i\n\n" + parts(TEXT, PART, boundary="i")))
    deep = PART
    for level in range(30):
        deep = f"Content-Type: multipart/mixed; boundary=b{level}\n\n" + parts(deep, boundary=f"b{level}")
    yield "T09", message(parts(TEXT, deep))
    deep = nested
    for _ in range(25):
        deep = message(deep, "Content-Type: message/rfc822\n")
    yield "T09", deep
    yield "T09", message(parts(*[TEXT] * 600, PART))
    yield "T10", message(parts(nested), "Content-Type: multipart/digest; boundary=b\n")
    yield "T10", message(parts("\n" + nested), "Content-Type: multipart/digest; boundary=b\n")
    yield (
        "T10",
        message(parts(TEXT, "Content-Type: multipart/digest; boundary=d\n\n" + parts("\n" + nested, boundary="d"))),
    )


def tnef() -> bytes:
    def attribute(level: int, number: int, kind: int, data: bytes) -> bytes:
        return struct.pack("<BHHI", level, number, kind, len(data)) + data + struct.pack("<H", sum(data) & 0xFFFF)

    return (
        struct.pack("<IH", 0x223E9F78, 1)
        + attribute(2, 0x9002, 6, b"\1\0" + b"\0" * 12)
        + attribute(2, 0x8010, 1, b"BLOCKED.EXE\0")
        + attribute(2, 0x800F, 6, PLAIN.encode())
    )


def content_variants() -> Iterator[tuple[str, str]]:
    for name, kind in (
        ("winmail.dat", "application/ms-tnef"),
        ("notes.dat", "application/octet-stream"),
        ("x.jpg", "image/jpeg"),
    ):
        yield "T06", attached(tnef(), name, kind)
    papers = archive((NAME, PLAIN))
    yield "Z01", attached(papers)
    yield "Z01", attached(archive(("a.txt", "x"), ("b/blocked.exe", PLAIN)))
    yield "Z01", attached(archive((NAME, PLAIN), method=zipfile.ZIP_STORED))
    twice = archive(("inner.dat", papers.decode("latin-1")))
    del twice
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        made.writestr("inner.dat", papers)
    yield "Z02", attached(file.getvalue())
    yield "Z04", attached(papers, "picture.jpg", "image/jpeg")
    yield "Z04", attached(papers, "notes.txt", "application/octet-stream")
    yield "Z04", attached(papers, "papers.zip", "image/gif")
    yield "Z04", attached(papers, "notes.pdf", "application/pdf")
    yield "Z06", attached(b"GIF89a" + b"\0" * 50 + papers, "picture.gif", "image/gif")
    yield "Z06", attached(papers + b"more" * 30)
    yield "Z06", attached(archive(("a.txt", "x")) + papers)
    yield "Z06", attached(papers + archive(("a.txt", "x")))
    yield "Z07", attached(papers[: papers.index(b"PK\1\2")])
    yield "Z07", attached(papers[: papers.index(b"PK\1\2") + 10])
    yield "Z08", attached(archive(("..\\..\\blocked.exe", PLAIN)))
    yield "Z08", attached(archive(("../../blocked.exe", PLAIN)))
    yield (
        "Z09",
        attached(
            struct.pack("<4sIBB", b"\x1f\x8b\x08\x08", 0, 0, 3)
            + b"blocked.exe\0"
            + zlib.compress(PLAIN.encode())[2:-4]
            + struct.pack("<II", zlib.crc32(PLAIN.encode()), len(PLAIN)),
            "papers.gz",
            "application/gzip",
        ),
    )


def name_variants() -> Iterator[Variant]:
    def quoted(construct: str, name: str, form: str = NAME) -> Iterator[Variant]:
        for text in (
            disposition(f'attachment; filename="{name}"'),
            with_file(f'Content-Type: application/octet-stream; name="{name}"\n' + CODE),
        ):
            yield Variant(construct, text.encode("latin-1"), frozenset({form}))

    def extended(construct: str, name: str, form: str = NAME) -> Iterator[Variant]:
        yield Variant(construct, disposition(f"attachment; filename*=UTF-8''{name}").encode(), frozenset({form}))

    for name in ("blocked.exe. . ", "blocked.exe.", "blocked.exe ", "blocked.exe...", "blocked.exe .", "blocked.exe\t"):
        yield from quoted("N01", name)
    yield from extended("N01", "blocked.exe%20%2E")
    yield from extended("N01", "blocked.exe%C2%A0")
    for mark in ("%E2%80%AE", "%E2%80%AD", "%E2%80%8F", "%E2%81%A7", "%D8%9C"):
        yield from extended("N02", f"blocked-{mark}fdp.exe", "blocked-fdp.exe")
    yield from quoted("N02", "=?utf-8?q?blocked-=E2=80=AEfdp.exe?=", "blocked-fdp.exe")
    yield from quoted("N03", "blocked.pdf                                .exe", "blocked.pdf .exe")
    yield from quoted("N03", "blocked.pdf.exe", "blocked.pdf.exe")
    yield from quoted("N03", "blocked.txt.scr", "blocked.txt.scr")
    for name in (
        "C:\\temp\\blocked.exe",
        "../../blocked.exe",
        "/tmp/blocked.exe",
        "..\\blocked.exe",
        "C:blocked.exe",
        "\\\\host\\share\\blocked.exe",
        "dir/blocked.exe",
    ):
        yield from quoted("N04", name)
    yield from extended("N04", "..%2F..%2Fblocked.exe")
    yield from extended("N04", "C%3A%5Cblocked.exe")
    for code in ("%00", "%01", "%0D", "%0A", "%1F", "%7F"):
        yield from extended("N05", f"bloc{code}ked.exe")
    yield from extended("N05", "blocked.exe%00.txt")
    yield from quoted("N05", "=?utf-8?q?bloc=0Dked.exe?=")
    yield from quoted("N05", "bloc\x01ked.exe")
    yield from quoted("N05", "blocked.exe\x08")
    for name in ("blocked.exe::$DATA", "blocked.exe:stream.txt", "blocked.exe::$INDEX_ALLOCATION"):
        yield from quoted("N06", name)
    yield from quoted(
        "N06", "blocked.{3050f4d8-98B5-11CF-BB82-00AA00BDCE0B}", "blocked.{3050f4d8-98b5-11cf-bb82-00aa00bdce0b}"
    )
    for name in (
        "blocked%EF%BC%8E%EF%BD%85%EF%BD%98%EF%BD%85",
        "blocked%EF%BC%8Eexe",
        "bloc%E2%80%8Bked.exe",
        "blocked.e%C2%ADxe",
        "%EF%BB%BFblocked.exe",
        "blocked%E2%80%A4exe",
        "%EF%BD%82%EF%BD%8C%EF%BD%8F%EF%BD%83%EF%BD%8B%EF%BD%85%EF%BD%84.exe",
        "blocked.e%E2%80%8Dxe",
    ):
        yield from extended("N07", name)
    for value in (
        "http://files.example/a/blocked.exe",
        "blocked.exe",
        "file:///C:/blocked.exe",
        "http://x.example/blocked.exe?a=1",
        "a/b/blocked%2Eexe",
    ):
        yield Variant("N08", with_file(TYPE + CODE + f"Content-Location: {value}\n").encode())
    for size in (300, 256, 1000):
        name = "blocked-" + "a" * size + ".exe"
        yield from quoted("N09", name, name)


# The bytes show two constructs at once, and are called by the other's name.
_NEIGHBORS = {
    ("B03", "multipart/mixed; boundary=''"),
    ("E07", "Content-Transfer-Encoding: b64"),
    ("L06", " \nFrom:"),
}


def _is_named(construct: str, text: str) -> bool:
    return not any(
        construct == other and (mark in text if mark[0] != " " else text.startswith(mark)) for other, mark in _NEIGHBORS
    )


def smime_variants() -> Iterator[tuple[str, str]]:
    """Yield parts of S/MIME: the file in a signed or compressed layer, in both, in a damaged one, beside a secret one."""
    entity = inner().encode()
    document = cms_maker.signed(PLAIN.encode())
    smime, signed = "application/pkcs7-mime", cms_maker.signed(entity)
    twice = f"Content-Type: {smime}; name=smime.p7m\n{CODE}\n{base64.encodebytes(signed).decode()}".encode()
    for number, layer in (
        ("T11", signed),
        ("T11", cms_maker.compressed(entity)),
        ("T11", cms_maker.compressed(cms_maker.signed_data(cms_maker.in_pieces(entity, 50)), cms_maker.SIGNED)),
        ("T11", cms_maker.signed(twice)),
        ("T13", signed[:-1]),
        ("T13", cms_maker.cms(cms_maker.COMPRESSED, cms_maker.compressed_data(zlib.compress(entity)[:-4]))),
    ):
        yield number, attached(layer, "smime.p7m", smime)
        yield number, attached(layer, "smime.p7m", "application/octet-stream")
    yield "T11", attached(document, "blocked.exe.p7m", "application/octet-stream")
    yield "T11", attached(base64.encodebytes(document), "blocked.exe.P7M", "application/octet-stream")
    yield "T11", attached(cms_maker.signed(document), "blocked.exe.p7m.p7m", smime)
    for kind in (cms_maker.ENVELOPED, cms_maker.ENCRYPTED, cms_maker.AUTH_ENVELOPED):
        secret = base64.encodebytes(cms_maker.secret(kind)).decode()
        yield "T12", message(parts(PART, f"Content-Type: {smime}\n{CODE}\n{secret}"))
    yield "T13", message(parts(PART, f"Content-Type: {smime}\n\nThis is no S/MIME.\n"))


def variants() -> list[Variant]:
    """Return all of them."""
    found: list[Variant] = []
    for source in (
        fields_variants(),
        boundary_variants(),
        encoding_variants(),
        byte_variants(),
        type_variants(),
        content_variants(),
        smime_variants(),
    ):
        found += [
            Variant(construct, text.encode("latin-1"), is_named=_is_named(construct, text))
            for construct, text in source
        ]
    return [*found, *raw_8bit_variants(), *name_variants()]
