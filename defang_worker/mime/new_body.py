# SPDX-License-Identifier: GPL-3.0-or-later
"""An entity with another body: its header as it came, but for a transfer encoding that the new bytes need.

For `boilerplate.py` and for parts that a program has gone over. Takes an entity, gives a new one as bytes for
`Rebuild.replace`.
"""

from typing import Final

from defang_worker.mime.compose import encode_base64, quoted_printable, text_encoding
from defang_worker.mime.header_edit import FieldChanges, header_with
from defang_worker.mime.tree import Entity

PLAIN: Final = frozenset({"7bit", "8bit", "binary"})
"""The transfer encodings that change nothing."""


def with_body(
    entity: Entity,
    body: bytes,
    newline: bytes,
    *,
    eight_bit: bool = False,
    content_only: bool = False,
    changes: FieldChanges | None = None,
) -> bytes:
    """Return `entity` with the decoded body `body`, in its own transfer encoding if that will do.

    With `content_only` the new entity has Content-* fields only, for it stands for a message's content; `changes` are
    made to its header.
    """
    encoding = entity.transfer_encoding
    if encoding in PLAIN:
        # Only the message's own line ends get through unencoded.
        is_odd = b"\r" in (body if newline == b"\n" else body.replace(newline, b""))
        encoding = "base64" if is_odd else text_encoding(body, eight_bit=eight_bit or encoding != "7bit")
    elif encoding not in {"base64", "quoted-printable"}:  # one that nobody can decode
        encoding = "base64"
    if encoding == "base64":
        body = encode_base64(body, newline)
    elif encoding == "quoted-printable":
        body = quoted_printable(body, newline)
    if encoding != entity.transfer_encoding:
        changes = {**(changes or {}), "Content-Transfer-Encoding": encoding}
    return header_with(entity, changes or {}, newline, content_only=content_only) + newline + body
