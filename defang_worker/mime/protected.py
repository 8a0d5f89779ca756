# SPDX-License-Identifier: GPL-3.0-or-later
"""Signed and encrypted parts: which they are, and what stands inside of one.

Changing a byte there breaks a signature or a ciphertext, so a rebuild leaves them alone or removes them whole.
Asked by `rebuild.py`, `canonical_rebuild.py`, `boilerplate.py`, `signatures.py` and the filter's parts.
"""

from typing import Final

from defang_worker.mime.tree import Entity

# RFC 1847 for the multiparts; RFC 8551 section 3 and its forerunner's spelling for the leaves.
_CONTAINERS: Final = frozenset({"multipart/signed", "multipart/encrypted"})
_LEAVES: Final = frozenset({"application/pkcs7-mime", "application/x-pkcs7-mime"})


class EditRefused(Exception):
    """What was asked for would change a signed or encrypted part from within; the text says which."""


def is_protected(entity: Entity) -> bool:
    """True for a signed or encrypted part itself."""
    return entity.content_type in _CONTAINERS or entity.content_type in _LEAVES


def protects_shadow(host: Entity) -> bool:
    """True for the host of shadow parts that stand in a signed or encrypted part, be it the host itself."""
    return host.content_type in _LEAVES or protector(host) is not None


def protector(entity: Entity) -> Entity | None:
    """Return the outermost signed or encrypted container that `entity` stands in, or None."""
    found = None
    while entity.parent is not None:
        entity = entity.parent
        if entity.content_type in _CONTAINERS:
            found = entity
    return found
