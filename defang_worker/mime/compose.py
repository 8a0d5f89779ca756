# SPDX-License-Identifier: GPL-3.0-or-later
"""New entities as bytes: header, blank line, encoded body, with LF line ends.

Chooses charset and transfer encoding by the content and quotes file names. `rebuild.py` puts the result into
a message. What comes from outside (names, descriptions) can't break out of its field.
"""

import binascii
import re
from typing import Final

# RFC 5322 section 2.1.1: longer lines may be cut in transit.
MAX_LINE_BYTES: Final = 998
# RFC 2045 section 6.8: a base64 line has 76 characters at most.
_BASE64_LINE_BYTES: Final = 76
# What file systems take is 255 bytes; percent-encoded, this still fits one header line.
_MAX_NAME_BYTES: Final = 240
_LONG_LINE: Final = re.compile(rb"[^\n]{%d}" % (MAX_LINE_BYTES + 1))
_LINE_END: Final = re.compile(r"\r\n?")
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_SAFE_IN_2231: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-_")


def text_entity(text: str, *, filename: str = "", disposition: str = "inline", eight_bit: bool = False) -> bytes:
    """Return a text/plain entity of `text`, us-ascii if that will do, else UTF-8; see `entity`."""
    return entity("text/plain", text, filename=filename, disposition=disposition, eight_bit=eight_bit)


def entity(
    content_type: str,
    data: str | bytes,
    *,
    filename: str = "",
    disposition: str = "inline",
    charset: str = "utf-8",
    eight_bit: bool = False,
) -> bytes:
    """Return an entity of `content_type` (which may have parameters) with `data` for a body.

    A string gets LF line ends, a final one, and a charset parameter: us-ascii if it is that, else `charset`, or
    UTF-8 where that can't express it. Bytes are kept exactly, but for message/* whose bytes must not be encoded.
    `eight_bit` allows 8bit where quoted-printable or base64 would be chosen. Raises ValueError if
    `content_type` or `disposition` contain a line end.
    """
    if any(char in content_type + disposition for char in "\r\n\0"):
        raise ValueError(f"no header value: {content_type + disposition!r}")
    parameters = ""
    if isinstance(data, str):
        body, used = _encode_text(_LINE_END.sub("\n", data), charset)
        parameters = f"; charset={used}"
        body = body if not body or body.endswith(b"\n") else body + b"\n"
        encoding = text_encoding(body, eight_bit=eight_bit)
    else:
        body = data
        encoding = _bytes_encoding(content_type, body)
    lines = [f"Content-Type: {content_type}{parameters}{name_parameter('name', filename)}"]
    if disposition:
        lines.append(f"Content-Disposition: {disposition}{name_parameter('filename', filename)}")
    lines.append(f"Content-Transfer-Encoding: {encoding}")
    return "\n".join(lines).encode("utf-8") + b"\n\n" + encode_body(body, encoding)


def name_parameter(parameter: str, name: str) -> str:
    """Return `; parameter="name"` on a line of its own, by RFC 2231 if need be, or nothing for an empty name."""
    name = _CONTROLS.sub("_", name)
    while len(name.encode("utf-8", "replace")) > _MAX_NAME_BYTES:  # from the middle: the extension matters
        name = name[: len(name) // 2 - 1] + name[len(name) // 2 :]
    if not name:
        return ""
    if name.isascii():
        quoted = name.replace("\\", "\\\\").replace('"', '\\"')
        return f';\n {parameter}="{quoted}"'
    escaped = "".join(
        chr(byte) if byte in _SAFE_IN_2231 else f"%{byte:02X}" for byte in name.encode("utf-8", "replace")
    )
    return f";\n {parameter}*=utf-8''{escaped}"


def encode_body(body: bytes, encoding: str) -> bytes:
    """Return `body` in a transfer encoding: base64, quoted-printable, or any other, which changes nothing."""
    if encoding == "base64":
        return encode_base64(body)
    if encoding == "quoted-printable":
        return binascii.b2a_qp(body, istext=True)
    return body


def quoted_printable(body: bytes, newline: bytes = b"\n") -> bytes:
    """Return `body` in quoted-printable; only `newline`, the message's own, is a line end in it."""
    lines = (binascii.b2a_qp(line, istext=False) for line in body.split(newline))
    return newline.join(line.replace(b"\n", newline) for line in lines)


def encode_base64(body: bytes, newline: bytes = b"\n") -> bytes:
    """Return `body` in base64, in lines of 76 characters, each with its `newline`."""
    text = binascii.b2a_base64(body, newline=False)
    lines = [text[at : at + _BASE64_LINE_BYTES] for at in range(0, len(text), _BASE64_LINE_BYTES)]
    return newline.join([*lines, b""])


def _encode_text(text: str, charset: str) -> tuple[bytes, str]:
    if text.isascii():
        return text.encode("ascii"), "us-ascii"
    try:
        return text.encode(charset), charset.lower()
    except (LookupError, UnicodeEncodeError):
        return text.encode("utf-8", "replace"), "utf-8"


def text_encoding(body: bytes, *, eight_bit: bool) -> str:
    """Return the transfer encoding for a text; 8bit only if allowed by `eight_bit`."""
    if b"\0" in body:
        return "base64"
    is_long = _LONG_LINE.search(body) is not None
    if body.isascii():
        return "quoted-printable" if is_long else "7bit"
    if eight_bit and not is_long:
        return "8bit"
    # Quoted-printable takes three bytes for one that is not ASCII, base64 four for three of any kind.
    foreign = sum(byte > 0x7E for byte in body)
    return "quoted-printable" if foreign * 6 < len(body) else "base64"


def _bytes_encoding(content_type: str, body: bytes) -> str:
    if content_type.lower().startswith(("message/", "multipart/")):  # RFC 2045 section 6.4
        return "7bit" if body.isascii() else "8bit"
    is_plain = body.isascii() and b"\r" not in body and b"\0" not in body and not _LONG_LINE.search(body)
    return "7bit" if is_plain and content_type.lower().startswith("text/") else "base64"


# The original leaves a multipart without parts, which clients show as nothing or as raw source.
REMOVED_NOTICE: Final = text_entity("The content of this message was removed.\n")
"""What stands in where all parts were removed."""
