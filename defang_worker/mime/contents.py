# SPDX-License-Identifier: GPL-3.0-or-later
"""What lies inside a leaf's content: a message, files in text or winmail.dat, an archive.

Goes by the first bytes and a few words to search for; the decoders and archive modules are imported when one of
those is met.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import islice, pairwise
from typing import Final

from defang_worker.mime.embedded import EmbeddedFile
from defang_worker.mime.headers import Buffer

_FIELD: Final = re.compile(rb"([A-Za-z][A-Za-z0-9-]*)[ \t]*:[^\n]*(?:\n|\Z)(?:[ \t][^\n]*(?:\n|\Z))*")
_JUNK: Final = re.compile(rb"(?:\xef\xbb\xbf|\r*\n|>?From [^\n]*\n)*")
# A word, and what neither base64 nor the name of a field has behind it, within 64 bytes, which is where those show;
# or a word alone on its line, which may be base64 only.
_PROSE: Final = re.compile(
    rb"(?!PK|BZ|x\x9f|0(?:[\x80-\xff]|.\x06))(?:\r?\n){0,4}(?!From |-----BEGIN (?:CMS|PKCS))"
    rb"(?:[A-Za-z0-9-]{0,40}(?:[ \t]{1,8}[^\s:\0]|[!-*,.;<?@\[-`{-~\x80-\xee\xf0-\xff])|[A-Za-z0-9-]{1,40}(\r?\n|\Z))"
)
# How the archives begin that may look like prose, all by magic numbers, a tar's checksum or an ISO image's mark.
_MAY_BE_ARCHIVE: Final = re.compile(
    rb"!<arch>|0707|7z\xbc|Rar!|RE~\^|LZIP|\(\xb5|`\xea|\xfd7zXZ|MSCF|xar!|.{2}-l[hz]|.{7}\*\*ACE"
    rb"|.{148}[ 0]*[0-7]{1,6}[ \0]|.{32769}(?:CD001|BEA01)",
    re.DOTALL,
)
_NO_BASE64: Final = re.compile(rb"[^A-Za-z0-9+/=\r\n]")
_TELLING: Final = frozenset({b"mime-version", b"content-type"})
_OF_MAIL: Final = frozenset({b"from", b"to", b"subject", b"date", b"message-id", b"received", b"return-path"})
_SMIME_TYPES: Final = frozenset({"application/pkcs7-mime", "application/x-pkcs7-mime", "application/cms"})
_SMIME_NAMES: Final = (".p7m", ".p7z")
# A sequence that begins with an object identifier of RSA's, as CMS does (`cms.py`); lengths may have some digits.
_CMS: Final = re.compile(rb"0(?:[\x00-\x80]|[\x81-\xff].{1,8}?)\x06.{1,2}\x2a\x86\x48\x86\xf7\x0d\x01", re.DOTALL)
_MESSAGE_NAMES: Final = (".eml", ".msg", ".mht", ".mhtml", ".nws")
# Mail clients that go by the name find such a field behind whatever comes first.
_MIME_FIELD: Final = re.compile(
    rb"^[\x00-\t\x0b-\x20\x7f-\xff]{0,9}(?:content-[a-z-]{2,30}|mime-version)[ \t]*:", re.IGNORECASE | re.MULTILINE
)
_UTF16_MARKS: Final = (b"\xff\xfe", b"\xfe\xff")
# Outlook's own format, another one under the same name; it may hold a header as a text.
OLE_MAGIC: Final = b"\xd0\xcf\x11\xe0"
# Reports on mail, and headers alone: look like messages, and are none.
_NO_MESSAGES: Final = frozenset(
    {
        "text/rfc822-headers",
        "message/delivery-status",
        "message/disposition-notification",
        "message/feedback-report",
        "message/tracking-status",
        "message/global-headers",
        "message/global-delivery-status",
        "message/global-disposition-notification",
    }
)
# Their likes under names of their own: message/rfc822-headers, message/x-delivery-status.
_NO_MESSAGE_SUFFIXES: Final = ("-headers", "-status", "-notification", "-report")
_NO_ARCHIVES: Final = frozenset({"application/pdf", "application/rtf", "application/postscript"})
# Archives, and the documents and programs that are zips or cabinets inside.
_ARCHIVE_SUFFIXES: Final = frozenset(
    (  # noqa: SIM905  # one a line would fill a page
        "zip zipx jar war ear apk aab ipa xpi crx epub kmz kml cbz docx docm dotx dotm xlsx xlsm xlsb xltx xltm "
        "pptx pptm ppsx ppsm potx potm sldx thmx vsdx vsdm odt ods odp odg odf ott ots otp sxw sxc sxi pages "
        "numbers key one onepkg msix appx nupkg whl egg vsix oxps xps 3mf sketch tar gz tgz gzip bz2 tbz tbz2 xz "
        "txz lz lzma tlz zst tzst z taz 7z rar r00 cbr cab msu iso img udf lzh lha ar a deb rpm cpio xar pkg dmg "
        "ace arj exe scr msi wim svgz emz wmz bz kra ora mcworld gpkg fig usdz dwfx p7z"
    ).split()
)
# What these names are for searches for a mark that need not come first, as in archives that unpack themselves.
_SEARCHED_NAMES: Final = (".rar", ".cbr", ".7z", ".cb7", ".zip")
_ARCHIVE_TYPE: Final = re.compile(
    r"zip|compress|archive|x-(?:g?tar|7z|rar|lz|lha|arj|ace|xz|cpio|iso9660)|vnd\.(?:rar|ms-cab|openxml|oasis)|zstd|epub"
)
# Archivers number the pieces of one in several files: papers.zip.001.
_SPLIT_NUMBER: Final = re.compile(r"(?<=\w)\.\d{2,3}$")
_MAX_HEADER_BYTES: Final = 64 * 1024
# To tell whether it is a header.
_ENOUGH_FIELDS: Final = 50
# Where the next message of an mbox begins (RFC 4155): a line of its own kind, and a field.
_NEXT_OF_MBOX: Final = re.compile(rb"(?<=\n)\r?\n(From [^\n]+\n)(?=[A-Za-z][A-Za-z0-9-]*:)")
_MAX_OF_MBOX: Final = 100
TNEF_MAGIC: Final = b"\x78\x9f\x3e\x22"


def is_mere_text(buffer: Buffer, start: int, end: int) -> bool:
    """Tell in no time of most texts that they are no message, no base64, no archive, and have no file in them.

    What is here must imply that, and only that; a content of which it is not told is looked at more closely.
    """
    match = _PROSE.match(buffer, start, end)
    return (
        match is not None
        and (match[1] is None or _NO_BASE64.search(buffer, start, min(end, start + 64)) is not None or end - start < 32)
        and buffer.find(b"\0", start, min(end, start + 512)) < 0
        and _MAY_BE_ARCHIVE.match(buffer, start, end) is None
        and buffer.find(b"begin", start, end) < 0
        and buffer.find(b"BinHex", start, end) < 0
        and buffer.find(b"PK\x03\x04", start, end) < 0
    )


def is_message_content(content: bytes, content_type: str, names: Iterable[str]) -> bool:
    """Tell whether a leaf's content is a whole message, by its first lines or by its name."""
    is_called_so = is_called_message(names)
    if is_called_so and content[:2] in _UTF16_MARKS:
        content = as_message(content[:_MAX_HEADER_BYTES])
    is_report = content_type in _NO_MESSAGES or (
        content_type.startswith("message/") and content_type.endswith(_NO_MESSAGE_SUFFIXES)
    )
    if is_report and not is_called_so:
        return False
    found, at = _fields(content)
    has_body = len(found) == _ENOUGH_FIELDS or bool(content[at : at + _MAX_HEADER_BYTES].strip())
    if is_called_so and not content.startswith(OLE_MAGIC):
        has_mime_field = _MIME_FIELD.search(content, 0, _MAX_HEADER_BYTES) is not None
        return has_mime_field and has_body if is_report else has_mime_field or bool(found)
    if content_type.startswith("message/"):
        return bool(found)
    return (
        has_body  # a header alone is what reports on mail have; nothing can be in that
        and len(found) >= 3
        and not _TELLING.isdisjoint(found)
        and not (_OF_MAIL.isdisjoint(found) and b"mime-version" not in found)
    )


def _fields(content: bytes) -> tuple[list[bytes], int]:
    """Return the names of the first fields, if a content begins with such, and where they end."""
    first = content[:2]
    if not first or not (first[:1].isalpha() or first[:1] in b"\r\n>\xef"):
        return [], 0
    found: list[bytes] = []
    at = match.end() if (match := _JUNK.match(content, 0, _MAX_HEADER_BYTES)) else 0
    while len(found) < _ENOUGH_FIELDS and (match := _FIELD.match(content, at, _MAX_HEADER_BYTES)):
        found.append(match[1].lower())
        at = match.end()
    return found, at


def is_called_message(names: Iterable[str]) -> bool:
    """Tell whether a name says that a content is a message."""
    return any(name.lower().rstrip(". ").endswith(_MESSAGE_NAMES) for name in names)


def as_message(content: bytes) -> bytes:
    """Return a content that is a message in UTF-8, should it be in UTF-16; any other content as it is."""
    return content.decode("utf-16", "replace").encode("utf-8") if content[:2] in _UTF16_MARKS else content


def messages_behind(content: bytes) -> Iterator[bytes]:
    """Yield the messages behind the first one, if a content is an mbox; a hundred at most, the last with all others."""
    if not content.startswith(b"From "):
        return
    starts = [match.start(1) for match in islice(_NEXT_OF_MBOX.finditer(content), _MAX_OF_MBOX)]
    for start, end in pairwise([*starts, len(content)]):
        yield content[start:end]


def embedded_files(content: bytes, *, is_text: bool) -> Iterator[EmbeddedFile]:
    """Yield the files inside a content that is no container of MIME's."""
    if content.startswith(TNEF_MAGIC):
        from defang_worker.mime import tnef  # noqa: PLC0415  # for rare mail

        yield from tnef.embedded_files(content)
        return
    if not is_text and b"\0" in content[:512]:
        return
    if content.find(b"begin") >= 0:
        from defang_worker.mime import uuencode  # noqa: PLC0415  # for rare mail

        yield from uuencode.embedded_files(content)
    if content.find(b"=ybegin") >= 0:
        from defang_worker.mime import yenc  # noqa: PLC0415  # for rare mail

        yield from yenc.embedded_files(content)
    if content.find(b"BinHex") >= 0 or content[:4].lstrip()[:1] == b":":
        from defang_worker.mime import binhex  # noqa: PLC0415  # for rare mail

        yield from binhex.embedded_files(content)


def is_smime_type(content_type: str) -> bool:
    """Tell whether mail clients show what S/MIME of this type has within."""
    return content_type in _SMIME_TYPES


def is_called_smime(content_type: str, names: Iterable[str]) -> bool:
    """Tell whether a type or a name says that a content is S/MIME, more than a signature."""
    return content_type in _SMIME_TYPES or any(name.lower().rstrip(". ").endswith(_SMIME_NAMES) for name in names)


def is_opened_by_name(content_type: str, names: Iterable[str]) -> bool:
    """Tell whether a type or a name has programs open a content as a message, S/MIME or archive, however it begins."""
    return is_called_smime(content_type, names) or is_called_message(names) or is_searched(names)


def is_searched(names: Iterable[str]) -> bool:
    """Tell whether the programs that go by a name find an archive behind other bytes."""
    return any(name.lower().rstrip(". ").endswith(_SEARCHED_NAMES) for name in names)


def begins_cms(content: bytes) -> bool:
    """Tell whether a content begins as CMS, the format of S/MIME, does."""
    return content[:1] == b"0" and _CMS.match(content) is not None


def is_mislabelled(kind: str, content_type: str, names: Iterable[str]) -> bool:
    """Tell whether an archive goes under a name or a type that is none of an archive's."""
    if content_type.startswith(("image/", "audio/", "video/", "text/")) or content_type in _NO_ARCHIVES:
        return True
    suffixes = _suffixes(names)
    return bool(suffixes) and not any(suffix in _ARCHIVE_SUFFIXES or suffix == kind for suffix in suffixes)


def is_called_archive(content_type: str, names: Iterable[str]) -> bool:
    """Tell whether a name or a type says that a content is an archive, or a document or program that is one inside."""
    if _ARCHIVE_TYPE.search(content_type):
        return True
    return any(suffix in _ARCHIVE_SUFFIXES for suffix in _suffixes(names))


def _suffixes(names: Iterable[str]) -> list[str]:
    return [_SPLIT_NUMBER.sub("", name.lower().rstrip(". ")).rpartition(".")[2] for name in names if "=?" not in name]
