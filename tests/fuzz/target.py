# SPDX-License-Identifier: GPL-3.0-or-later
"""What holds for any bytes whatsoever: `check`, for the fuzzer and for the tests of its corpus.

The first byte chooses what is checked, so that the fuzzer learns one thing at a time; the others are the input.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from defang_worker.mime import Rebuild, binhex, canonical, damage, parse, smime, tnef, uuencode, yenc
from defang_worker.mime.archives import ArchiveLimits, Budget
from defang_worker.mime.decode import decode_body
from defang_worker.mime.defects import DEFECTS
from defang_worker.mime.views import examine
from defang_worker.structure.command import as_object
from defang_worker.structure.describe import describe
from defang_worker.structure.drawing import draw

if TYPE_CHECKING:
    from collections.abc import Callable


def check_message(data: bytes) -> None:
    """A message is parsed, examined and, if nothing was changed, rebuilt to what it was."""
    tree = parse(data)
    for entity in tree.walk():
        assert 0 <= entity.start <= entity.header_end <= entity.body_start <= entity.end
        assert all(canonical(name) == canonical(canonical(name)) for name in entity.filenames)
        assert isinstance(entity.text, str)
    rebuilt = Rebuild(tree).result().to_bytes()
    assert data[: tree.root.body_start] + rebuilt == data
    examination = examine(tree)
    assert all(defect.name in DEFECTS and defect.detail.isascii() for defect in examination.defects)
    assert all(isinstance(shadow.text, str) for shadow in examination.shadows)


def check_structure(data: bytes) -> None:
    """A message is shown, as JSON and to people, without a character that a terminal would obey."""
    facts = describe(data)
    json.dumps(as_object("message", facts))
    assert all(line.isprintable() for line in draw("message", facts, is_coloured=False))


def check_encodings(data: bytes) -> None:
    """Encoded bodies are decoded, and their damage has names."""
    for encoding in ("base64", "quoted-printable", "uuencode"):
        usual = decode_body(data, encoding)
        found = damage.damages(data, encoding)
        assert all(one.name in DEFECTS and 0 <= one.offset <= len(data) for one in found)
        assert all(reading.content for reading in damage.other_readings(data, encoding, usual, found))
    assert damage.irregularities(data, 0, len(data)) == damage.damages(data, "base64")
    damage.looks_like_base64(data)


def check_embedded(data: bytes) -> None:
    """Files inside a content lie inside it, and what S/MIME carries is found or a fault is named."""
    for module in (uuencode, yenc, binhex, tnef):
        for file in module.embedded_files(data):
            assert 0 <= file.start <= file.end <= len(data)
    for is_called_so, content_type in ((True, "application/pkcs7-mime"), (False, "")):
        budget = Budget(ArchiveLimits())
        found = smime.look_into(data, budget, is_called_so=is_called_so, content_type=content_type)
        assert found.defect in {"", *DEFECTS}
        assert found.incomplete is None or is_called_so
        assert len(found.content or b"") <= max(len(data), ArchiveLimits().max_expanded_bytes)


CHECKS: Final[tuple[Callable[[bytes], None], ...]] = (check_message, check_structure, check_encodings, check_embedded)


def check(data: bytes) -> None:
    """Raise if something that must hold for any bytes does not hold for these."""
    if data:
        CHECKS[data[0] % len(CHECKS)](data[1:])
