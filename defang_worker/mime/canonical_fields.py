# SPDX-License-Identifier: GPL-3.0-or-later
"""Header fields that leave one reading: for `canonical_rebuild.py`, which calls these for each part.

ASCII, folded, one name that is safe on disk, parameters that mean something and no others.
"""

import re
import unicodedata
from binascii import b2a_base64
from typing import Final

from defang_worker.mime.charsets import guess_text
from defang_worker.mime.compose import encode_base64, name_parameter, quoted_printable, text_encoding
from defang_worker.mime.fields import parse_field
from defang_worker.mime.headers import unfold
from defang_worker.mime.tree import Entity

Fields = dict[str, str]
"""Content-* fields in the order in which they are written: Content-Type, encoding, disposition, identifier."""

_TYPE: Final = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]*/[a-z0-9][a-z0-9!#$&^_.+-]*")
# Those that RFC 2046, 2387 and 6522 and mail clients give a meaning; the rest is shown as mixed anyway.
_KNOWN_MULTIPARTS: Final = frozenset(
    {"multipart/mixed", "multipart/alternative", "multipart/related", "multipart/digest", "multipart/report"}
)
# Unencoded by RFC 3464, 8098 and 5965; what they have to be is plain lines.
_PLAIN_MESSAGES: Final = frozenset(
    {"message/delivery-status", "message/disposition-notification", "message/feedback-report"}
)
_KEPT_PARAMETERS: Final = ("charset", "format", "delsp", "method", "type", "start", "report-type")
_PARAMETER_VALUE: Final = re.compile(r"""[A-Za-z0-9!#$%&'*+./:<>?@^_`{|}~-]{1,200}""")
# Some readers take it for one, be there a blank line before it or not.
_LIKE_FIELDS: Final = re.compile(rb"[\s>]*+(?:[!-9;-~]++[ \t]*+:[^\n]*+\n(?:[ \t][^\n]*+\n)*)*content-", re.IGNORECASE)
_FIRST_BYTES: Final = 4096
_CONTENT_ID: Final = re.compile(r"<[^<>\s\x00-\x20\x7f-\uffff]{1,250}>")
_DISPOSITIONS: Final = frozenset({"inline", "attachment"})

_DRIVE: Final = re.compile(r"^[A-Za-z]:")
_BLANKS: Final = re.compile(r"\s+")
# Not allowed in names on Windows, or a separator of parameters to some reader.
_UNSAFE: Final = re.compile(r"""[<>"|?*;=\\/:{}()%,`]""")

_WORD_BYTES: Final = 45  # 60 characters of base64, within the 75 of RFC 2047 section 2
_FOLD_AT: Final = 76
# RFC 5322 section 2.1.1 allows 998 bytes; what has no blank to fold at is cut at 900.
_WORD: Final = re.compile(r"[ \t]*[^ \t]{1,900}")
_MANY_BLANKS: Final = re.compile(r"[ \t]{64,}")
_ODD_IN_VALUE: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]+")


def safe_name(name: str) -> str:
    """Return a file name that file systems and mail clients take as it stands, case kept; empty for none."""
    if not name:
        return ""
    text = unicodedata.normalize("NFKC", name).replace("\t", " ")
    text = "".join(char for char in text if unicodedata.category(char) not in {"Cc", "Cf", "Cs", "Zl", "Zp"})
    text = text.replace("\\", "/").rstrip("/ ").rpartition("/")[2].strip()
    text = _DRIVE.sub("", text).partition(":")[0]
    text = _BLANKS.sub(" ", _UNSAFE.sub("_", text)).strip(" '").rstrip(". '")
    return unicodedata.normalize("NFC", text) or "unnamed"


def canonical_value(value: bytes) -> str:
    """Return a field's value in ASCII, folded, without controls; other text becomes encoded words (RFC 2047)."""
    text = unfold(_ODD_IN_VALUE.sub(b" ", unfold(value)))
    if not text.isascii():
        return _folded("".join(_encoded(word) for word in re.split(r"([ \t]+)", guess_text(text))))
    return _folded(text.decode("ascii"))


def _encoded(word: str) -> str:
    if word.isascii():
        return word
    pieces, piece = [], b""
    for char in word:
        raw = char.encode("utf-8", "replace")
        if len(piece) + len(raw) > _WORD_BYTES:
            pieces.append(piece)
            piece = b""
        piece += raw
    return " ".join(f"=?utf-8?b?{b2a_base64(raw, newline=False).decode()}?=" for raw in (*pieces, piece))


def _folded(text: str) -> str:
    """Return the value with folds at blanks, so that lines fit 78 characters where there is a blank to fold at."""
    lines = [""]
    for word in _WORD.findall(_MANY_BLANKS.sub(" ", text)):
        if lines[-1] and len(lines[-1]) + len(word) > _FOLD_AT:
            lines.append(word if word[0] in " \t" else f" {word}")
        else:
            lines[-1] += word
    return "\n".join(lines)


def multipart_type(entity: Entity) -> str:
    """Return the type of a container, without boundary: one that readers know, with what belongs to it."""
    content_type = entity.content_type if entity.content_type in _KNOWN_MULTIPARTS else "multipart/mixed"
    return content_type + _parameters(entity, frozenset({"type", "start", "report-type"}))


def leaf_fields(head: Entity, content: bytes, newline: bytes) -> tuple[Fields, bytes]:
    """Return the fields of a leaf with the header `head`, and its content encoded for them."""
    content_type = _leaf_type(head, content)
    if content_type.startswith("text/"):
        body = content.replace(b"\r\n", b"\n").replace(b"\n", newline)
        charset = _charset(head, content)
        encoding = _text_encoding(body, newline)
        parameters = f'; charset="{charset}"' + _parameters(head, frozenset({"format", "delsp", "method"}))
        encoded = quoted_printable(body, newline) if encoding == "quoted-printable" else encode_base64(body, newline)
    elif content_type in _PLAIN_MESSAGES:
        encoding, parameters = "7bit", ""
        encoded = content.replace(b"\r\n", b"\n").replace(b"\n", newline)
    else:
        encoding, parameters = "base64", ""
        encoded = encode_base64(content, newline)
    return content_fields(head, content_type + parameters, encoding), encoded


def content_fields(head: Entity, content_type: str, encoding: str) -> Fields:
    """Return the Content-* fields of an entity that has the header `head`, with type and encoding given."""
    name = safe_name(head.filename)
    fields = {"Content-Type": content_type + name_parameter("name", name)}
    if encoding:
        fields["Content-Transfer-Encoding"] = encoding
    disposition = head.disposition
    if disposition not in _DISPOSITIONS:
        disposition = "attachment" if disposition or name else ""
    if disposition:
        fields["Content-Disposition"] = disposition + name_parameter("filename", name)
    identifier = (head.headers.get("content-id") or b"").decode("latin-1")
    if _CONTENT_ID.fullmatch(identifier):
        fields["Content-ID"] = identifier
    return fields


def _leaf_type(head: Entity, content: bytes) -> str:
    content_type = head.content_type
    if content_type.startswith("multipart/"):  # whose parts nobody agrees about
        return "text/plain"
    if not _TYPE.fullmatch(content_type):
        return "application/octet-stream"
    if content_type.startswith("message/"):
        is_plain = content.isascii() and text_encoding(content, eight_bit=False) == "7bit"
        return content_type if content_type in _PLAIN_MESSAGES and is_plain else "application/octet-stream"
    return content_type


def _charset(head: Entity, content: bytes) -> str:
    charset = head.charset
    if head.parameter("charset") and re.fullmatch(r"[a-z0-9][a-z0-9._:+-]{0,39}", charset):
        return charset
    if content.isascii():
        return "us-ascii"
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return "windows-1252"
    return "utf-8"


def _text_encoding(body: bytes, newline: bytes) -> str:
    """Return quoted-printable for what is lines of text, base64 for the rest and for what looks like a header."""
    lines = body.replace(newline, b"")
    if b"\0" in lines or b"\n" in lines or _LIKE_FIELDS.match(body[:_FIRST_BYTES]):
        return "base64"
    foreign = len(lines) - len(lines.translate(None, bytes(range(0x7F, 0x100))))
    return "base64" if foreign * 2 > len(lines) else "quoted-printable"


def _parameters(head: Entity, names: frozenset[str]) -> str:
    value = head.headers.get("content-type")
    if not value:
        return ""
    field = parse_field(value)
    kept = []
    for name in _KEPT_PARAMETERS:
        texts = field.texts(name) if name in names else []
        if texts and _PARAMETER_VALUE.fullmatch(texts[0]):
            kept.append(f'; {name}="{texts[0]}"')
    return "".join(kept)
