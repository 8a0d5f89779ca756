# SPDX-License-Identifier: GPL-3.0-or-later
"""The message's header, field by field: what INPUTMSG, HEADERS, PRISTINE_HEADERS and COMMANDS say of it.

Pure: bytes in, bytes collected. When and where they are written is `workdir`'s affair.
"""

import re
from typing import Final

from defang_common.wire.commands import Letter, encode_line

_DOTTED_QUAD: Final = re.compile(rb"\s*(\d{1,9})\.(\d{1,9})\.(\d{1,9})\.(\d{1,9})")

_CONTENT_TYPE: Final = b"content-type"
_NOTED: Final = {b"subject": Letter.SUBJECT, b"message-id": Letter.MESSAGE_ID}
_SUSPICIOUS: Final = encode_line(Letter.SUSPICIOUS_HEADERS)


def relayed_ip(value: bytes) -> bytes | None:
    """The address at the start of a validation header's value, None if there is none."""
    match = _DOTTED_QUAD.match(value)
    if match is None:
        return None
    numbers = [int(number) for number in match.groups()]
    return b"%d.%d.%d.%d" % tuple(numbers) if max(numbers) < 256 else None


class Header:
    """The fields of one message in their order.

    `validation_name` is the name of the header in which a trusted relay tells the client's
    address (protocol.md, Validation header), compared with case; None if the site has none.
    """

    __slots__ = (
        "_for_scan",
        "_pristine",
        "_unfolded",
        "_validation_name",
        "commands",
        "content_types",
        "has_mime_version",
        "validated",
    )

    def __init__(self, validation_name: bytes | None) -> None:
        self._validation_name = validation_name
        self._for_scan: list[bytes] = []
        self._unfolded: list[bytes] = []
        self._pristine: list[bytes] = []
        self.commands: list[bytes] = []
        self.content_types = 0
        self.has_mime_version = False
        self.validated = False

    def add(self, name: bytes, value: bytes) -> None:
        """Takes the next field as the MTA gave it, without the blank behind its colon."""
        field = b"%b: %b\n" % (name, value)
        self._pristine.append(field)
        unfolded = field
        if b"\n" in value or b"\r" in value:
            field, unfolded = self._clean(name, value)
        lower = name.lower()
        if lower == _CONTENT_TYPE:
            self.content_types += 1
            # A second one is an old trick: filter and reader would each believe another.
            if self.content_types > 1:
                return
        elif lower == b"mime-version":
            self.has_mime_version = True
        elif lower in _NOTED:
            self.commands.append(encode_line(_NOTED[lower], unfolded[len(name) + 2 : -1]))
        elif name == self._validation_name:
            self._validate(value)
        self._for_scan.append(field)
        self._unfolded.append(unfolded)

    def _clean(self, name: bytes, value: bytes) -> tuple[bytes, bytes]:
        """A field with line ends or carriage returns inside: for INPUTMSG, and on one line for HEADERS."""
        folded = value.replace(b"\r\n", b"\n")
        if b"\r" in folded:
            self.commands.append(_SUSPICIOUS)
            folded = folded.replace(b"\r", b" ")
        return b"%b: %b\n" % (name, folded), b"%b: %b\n" % (name, value.translate(None, b"\r\n"))

    def _validate(self, value: bytes) -> None:
        ip = relayed_ip(value)
        if ip is not None:
            self.validated = True
            self.commands.append(encode_line(Letter.RELAYED_IP, ip))

    def for_scan(self) -> bytes:
        """The header as INPUTMSG has it: folded, line ends LF, only the first Content-Type."""
        return b"".join(self._for_scan)

    def unfolded(self) -> bytes:
        """The header as HEADERS has it: as in INPUTMSG, but one line a field."""
        return b"".join(self._unfolded)

    def pristine(self) -> bytes:
        """The header as PRISTINE_HEADERS has it: all fields, untouched but for LF behind each."""
        return b"".join(self._pristine)
