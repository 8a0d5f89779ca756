# SPDX-License-Identifier: GPL-3.0-or-later
"""A text part changed: a text put before or after what it has (disclaimers, warnings), or edited in place.

In the part's charset if that has the characters, else the part becomes UTF-8 (HTML gets character references
instead). What was there keeps its decoded bytes, and its encoded ones as far as the transfer encoding allows. Takes an
entity, gives a new one as bytes for `Rebuild.replace`, or None where nothing can be put in faithfully.
"""

import codecs
import re
from collections.abc import Callable
from typing import Final, NamedTuple

from defang_worker.mime.compose import quoted_printable, text_encoding
from defang_worker.mime.contents import embedded_files
from defang_worker.mime.decode import decode_quoted_printable
from defang_worker.mime.fields import parse_field
from defang_worker.mime.header_edit import FieldChanges, header_with
from defang_worker.mime.html import end_of_body, start_of_body
from defang_worker.mime.new_body import PLAIN, with_body
from defang_worker.mime.shadow import ShadowPart
from defang_worker.mime.tree import Entity

_EDITABLE: Final = PLAIN | {"quoted-printable", "base64"}
# Codecs with shifts, in which a byte below 0x80 is not always the ASCII character.
_WITH_SHIFTS: Final = ("utf-7", "iso2022", "hz")
_WITH_ORDER: Final = {"utf-16": ("utf-16-le", "utf-16-be"), "utf-32": ("utf-32-le", "utf-32-be")}
_ORDER_MARKS: Final = (
    codecs.BOM_UTF32_LE,
    codecs.BOM_UTF32_BE,
    codecs.BOM_UTF8,
    codecs.BOM_UTF16_LE,
    codecs.BOM_UTF16_BE,
)
_QP_TOKEN: Final = re.compile(rb"=[0-9A-Fa-f]{2}|.", re.DOTALL)
_QP_LINE_BYTES: Final = 76  # RFC 2045 section 6.7, rule 5
_CHARSET: Final = re.compile(r"""charset\s*=\s*("[^"]*"|[^\s;"]*)""", re.IGNORECASE)
_SPACE_STUFFED: Final = (" ", ">", "From ")


class _Place(NamedTuple):
    """Where to put what, in the decoded body."""

    at: int
    new: bytes


def without_file(shadow: ShadowPart, newline: bytes) -> bytes | None:
    """Return the text that a file is written into without it; None if the file's host is no such text."""
    host = shadow.host
    if not (host.is_leaf and host.content_type.startswith("text/")) or host.transfer_encoding not in _EDITABLE:
        return None
    content = host.content
    for file in embedded_files(content, is_text=True):
        if file.kind == shadow.view and file.content == shadow.content:
            return TextEdit(host, newline, content_only=host.is_message_root).without(file.start, file.end)
    return None


class TextEdit:
    """One text part to which something is added; `newline` is the message's line end."""

    def __init__(self, entity: Entity, newline: bytes, *, eight_bit: bool = False, content_only: bool = False) -> None:
        """With `content_only` the new entity has Content-* fields only, for it stands for a message's content."""
        self._entity = entity
        self._newline = newline
        self._eight_bit = eight_bit
        self._content_only = content_only
        self._content = entity.content
        self._codec = _codec_of(entity.charset, self._content)

    def with_text(self, text: str, *, at_start: bool = False) -> bytes | None:
        """Return the entity with `text` as a paragraph of its own at its end or start; None if it cannot be."""
        if self._entity.transfer_encoding not in _EDITABLE:
            return None
        lines = text.replace("\r\n", "\n").strip("\n").split("\n")
        is_flowed = self._is_flowed()
        if is_flowed:
            lines = [_fixed_line(line) for line in lines]
        block = "\n".join(lines)
        if (place := self._text_place(block, self._codec, is_flowed=is_flowed, at_start=at_start)) is not None:
            return self._with(place)
        return self._as_utf8(block, is_flowed=is_flowed, at_start=at_start)

    def with_html(self, html: str, *, at_start: bool = False) -> bytes | None:
        """Return the entity with `html` at the end or start of the document's body; None if it cannot be."""
        if self._entity.transfer_encoding not in _EDITABLE:
            return None
        codec = self._codec or "ascii"
        block = html.replace("\r\n", "\n").strip("\n") + "\n"
        if not _is_ascii_based(codec):
            shown = self._content.decode(codec, "replace")
            at = start_of_body(shown) if at_start else end_of_body(shown)
            offset = len(shown[:at].encode(codec, "replace"))
        else:
            shown = self._content.decode("latin-1")
            at = offset = start_of_body(shown) if at_start else end_of_body(shown)
        if not at_start and at == len(shown) and not shown.endswith("\n"):
            block = "\n" + block
        new = block.replace("\n", self._line_end()).encode(codec, "xmlcharrefreplace")
        place = _Place(offset, new)
        return self._with(place) if self._is_read_as_meant(place, codec) else None

    def without(self, start: int, end: int) -> bytes:
        """Return the entity without a range of its decoded content."""
        return self._encoded(self._content[:start] + self._content[end:], {})

    def with_edit(self, edit: Callable[[str], str]) -> bytes | None:
        """Return the entity with its text as `edit` makes it; None if it stays the same or cannot be read.

        In charsets with ASCII in them `edit` gets the bytes as Latin-1, so that it may change ASCII characters only.
        """
        if self._entity.transfer_encoding not in _EDITABLE:
            return None
        codec = self._codec or "ascii"
        codec = "latin-1" if _is_ascii_based(codec) else codec
        try:
            shown = self._content.decode(codec)
            new = edit(shown)
            return None if new == shown else self._encoded(new.encode(codec), {})
        except UnicodeError:
            return None

    # Text

    def _text_place(self, block: str, codec: str | None, *, is_flowed: bool, at_start: bool) -> _Place | None:
        """Return what to put where in this codec, or None if it has no such characters or would be misread."""
        try:
            shown = self._content.decode(codec or "ascii", "replace")
            new = self._framed(block, shown, is_flowed=is_flowed, at_start=at_start).encode(codec or "ascii")
        except UnicodeEncodeError:
            return None
        place = _Place(_after_order_mark(self._content) if at_start else len(self._content), new)
        return place if self._is_read_as_meant(place, codec or "ascii") else None

    def _framed(self, block: str, shown: str, *, is_flowed: bool, at_start: bool) -> str:
        """Return the text with the line ends that set it off."""
        end = self._line_end()
        text = block.replace("\n", end)
        if at_start:
            return f"{text}{end}{end}"
        before = end if shown and not shown.endswith("\n") else ""
        last = shown.rstrip("\r\n").rpartition("\n")[2]
        if is_flowed and last.endswith(" ") and last.lstrip(">") != "-- ":
            before += end  # the paragraph takes the next line in, be it an empty one (RFC 3676 section 4.1)
        return f"{before}{end}{text}{end}" if shown else f"{text}{end}"

    def _as_utf8(self, block: str, *, is_flowed: bool, at_start: bool) -> bytes | None:
        """Return the entity in UTF-8 with the text in it; None if what is there is not in its charset either."""
        try:
            shown = self._content.decode(self._codec or "ascii")
        except UnicodeDecodeError:
            return None
        shown = shown.removeprefix("\ufeff")
        framed = self._framed(block, shown, is_flowed=is_flowed, at_start=at_start)
        body = (framed + shown if at_start else shown + framed).encode("utf-8", "replace")
        value = (self._entity.headers.get("content-type") or b"text/plain").decode("utf-8", "surrogateescape")
        value, count = _CHARSET.subn("charset=utf-8", value)
        return self._encoded(body, {"Content-Type": value if count else f"{value.rstrip('; ')}; charset=utf-8"})

    def _is_flowed(self) -> bool:
        value = self._entity.headers.get("content-type")
        texts = parse_field(value).texts("format") if value else []
        return bool(texts) and texts[0].lower() == "flowed"

    def _line_end(self) -> str:
        """Return the line end of the decoded text: CRLF in most of what was base64."""
        first = self._content.find(b"\n")
        if first < 0:
            return "\r\n" if self._entity.transfer_encoding == "base64" else self._newline.decode("ascii")
        before = self._content[max(first - 4, 0) : first].rstrip(b"\0")
        return "\r\n" if before.endswith(b"\r") else "\n"

    def _is_read_as_meant(self, place: _Place, codec: str) -> bool:
        """Tell whether old and new text stay what they are side by side: no open shift state, no cut character."""
        if _is_ascii_based(codec):
            return place.new.isascii() or not codec.startswith("ascii")
        old, at = self._content, place.at
        try:
            apart = (old[:at].decode(codec), place.new.decode(codec), old[at:].decode(codec))
            return (old[:at] + place.new + old[at:]).decode(codec) == "".join(apart)
        except UnicodeDecodeError:
            return False

    # Bytes

    def _with(self, place: _Place) -> bytes:
        encoding = self._entity.transfer_encoding
        fits = text_encoding(place.new, eight_bit=encoding != "7bit") in PLAIN
        if encoding in PLAIN and fits:
            raw = self._entity.raw_body
            return self._entity_of(raw[: place.at] + place.new + raw[place.at :], {})
        if encoding == "quoted-printable" and (body := self._spliced_qp(place)) is not None:
            return self._entity_of(body, {})
        return self._encoded(self._content[: place.at] + place.new + self._content[place.at :], {})

    def _spliced_qp(self, place: _Place) -> bytes | None:
        """Return the quoted-printable body with the new text between two of its tokens; None if that has no place."""
        raw = self._entity.raw_body
        at = _qp_offset(raw, place.at) if place.at < len(self._content) else len(raw)
        head, tail = raw[:at], raw[at:]
        if head.endswith((b"=", b"=\n", b"=\r\n")):
            head = head[: head.rindex(b"=")]
        if head and not head.endswith(b"\n"):
            if len(head) - head.rfind(b"\n") > _QP_LINE_BYTES:  # no room for the sign of a soft break
                return None
            head += b"=" + self._newline
        new = quoted_printable(place.new, self._newline)
        if tail and not new.endswith(b"\n"):
            new += b"=" + self._newline
        body = head + new + tail
        meant = self._content[: place.at] + place.new + self._content[place.at :]
        return body if decode_quoted_printable(body) == meant else None

    def _encoded(self, body: bytes, changes: FieldChanges) -> bytes:
        """Return the entity with another body, in its own transfer encoding if that will do."""
        return with_body(
            self._entity,
            body,
            self._newline,
            eight_bit=self._eight_bit,
            content_only=self._content_only,
            changes=changes,
        )

    def _entity_of(self, body: bytes, changes: FieldChanges) -> bytes:
        header = header_with(self._entity, changes, self._newline, content_only=self._content_only)
        return header + self._newline + body


def _qp_offset(raw: bytes, wanted: int) -> int:
    """Return how many bytes of `raw` make `wanted` decoded ones."""
    at = 0
    for line in raw.splitlines(keepends=True):
        size = len(decode_quoted_printable(line))
        if size > wanted:
            break
        wanted -= size
        at += len(line)
    while wanted > 0 and (token := _QP_TOKEN.match(raw, at)):
        at = token.end()
        wanted -= 1
    return at


def _codec_of(charset: str, content: bytes) -> str | None:
    """Return the codec for a charset, byte order settled by the content; None if there is none for it."""
    try:
        info = codecs.lookup(charset)
    except (LookupError, ValueError):
        return None
    if not info._is_text_encoding:  # noqa: SLF001  # the only word for it that Python has
        return None
    name = info.name
    if name in _WITH_ORDER:
        little, big = _WITH_ORDER[name]
        mark = codecs.BOM_UTF16_LE if name == "utf-16" else codecs.BOM_UTF32_LE
        return little if content.startswith(mark) else big  # RFC 2781 section 4.3: without a mark it is big-endian
    return "utf-8" if name == "utf-8-sig" else name


def _is_ascii_based(codec: str) -> bool:
    return not codec.startswith(_WITH_SHIFTS) and "<a\n".encode(codec) == b"<a\n"


def _after_order_mark(content: bytes) -> int:
    return next((len(mark) for mark in _ORDER_MARKS if content.startswith(mark)), 0)


def _fixed_line(line: str) -> str:
    """Return a line of text as format=flowed has it (RFC 3676 section 4.2): stuffed, and not to be joined."""
    if line != "-- ":
        line = line.rstrip(" ")
    return f" {line}" if line.startswith(_SPACE_STUFFED) else line
