# SPDX-License-Identifier: GPL-3.0-or-later
"""A file inside the content of a leaf: uuencoded, yEnc or BinHex in text, an attachment in winmail.dat.

The value only. Each format's module (`uuencode`, `yenc`, `binhex`, `tnef`) has a function
`embedded_files(content: bytes) -> Iterator[EmbeddedFile]`, which never raises on any bytes.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EmbeddedFile:
    """One file and where it was found."""

    kind: str
    """ "uuencode", "yenc", "binhex", "tnef": also the name of the view that has the file as a part."""
    names: tuple[str, ...]
    """Every spelling of its name, as stored."""
    content: bytes
    start: int
    """Offset in the leaf's decoded content."""
    end: int
