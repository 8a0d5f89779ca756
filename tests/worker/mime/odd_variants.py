# SPDX-License-Identifier: GPL-3.0-or-later
# ruff: noqa: E501  # lists of messages, in the order of the constructs
"""Rarer spellings of the constructs, beside those of `variants.py`: separators, quotes, charsets and places that few think of.

A neighbor of the construct's defect will do for these.
"""

from collections.abc import Iterator

from tests.worker.mime.variants import (
    CODE,
    FILE,
    NAME,
    PART,
    TEXT,
    TYPE,
    Variant,
    b64,
    disposition,
    message,
    parts,
    rooted,
    uuencoded,
    with_file,
)

MIXED = 'Content-Type: multipart/mixed; boundary="b"\n'
BODY = parts(TEXT, PART)
NESTED = message(parts(TEXT, PART, boundary="n"), "Content-Type: multipart/mixed; boundary=n\n")


def odd_fields() -> Iterator[tuple[str, str]]:
    yield "H01", message(BODY, "Content-Type: text/plain\nContent-Type: text/html\n" + MIXED)
    yield "H02", with_file(TYPE + FILE + "Content-Transfer-Encoding: 7bit\nContent-Transfer-Encoding: 8bit\n" + CODE)
    yield (
        "H03",
        with_file(
            TYPE + CODE + "Content-Disposition: attachment; filename=a.txt\nContent-Disposition: inline\n" + FILE
        ),
    )
    yield "H04", disposition("attachment; filename*=us-ascii''notes.txt; filename*=us-ascii''blocked%2Eexe")
    yield "H06", with_file(TYPE + CODE + 'Content-Disposition\n : attachment; filename="blocked.exe"\n')
    yield "H07", rooted("multipart(x)/(y)mixed; boundary=b", BODY)
    yield "H07", rooted("multipart/mixed; boundary(x)=b", BODY)
    yield "H07", disposition('attachment (\\); filename="a.txt"); filename="blocked.exe"')
    yield "H07", disposition('attachment (; filename="blocked.exe"')
    yield "H08", disposition('attachment & filename="blocked.exe"')
    yield "H08", disposition('attachment\xef\xbc\x9b filename="blocked.exe"')
    yield "H08", disposition('attachment\n filename="blocked.exe"')
    yield "H10", disposition('attachment; filename=""blocked.exe""')
    yield "H10", disposition("attachment; filename=\xe2\x80\x9cblocked.exe\xe2\x80\x9d")
    yield "H10", disposition('attachment; filename="blocked.exe\\"')
    yield "H11", disposition('attachment; filename="=?utf-8*en?Q?blocked.exe?="')
    yield "H11", disposition('attachment; filename="=?x-none?B?YmxvY2tlZC5leGU=?="')
    yield "H11", with_file(TYPE + CODE + "Content-Disposition: =?utf-8?Q?attachment;_filename=3Dblocked.exe?=\n")
    yield "H12", disposition('attachment; filename*00="blocked"; filename*01=".exe"')
    yield "H12", disposition('attachment; filename*0="blocked"; filename*99999=".exe"')
    yield "H12", disposition('attachment; filename*0="blocked"; filename*-1=".exe"')
    yield "H13", disposition("attachment; filename*=cp037''%82%93%96%83%92%85%84%4B%85%A7%85")
    yield "H13", disposition("attachment; filename*=utf-16be''%00b%00l%00o%00c%00k%00e%00d%00.%00e%00x%00e")
    yield "H14", disposition('attachment; filename="blocked.exe\xc2\xa0"')
    yield "H15", with_file(TYPE + CODE + 'Content-Disposition: attachment;\n \n filename="blocked.exe"\n')
    yield "H16", with_file(TYPE + CODE + "From x y\n" + FILE)
    yield "H16", with_file(TYPE + CODE + ": x\n" + FILE)
    yield "H18", rooted("boundary=b", BODY)
    yield "H18", rooted("/mixed; boundary=b", BODY)
    yield "H18", rooted("multi part/mixed; boundary=b", BODY)
    yield "H20", disposition('attachment; filename=bloc"ked".exe')


def odd_structure() -> Iterator[tuple[str, str]]:
    for boundary in ("a@b", "[a]", "<a>", "(a)", "a,b"):
        yield "B01", rooted(f"multipart/mixed; boundary={boundary}", parts(TEXT, PART, boundary=boundary))
    yield "B03", rooted('multipart/mixed; boundary=" "', parts(TEXT, PART, boundary=""))
    yield "B07", message(BODY.replace("--b\nContent-Type: app", "--b;x\nContent-Type: app"))
    yield "B10", message(parts(TEXT) + "--c\n" + PART + "--c--\n")
    yield "B12", message("--q\n" + PART + "--q--\n", "Content-Type: multipart/mixed; charset=utf-8\n")
    yield "B13", rooted("multipart/mixed; boundary*0=a; boundary*1=b", parts(TEXT, PART, boundary="ab"))
    yield "B16", message(BODY.replace("--b\nContent-Type: app", "\t--b\nContent-Type: app"))
    for encoding in ("=?us-ascii?Q?base64?=", "'base64'", "mime-b64", "base64/x", "BASE64,7bit", "base64\x0b"):
        yield "E06", with_file(TYPE + FILE + f"Content-Transfer-Encoding: {encoding}\n")
    yield "E01", with_file(TYPE + CODE + FILE, b64()[:10] + "\xa0" + b64()[10:])
    yield "E04", with_file(TYPE + CODE + FILE, "begin-base64 644 blocked.exe\n" + b64() + "====\n")
    yield "E09", message("x\n" + uuencoded().replace("`\nend\n", ""), "Content-Type: text/plain\n")
    inside = message(b64(NESTED), "Content-Type: message/rfc822\n" + CODE)
    yield "E11", message(parts(TEXT, "Content-Type: message/rfc822\n" + CODE + "\n" + b64(inside)))
    yield (
        "E10",
        message(
            parts(
                TEXT,
                "Content-Type: message/rfc822\n\n" + message(b64(BODY), MIXED.replace('"b"', "b") + CODE),
                boundary="o",
            ),
            "Content-Type: multipart/mixed; boundary=o\n",
        ),
    )
    yield "L01", with_file(TYPE + FILE + "X: y\rContent-Transfer-Encoding: base64\n")
    yield "L03", with_file(TYPE + CODE + 'Content-\0Disposition: attachment; filename="blocked.exe"\n')
    yield "L05", message(parts(TEXT, "\xef\xbb\xbf" + PART))
    yield "L06", "HELO x\n" + message(BODY)
    for kind in ("global", "news"):
        yield "T04", message(parts(TEXT, f"Content-Type: message/{kind}\n\n" + NESTED))
    twice = message(b64(NESTED), 'Content-Type: application/octet-stream; name="y.eml"\n' + CODE)
    yield "T04", with_file("Content-Type: text/plain; name=x.eml\n" + CODE, b64(twice))
    yield (
        "T04",
        with_file(
            'Content-Type: application/octet-stream; name="x.eml"\n' + CODE,
            b64(NESTED.replace("Content-Type: multipart", "Content-Type: text/plain\nContent-Type: multipart", 1)),
        ),
    )
    yield "T08", message(parts(TEXT, "Content-Type: image/png; boundary=z\n\n" + parts(PART, boundary="z")))


def odd_variants() -> list[Variant]:
    """Return all of them."""
    found = [
        Variant(construct, text.encode("latin-1"), is_named=False)
        for construct, text in (*odd_fields(), *odd_structure())
    ]
    bare = message(b64() + "\n" + parts(TEXT)).encode()
    assert NAME.encode() not in bare
    return [*found, Variant("B09", bare, names=frozenset())]
