# SPDX-License-Identifier: GPL-3.0-or-later
"""S/MIME (RFC 8551) whose content can be read without a key: signed with the text inside, compressed, or both.

`look_into` takes off all layers. Mail clients show what is within, and programs for signed documents save it as a file,
so `body_checks.py` has it read as an entity, as a file, or both. `cms.py` has the format.
"""

import re
import zlib
from typing import Final, NamedTuple

from defang_worker.mime import cms
from defang_worker.mime.archives.model import ArchiveError, ArchiveLimitError, Budget
from defang_worker.mime.archives.unpack import inflate
from defang_worker.mime.contents import begins_cms, is_smime_type
from defang_worker.mime.decode import decode_body

# Signed, encrypted and signed again is what RFC 8551 section 3.7 has in mind.
_MAX_LAYERS: Final = 10
# The first bytes of CMS in base64, as some programs store what they signed, with or without the lines of PEM around.
_IN_BASE64: Final = re.compile(rb"\s*(?=M[A-I])")
# Programs pass over what stands before PEM (RFC 7468 section 2).
_IN_PEM: Final = re.compile(rb"(?<!\S)-----BEGIN [^\n-]{1,40}-----[ \t]*\r?\n\s*(?=M[A-I])")
_FIELD: Final = re.compile(rb"[A-Za-z][A-Za-z0-9-]*[ \t]*:")
_MIME_FIELD: Final = re.compile(
    rb"(?im)^[\x00-\t\x0b-\x20\x7f-\xff]{0,9}content-(?:type|disposition|transfer-encoding)[ \t]*:"
)
# A header begins in these if one does.
_HEADER_BYTES: Final = 64 * 1024
_ENDING: Final = re.compile(r"(?:\.p7[mz])+[. ]*$", re.IGNORECASE)

READABLE: Final = "smime-content"
ENCRYPTED: Final = "smime-encrypted"
UNREADABLE: Final = "smime-unreadable"
"""Defects. The last is also what keeps a message from being examined completely; or that is the next one."""
TOO_LARGE: Final = "smime-size"


class Found(NamedTuple):
    """What a content that is S/MIME, or is called so, comes down to."""

    content: bytes | None = None
    """What is within; None if there is nothing, or it is secret."""
    defect: str = ""
    """The defect that tells of it; none of a signature alone, or of certificates."""
    detail: str = ""
    incomplete: str | None = None
    """Why not all can be seen of what a mail client might show."""


def look_into(data: bytes, budget: Budget, *, is_called_so: bool, content_type: str) -> Found:
    """Return what is within `data`; what expands shares the room of `budget` with archives."""
    if is_called_so and not begins_cms(data) and (armor := _armor(data)):
        data = decode_body(data[armor.end() :], "base64")
    kind: cms.Kind | None = None
    for _ in range(_MAX_LAYERS):
        layer = cms.read_layer(data, kind)
        if layer is None:
            return _no_smime(content_type) if is_called_so else Found()
        if layer.kind in cms.SECRET:
            return Found(defect=ENCRYPTED, detail=layer.kind)
        content, fault = layer.content, None if layer.is_whole else UNREADABLE
        if content is not None and layer.kind is cms.Kind.COMPRESSED:
            content, unpacking = _expanded(content, budget)
            fault = fault or unpacking
        if fault is not None and is_called_so:
            detail = "expands to more than is allowed" if fault is TOO_LARGE else "damaged"
            return Found(content, UNREADABLE, detail, fault)
        if content is None:
            return Found()
        if layer.inner in {None, cms.Kind.DATA}:
            return Found(content, READABLE, layer.kind)
        data, kind = content, layer.inner
    return Found(data, UNREADABLE, f"more than {_MAX_LAYERS} layers", UNREADABLE)


def _armor(data: bytes) -> re.Match[bytes] | None:
    """Return what stands before CMS in base64."""
    return _IN_PEM.search(data, 0, _HEADER_BYTES) or _IN_BASE64.match(data)


def begins_entity(content: bytes) -> bool:
    """Tell whether a mail client would take what is within for a header and a body; it is a file otherwise."""
    return _FIELD.match(content) is not None


def has_header(content: bytes) -> bool:
    """Tell whether who shows it as an entity, by type or name, finds its header behind whatever comes first."""
    return _MIME_FIELD.search(content, 0, _HEADER_BYTES) is not None


def inner_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names that programs for signed documents save the content under: `bill.xml` of `bill.xml.p7m`."""
    return tuple(dict.fromkeys(_ENDING.sub("", name) for name in names))


def _no_smime(content_type: str) -> Found:
    # A mail client goes by the type, and may find more in it; files have their names from anybody.
    incomplete = UNREADABLE if is_smime_type(content_type) else None
    return Found(defect=UNREADABLE, detail="no CMS", incomplete=incomplete)


def _expanded(packed: bytes, budget: Budget) -> tuple[bytes, str | None]:
    """Return what zlib packed, as far as that can and may be unpacked, and None or what it failed by."""
    view = memoryview(packed)
    try:
        return budget.expand(lambda size: inflate(view, size, zlib.MAX_WBITS), len(packed), budget.archives), None
    except ArchiveLimitError as error:
        return error.partial, TOO_LARGE
    except ArchiveError as error:
        return error.partial, UNREADABLE
