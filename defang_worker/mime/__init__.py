# SPDX-License-Identifier: GPL-3.0-or-later
"""The MIME engine: bytes to a tree of entities, and back with as few bytes changed as possible.

Knows no filter and no wire. These are its public names; see `parse.py` for reading, `tree.py` for what a
part can be asked, `rebuild.py` for changing a message, `compose.py` for new parts. `archives.py` (names in
zips) is imported by itself: it takes modules that a worker whose filter needs none should not load.
"""

from defang_worker.mime.compose import entity, text_entity
from defang_worker.mime.fields import StructuredField, decode_words, parse_field
from defang_worker.mime.filenames import canonical
from defang_worker.mime.headers import Buffer, Field, Headers
from defang_worker.mime.output import HeaderChange, Piece, Rebuilt
from defang_worker.mime.parse import parse
from defang_worker.mime.rebuild import Rebuild
from defang_worker.mime.tree import Entity, Limits, Tree

__all__ = [
    "Buffer",
    "Entity",
    "Field",
    "HeaderChange",
    "Headers",
    "Limits",
    "Piece",
    "Rebuild",
    "Rebuilt",
    "StructuredField",
    "Tree",
    "canonical",
    "decode_words",
    "entity",
    "parse",
    "parse_field",
    "text_entity",
]
