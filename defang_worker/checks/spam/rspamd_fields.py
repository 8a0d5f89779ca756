# SPDX-License-Identifier: GPL-3.0-or-later
"""What rspamd is told of connection and envelope beside the message: fields of the HTTP request, as its milter sends
them (rspamd's documentation, "Protocol").

Pure.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from defang_worker.api.message import Message

__all__ = ["envelope_fields", "field"]

_CONTROL: Final = re.compile(rb"[\0-\x1f\x7f]+")
# Macros of either mail server, and the field that each goes into; of two for one the first that is there.
_MACROS: Final = (
    ("auth_authen", "User"),
    ("tls_version", "TLS-Version"),
    ("cipher", "TLS-Cipher"),
    ("cert_issuer", "TLS-Cert-Issuer"),
    ("daemon_name", "MTA-Name"),
    ("j", "MTA-Name"),
)


def envelope_fields(message: Message) -> list[tuple[str, bytes]]:
    """The fields; what is not known is left out, for rspamd takes an empty field for a known empty value."""
    envelope = message.envelope
    macros = envelope.macros
    # A name in brackets is the address once more, of a client whose address does not resolve.
    hostname = "" if envelope.client_name.startswith("[") else envelope.client_name
    found = [
        ("IP", envelope.client_ip),
        ("Hostname", hostname),
        ("Helo", envelope.helo),
        ("From", envelope.sender.bracketed),
        *(("Rcpt", recipient.address.bracketed) for recipient in envelope.recipients),
        ("Queue-Id", envelope.queue_id or ""),
    ]
    told: set[str] = set()
    for macro, name in _MACROS:
        if name not in told and macros.get(macro):
            told.add(name)
            found.append((name, macros[macro]))
    # What is to be added to the header comes with LF at its folds then.
    found.append(("Milter", "Yes"))
    return [field(name, value) for name, value in found if value]


def field(name: str, value: str) -> tuple[str, bytes]:
    """A field of the request, without what would end it."""
    return name, _CONTROL.sub(b" ", value.encode("utf-8", "surrogateescape"))
