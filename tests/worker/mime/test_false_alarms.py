# SPDX-License-Identifier: GPL-3.0-or-later
# ruff: noqa: E501  # one message a line
"""Well-formed mail, however odd it looks: exactly the names that it has, one reading, no defect above info."""

import base64
import gzip
import io
import tarfile
import zipfile
from email.mime.base import MIMEBase

import pytest
from hypothesis import given

from defang_worker.mime import parse
from defang_worker.mime.defects import Severity
from defang_worker.mime.headers import Headers
from defang_worker.mime.views import examine
from tests.worker.mime.everything import everything
from tests.worker.mime.test_email_agreement import MESSAGES
from tests.worker.mime.variants import CODE, TEXT, TYPE, attached, b64, disposition, message, parts, rooted, with_file

PDF = CODE + 'Content-Disposition: attachment; filename="report.pdf"\n'
FILE = TYPE + PDF + "\n" + b64()
REPORT = frozenset({"report.pdf"})
NONE: frozenset[str] = frozenset()


def zipped(*names: str, comment: bytes = b"") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
        for name in names:
            made.writestr(name, "words " * 30)
        made.comment = comment
    return file.getvalue()


def tarred(*names: str) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as made:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = 5
            made.addfile(info, io.BytesIO(b"words"))
    return file.getvalue()


def nested(kind: str = "message/rfc822", inside: str = "") -> str:
    inside = inside or message(parts(TEXT, FILE, boundary="n"), "Content-Type: multipart/mixed; boundary=n\n")
    return message(parts(TEXT, f"Content-Type: {kind}\n\n{inside}"))


def report(kind: str, *entities: str) -> str:
    return message(parts(TEXT, *entities), f"Content-Type: multipart/report; report-type={kind};\n boundary=b\n")


STATUS = "Content-Type: message/delivery-status\n\nReporting-MTA: dns; mx.example\n\nFinal-Recipient: rfc822; x@y.example\nAction: failed\n"
HEADERS = "From: a@b.example\nSubject: lost\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=zz\n"
PLAIN_TYPE = "Content-Type: text/plain; charset=us-ascii\n"

BENIGN: list[tuple[str, str, frozenset[str]]] = [
    ("specials in a quoted boundary", rooted("multipart/mixed; boundary=\"=_Next(Part)/?:,'+.\"", parts(FILE, boundary="=_Next(Part)/?:,'+.")), REPORT),
    ("a blank in a quoted boundary", rooted('multipart/mixed; boundary="a b"', parts(FILE, boundary="a b")), REPORT),
    ("a boundary of 70", rooted(f'multipart/mixed; boundary="{"x" * 70}"', parts(FILE, boundary="x" * 70)), REPORT),
    ("a boundary that ends in dashes", rooted('multipart/mixed; boundary="x--"', parts(FILE, boundary="x--")), REPORT),
    ("a boundary of dashes", rooted('multipart/mixed; boundary="----"', parts(FILE, boundary="----")), REPORT),
    ("an unquoted boundary of token characters", rooted("multipart/mixed; boundary=a'b+_-.c", parts(FILE, boundary="a'b+_-.c")), REPORT),
    ("extended name", disposition("attachment; filename*=iso-8859-1'de'%FCber.pdf"), frozenset({"über.pdf"})),
    ("extended name in pieces", disposition("attachment; filename*0*=UTF-8''%C3%BC;\n filename*1*=ber;\n filename*2=\".pdf\""), frozenset({"über.pdf"})),
    ("plain and equal extended name", disposition("attachment; filename=\"report.pdf\"; filename*=UTF-8''report.pdf"), REPORT),
    ("equal names in both fields", with_file('Content-Type: application/pdf; name="report.pdf"\n' + PDF), REPORT),
    ("equal names, extended in both", with_file("Content-Type: application/pdf; name*=utf-8''report%2Epdf\n" + CODE + "Content-Disposition: attachment;\n filename*=utf-8''report.pdf\n"), REPORT),
    ("koi8", disposition("attachment; filename*=koi8-r''%CF%D4%DE.pdf"), frozenset({"отч.pdf"})),
    ("capitals and small letters", message(parts(TEXT, "content-TYPE: APPLICATION/PDF\nCONTENT-transfer-ENCODING: BASE64\ncontent-disposition: ATTACHMENT; FileName=\"report.pdf\"\n\n" + b64()), "CONTENT-TYPE: Multipart/Mixed; BOUNDARY=b\n", "mime-version: 1.0\n"), REPORT),
    ("comments in other fields", message(parts(FILE), "Content-Type: multipart/mixed; boundary=b\nReceived: from a (b (c)) by d; Mon, 7 Jun 2026 09:30:00 +0000 (UTC)\n", "MIME-Version: (made by X) 1.0\n"), REPORT),
    ("a comment in the middle of the version", message(parts(FILE), version="MIME-Version: 1.(produced by MetaSend Vx.x)0\n"), REPORT),
    ("RFC 2045's comment after a charset", message("Hello\n", "Content-Type: text/plain; charset=us-ascii (Plain text)\n"), NONE),
    ("a comment after a quoted name", disposition('attachment; filename="report.pdf" (the report)'), REPORT),
    ("folded fields", message(parts(TYPE + CODE + 'Content-Disposition:\n attachment;\n\tfilename="report.pdf"\n\n' + b64()), 'Content-Type:\n multipart/mixed;\n\tboundary="b";\n charset=us-ascii\n'), REPORT),
    ("a semicolon at the end", disposition('attachment; filename="report.pdf";'), REPORT),
    ("padding behind delimiters", message(parts(FILE).replace("--b\n", "--b \t\n").replace("--b--", "--b--  ")), REPORT),
    ("an attached message", nested(), REPORT),
    ("an attached message with UTF-8", nested("message/global", message(parts(TEXT, FILE, boundary="n"), "Content-Type: multipart/mixed; boundary=n\nX-Note: Gr\xc3\xbc\xc3\x9fe\n")), REPORT),
    ("an attached message in an attached message", nested(inside=message(message("Hello\n", PLAIN_TYPE), "Content-Type: message/rfc822\n")), NONE),
    ("an attached message without MIME", nested(inside=message("Hello\n", "", "")), NONE),
    ("no MIME", message("We begin 644 steps from here\nbegin the walk early\n--b\n-- \nAnn\n", "", ""), NONE),
    ("no MIME, and talk of MIME", message("Dear all,\nContent-Type: text/plain; name=blocked.exe\n=ybegin is for yEnc\n\nend\n", "", ""), NONE),
    ("no MIME, From and dashes", message(">From there on\n------ Original message ------\nFrom: Ann\nTo: Ben\n\nHi\n--\n", "", ""), NONE),
    ("no MIME, talk of BinHex", message("(This file must be converted with BinHex 4.0) is what it says\nand :nothing\n", "", ""), NONE),
    ("a text with equals signs", message("a=20b =\n=3D\n", PLAIN_TYPE), NONE),
    ("an empty body", message("", PLAIN_TYPE), NONE),
    ("a number and a word", message("d41d8cd98f00b204e9800998ecf8427e\n", PLAIN_TYPE), NONE),
    ("a fingerprint", message("abcdEFGH\n", PLAIN_TYPE), NONE),
    ("quotation marks in a name", disposition('attachment; filename="the \\"new\\" plan.pdf"'), frozenset({'the "new" plan.pdf'})),
    ("semicolon and equals sign in a name", disposition('attachment; filename="a; filename=b.pdf"'), frozenset({"a; filename=b.pdf"})),
    ("apostrophe", disposition('attachment; filename="it\'s.pdf"'), frozenset({"it's.pdf"})),
    ("parentheses and brackets", disposition('attachment; filename="report (final) [2].pdf"'), frozenset({"report (final) [2].pdf"})),
    ("dots and blanks inside", disposition('attachment; filename="v1.2 of a.b.pdf"'), frozenset({"v1.2 of a.b.pdf"})),
    ("a name that ends in Inc.", disposition('attachment; filename="Acme Inc"'), frozenset({"acme inc"})),
    ("Japanese with full-width letters", disposition("attachment; filename*=utf-8''%EF%BC%A1%E6%A0%AA%E5%BC%8F%E4%BC%9A%E7%A4%BE.pdf"), frozenset({"a株式会社.pdf"})),
    ("a family", disposition("attachment; filename*=utf-8''%F0%9F%91%A9%E2%80%8D%F0%9F%91%A7.png"), frozenset({"👩👧.png"})),
    ("a bounce", report("delivery-status", STATUS, "Content-Type: text/rfc822-headers\n\n" + HEADERS), NONE),
    ("a bounce with the message", report("delivery-status", STATUS, "Content-Type: message/rfc822\n\n" + message("Hello\n", PLAIN_TYPE)), NONE),
    ("a receipt", report("disposition-notification", "Content-Type: message/disposition-notification\n\nReporting-UA: x\nFinal-Recipient: rfc822; a@b.example\nDisposition: manual-action/MDN-sent-manually; displayed\n"), NONE),
    ("a complaint", report("feedback-report", "Content-Type: message/feedback-report\n\nFeedback-Type: abuse\nVersion: 1\nUser-Agent: x\n", "Content-Type: message/rfc822\n\n" + message("Hello\n", PLAIN_TYPE)), NONE),
    ("a zip", attached(zipped("readme.txt", "more/list.csv"), "texts.zip"), frozenset({"texts.zip", "readme.txt", "list.csv"})),
    ("a zip with a comment", attached(zipped("readme.txt", comment=b"made for you"), "texts.zip"), frozenset({"texts.zip", "readme.txt"})),
    ("a document that is a zip", attached(zipped("word/document.xml"), "a.docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"), frozenset({"a.docx", "document.xml"})),
    ("a tar", attached(tarred("a.txt", "b/c.txt"), "texts.tgz", "application/gzip"), frozenset({"texts.tgz", "a.txt", "c.txt"})),
    ("a gzip", attached(gzip.compress(b"words", mtime=0), "words.gz", "application/gzip"), frozenset({"words.gz"})),
    ("part without header", message(parts("\nGood morning\n", FILE)), REPORT),
    ("part without body", message(parts("Content-Type: text/plain\n\n", FILE)), REPORT),
    ("part without body and blank lines", message("--b\nContent-Type: text/plain\n\n--b\n" + FILE + "--b--\n"), REPORT),
    ("preamble and epilogue", message("This is a multi-part message in MIME format.\n" + parts(FILE) + "\nend of it\n"), REPORT),
    ("alternative in related in mixed", message(parts("Content-Type: multipart/related; boundary=r\n\n" + parts("Content-Type: multipart/alternative; boundary=a\n\n" + parts(TEXT, "Content-Type: text/html\n\n<p>hi</p>\n", boundary="a"), boundary="r"), FILE)), REPORT),
    ("signed", message(parts(TEXT, 'Content-Type: application/pkcs7-signature; name="smime.p7s"\n' + CODE + 'Content-Disposition: attachment; filename="smime.p7s"\n\n' + b64()), 'Content-Type: multipart/signed; protocol="application/pkcs7-signature"; micalg=sha-256; boundary="b"\n'), frozenset({"smime.p7s"})),
    ("quoted-printable", message("Gr=C3=BC=C3=9Fe =E2=82=AC=20\nlong=\n line\n", "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n"), NONE),
    ("8bit", message("Gr\xc3\xbc\xc3\x9fe\n", "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n"), NONE),
    ("format flowed", message("Hello \nyou\n-- \nAnn\n", "Content-Type: text/plain; charset=utf-8; format=flowed; delsp=yes\n"), NONE),
    ("base64 of short lines", with_file(TYPE + PDF, b64(width=60)), REPORT),
    ("base64 of one short line", with_file(TYPE + PDF, b64("hi")), REPORT),
    ("base64 with a blank line at the end", with_file(TYPE + PDF, b64() + "\n\n"), REPORT),
    ("base64 that is empty", with_file(TYPE + PDF, "\n"), REPORT),
    ("binary", message("a\0b\rc" + "x" * 1200 + "\n", "Content-Type: application/octet-stream\nContent-Transfer-Encoding: binary\n"), NONE),
    ("inline with identifiers", with_file("Content-Type: image/png\nContent-ID: <a@b>\nContent-Description: the chart\nContent-Language: en\n" + PDF), REPORT),
    ("SMTPUTF8", message(parts(TYPE + CODE + 'Content-Disposition: attachment; filename="\xc3\xbcber.pdf"\n\n' + b64()), "Received: from a.example by b.example with UTF8SMTPS id 1;\n Mon, 7 Jun 2026 09:30:00 +0000\nContent-Type: multipart/mixed; boundary=b\n"), frozenset({"über.pdf"})),
    ("a digest", message(parts("\n" + message("Hello\n", "", ""), "\n" + message("Hello\n", PLAIN_TYPE, "")), "Content-Type: multipart/digest; boundary=b\n"), NONE),
    ("a calendar", message(parts("Content-Type: text/calendar; method=REQUEST; charset=UTF-8\n\nBEGIN:VCALENDAR\nSUMMARY:x\nEND:VCALENDAR\n")), NONE),
    ("a page with a long hash", message("<p>" + base64.b64encode(bytes(range(40))).decode() + "</p>\n", "Content-Type: text/html\n"), NONE),
    ("delimiters at once after one another", message("--b\n" + TEXT + "--b\n--b\n--b\n" + FILE + "--b--\n"), REPORT),
    ("folds between parameters of quoted values", with_file('Content-Type: application/pdf; name="report.pdf"\n ; x-mac-type="50444620"\n ; x-mac-creator="4341524F"\n' + PDF), REPORT),
    ("a fold inside of a date", disposition('attachment; filename="report.pdf"; modification-date="Fri, 31 Jan 2013 06:00:09\n\t-0600"'), REPORT),
    ("odd quoting of what is no name", message("Hello\n", "Content-Type: text/plain; charset=us-ascii; title*=\"us-ascii'en'This%20is%20more\"; x-note=\"a \\word\"; x-more='b'\n"), NONE),
    ("a bounce with headers under another type", report("delivery-status", STATUS, "Content-Type: message/rfc822-headers\n\n" + HEADERS), NONE),
    ("a bounce with a status under another type", report("delivery-status", "Content-Type: message/x-delivery-status\n\nDate: x\nFrom: a@b.example\nMIME-Version: 1.0\n\nAction: failed\n"), NONE),
    ("a bounce with headers in a text", report("delivery-status", STATUS, 'Content-Type: text/plain; name="header.txt"\n\nDate: x\n' + HEADERS), frozenset({"header.txt"})),
    ("a piece of a zip", attached(zipped("readme.txt"), "texts.zip.001", "application/octet-stream"), frozenset({"texts.zip.001", "readme.txt"})),
    ("a body that starts like a letter", message("To: all\nSubject: nothing\n\nHello\n", PLAIN_TYPE), NONE),
]  # fmt: skip


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"], ids=["lf", "crlf"])
@pytest.mark.parametrize(("text", "names"), [case[1:] for case in BENIGN], ids=[case[0] for case in BENIGN])
def test_well_formed_mail_has_one_reading_and_no_fault(text: str, names: frozenset[str], line_end: bytes) -> None:
    raw = text.encode("latin-1").replace(b"\n", line_end)
    examination = examine(parse(raw))
    assert [defect for defect in examination.defects if defect.severity > Severity.INFO] == []
    assert (examination.view_count, examination.incomplete) == (1, None)
    assert everything(raw).names == names


@given(made=MESSAGES)
def test_what_the_email_package_writes_has_no_fault(made: MIMEBase) -> None:
    worst = [defect for defect in examine(parse(made.as_bytes())).defects if defect.severity > Severity.INFO]
    # The names are odd by intention.
    assert [defect for defect in worst if not defect.name.startswith("name-")] == []


def test_that_a_message_came_by_smtputf8_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    look_up = Headers.all

    def counted(headers: Headers, name: str) -> list[bytes]:
        asked.append(name)
        return look_up(headers, name)

    monkeypatch.setattr(Headers, "all", counted)
    files = [TYPE + f'Content-Disposition: attachment; filename="\xc3\xbcber{index}.pdf"\n\nx\n' for index in range(9)]
    examine(parse(message(parts(*files)).encode("latin-1")))
    assert asked.count("received") == 1
