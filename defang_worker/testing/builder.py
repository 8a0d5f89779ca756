# SPDX-License-Identifier: GPL-3.0-or-later
"""`MessageBuilder`: a message for a test, said in as few words as the test is about.

The same words give the same bytes in every run. Nothing is checked: header fields and parts may be as wrong as a test
wants them.
"""

from __future__ import annotations

from typing import Final, Self

from defang_worker.api.words import header_value
from defang_worker.mime import compose

_PREAMBLE_FIELDS: Final = (
    ("From", b"Sender <sender@example.com>"),
    ("To", b"Recipient <recipient@example.org>"),
    ("Subject", b"A message"),
    ("Date", b"Mon, 06 Jan 2025 10:00:00 +0000"),
    ("Message-ID", b"<message@example.com>"),
)
_DEFAULT_TYPE: Final = "application/octet-stream"
_DEFAULT_TEXT: Final = "Hello\n"


# Within the class the name is the method's.
Raw = bytes


class MessageBuilder:
    """A message under construction; each verb gives back the builder, so that they can be strung together.

    Without any verb it is a small plain text with the usual header fields. Text and HTML become alternatives, and
    what is attached makes the message a `multipart/mixed`.
    """

    def __init__(self) -> None:
        self._fields = [(name, value) for name, value in _PREAMBLE_FIELDS]
        self._texts: list[Raw] = []
        self._attached: list[Raw] = []
        self._body: Raw | None = None

    def from_(self, value: str) -> Self:
        """Sets From; the envelope is the affair of `run_filter`."""
        return self._set("From", value)

    def to(self, *values: str) -> Self:
        """Sets To."""
        return self._set("To", ", ".join(values))

    def subject(self, text: str) -> Self:
        """Sets Subject, encoded if it is more than ASCII."""
        return self._set("Subject", text)

    def header(self, name: str, value: str | Raw) -> Self:
        """Appends a field, be there one of that name or not; bytes go into the message as they are."""
        self._fields.append((name, value if isinstance(value, bytes) else header_value(value)))
        return self

    def without(self, name: str) -> Self:
        """Takes out all fields of that name."""
        self._fields = [field for field in self._fields if field[0].lower() != name.lower()]
        return self

    def text(self, text: str, *, charset: str = "utf-8") -> Self:
        """Adds plain text."""
        self._texts.append(compose.entity("text/plain", text, disposition="", charset=charset))
        return self

    def html(self, html: str, *, charset: str = "utf-8") -> Self:
        """Adds HTML."""
        self._texts.append(compose.entity("text/html", html, disposition="", charset=charset))
        return self

    def attach(
        self, name: str, data: Raw | str, content_type: str = _DEFAULT_TYPE, *, disposition: str = "attachment"
    ) -> Self:
        """Attaches a file."""
        raw = data.encode() if isinstance(data, str) else data
        self._attached.append(compose.entity(content_type, raw, filename=name, disposition=disposition))
        return self

    def attach_message(self, message: MessageBuilder | Raw) -> Self:
        """Attaches a whole message, as `message/rfc822`."""
        raw = message if isinstance(message, bytes) else message.bytes()
        self._attached.append(b"Content-Type: message/rfc822\n\n" + raw)
        return self

    def nested(self, subtype: str, *builders: MessageBuilder) -> Self:
        """Adds a `multipart/<subtype>` of the bodies of other builders, whose header fields do not count."""
        self._attached.append(_multipart(subtype, [builder._entity() for builder in builders]))  # noqa: SLF001
        return self

    def part(self, entity: Raw) -> Self:
        """Adds a part as it is: header, empty line and body."""
        self._attached.append(entity)
        return self

    def body(self, raw: Raw) -> Self:
        """Has these bytes stand behind the header, instead of all texts and parts; Content-* fields are yours then."""
        self._body = raw
        return self

    def bytes(self, *, newline: Raw = b"\n") -> Raw:
        """The message, in bytes with these line ends."""
        fields = [name.encode() + b": " + value + b"\n" for name, value in self._fields]
        rest = b"\n" + self._body if self._body is not None else b"MIME-Version: 1.0\n" + self._entity()
        raw = b"".join([*fields, rest])
        return raw if newline == b"\n" else raw.replace(b"\n", newline)

    def _set(self, name: str, value: str) -> Self:
        places = [place for place, field in enumerate(self._fields) if field[0] == name]
        if not places:
            return self.header(name, value)
        self._fields[places[0]] = (name, header_value(value))
        return self

    def _entity(self) -> Raw:
        texts = self._texts
        if not texts and not self._attached:
            texts = [compose.entity("text/plain", _DEFAULT_TEXT, disposition="")]
        parts = [_multipart("alternative", texts)] if len(texts) > 1 else texts
        everything = [*parts, *self._attached]
        # A lone attachment is the whole message, as scanners and copiers send them.
        return everything[0] if len(everything) == 1 else _multipart("mixed", everything)


def _multipart(subtype: str, entities: list[bytes]) -> bytes:
    # Numbered, so that no boundary occurs in a part, and every run gives the same bytes.
    number = 1
    while any(b"=_part_%d" % number in entity for entity in entities):
        number += 1
    boundary = b"=_part_%d" % number
    head = b'Content-Type: multipart/%b; boundary="%b"\n\n' % (subtype.encode(), boundary)
    return head + b"".join(b"--%b\n%b\n" % (boundary, entity) for entity in entities) + b"--%b--\n" % boundary
