# SPDX-License-Identifier: GPL-3.0-or-later
"""What a header says of the body below it: its type, its boundary, its encoding, whether to open it as a message.

Takes bytes, knows no tree; `parse.py` asks.
"""

import re
from typing import Final, NamedTuple

from defang_worker.mime.decode import encoding_name
from defang_worker.mime.fields import StructuredField, parse_field
from defang_worker.mime.headers import first_value

_TYPE: Final = re.compile(rb"([^\s/;()\",=]++)[ \t]*+/[ \t]*+([^\s/;()\",=]++)")
_MULTIPART: Final = re.compile(rb"multipart(?![^\s/;])", re.IGNORECASE)
# message/news is RFC 1036's older brother of message/rfc822, and shown like it.
MESSAGES: Final = frozenset({"message/rfc822", "message/global", "message/news", "message/external-body"})
"""Types whose body is a message that has to be looked into."""


class Opening(NamedTuple):
    """How to go on with a body."""

    content_type: str | None = None
    """In small letters; None if there is no Content-Type."""
    boundary: bytes | None = None
    """Of a multipart; None for any other type, and if none is declared."""
    is_message: bool = False
    """Whether the body of a message/* is itself a message that has to be looked into."""
    encoding: str = "7bit"
    """The transfer encoding; of what is neither multipart nor message it is not asked here."""


PLAIN: Final = Opening()
"""What no header says."""


def read_opening(header: bytes) -> Opening:
    """Return what the first Content-Type and the first Content-Transfer-Encoding say."""
    lowered = header.lower()
    value = first_value(header, lowered, b"content-type")
    if value is None:
        return _with_encoding(PLAIN, header, lowered)
    content_type, field = _read_type(value)
    if field is None:
        return Opening(content_type)
    boundary = _boundary(field) if content_type.startswith("multipart/") else None
    opening = Opening(content_type, boundary, _is_message(content_type, field))
    return _with_encoding(opening, header, lowered)


def _with_encoding(opening: Opening, header: bytes, lowered: bytes) -> Opening:
    encoding = first_value(header, lowered, b"content-transfer-encoding")
    return opening if encoding is None else opening._replace(encoding=encoding_name(encoding))


def _read_type(value: bytes) -> tuple[str, StructuredField | None]:
    """Return the type that a Content-Type value means, and the field if its parameters matter."""
    if match := _TYPE.match(value):
        content_type = f"{match[1].decode('latin-1')}/{match[2].decode('latin-1')}".lower()
        # multipart or message
        return content_type, parse_field(value) if content_type[:2] in {"mu", "me"} else None
    field = parse_field(value)
    if b"(" in value and (match := _TYPE.match(f"{field.value}".encode("latin-1"))):
        return match[0].decode("latin-1").lower(), field
    # RFC 2046 section 5.1.3: an unknown multipart is mixed.
    return "multipart/mixed" if _MULTIPART.match(value) else "application/octet-stream", field


def _boundary(field: StructuredField) -> bytes | None:
    boundary = field.parameter("boundary")
    if boundary is None:
        texts = field.texts("boundary")
        boundary = texts[0].encode("utf-8", "replace") if texts else None
    # RFC 2046 section 5.1.1: no blank at the end, and delimiter lines may be padded.
    return boundary.rstrip(b" \t\r") if boundary is not None else None


def _is_message(content_type: str, field: StructuredField) -> bool:
    if content_type in MESSAGES:
        return True
    if content_type != "message/partial":
        return False
    # Only the first fragment has a header; without a readable number it may be the first.
    number = field.parameter("number") or b""
    return not number.isdigit() or int(number[:9]) == 1
