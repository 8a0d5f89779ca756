# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with a file name, as decoded, and with the names of one part beside one another."""

import re
import unicodedata
from collections.abc import Iterator
from typing import Final

from defang_worker.mime.fields import Parameter, parameter_texts
from defang_worker.mime.filenames import canonical
from defang_worker.mime.readings import usual_parameters

# File systems take 255 bytes (ext4, APFS) or 255 UTF-16 units (NTFS).
_MAX_NAME_BYTES: Final = 255
_TRAILING_JUNK: Final = re.compile(r"\.[^.\s/\\]+[.\s]+$")
_BIDI: Final = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_STREAM: Final = re.compile(r"(?:^|[/\\])\s*:|\.[^:/\\]*:[^\s/\\]|\.\{[^}]+\}\s*$")
_DRIVE: Final = re.compile(r"[A-Za-z]:")
_DOUBLE_EXTENSION: Final = re.compile(
    r"\.(?:pdf|docx?|xlsx?|pptx?|txt|rtf|jpe?g|gif|png|bmp|html?|zip|mp[34]|csv|xml)[\s_]*"
    r"\.(?:exe|scr|pif|com|bat|cmd|vb[se]?|jse?|ws[fh]?|hta|lnk|cpl|msi|ps1|jar|reg|chm|dll)$",
    re.IGNORECASE,
)
_FULL_WIDTH_DOT: Final = re.compile("[\uff0e\u2024\ufe52]")
_COMPATIBLE: Final = re.compile("[\uff01-\uff5e\u2024\ufe52\U0001d400-\U0001d7ff]")
_INVISIBLE: Final = re.compile("[\u00ad\u034f\u180e\u200b\u2060-\u2064\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]")
_JOINER_AT_ASCII: Final = re.compile("[\x21-\x7e][\u200c\u200d]|[\u200c\u200d][\x21-\x7e]")


def name_findings(name: str) -> Iterator[str]:
    """Yield the names of the defects of a file name."""
    if not name.isprintable() or not name.isascii():
        yield from _odd_characters(name)
    if _TRAILING_JUNK.search(name):
        yield "name-trailing-junk"
    if "/" in name or "\\" in name or _DRIVE.match(name):
        yield "name-path-separator"
    if (":" in name or "{" in name) and _STREAM.search(name):
        yield "name-stream-or-clsid"
    if name.count(".") > 1 and _DOUBLE_EXTENSION.search(canonical(name)):
        yield "name-double-extension"
    if len(name) > _MAX_NAME_BYTES // 4 and len(canonical(name).encode("utf-8", "replace")) > _MAX_NAME_BYTES:
        yield "name-too-long"


def _odd_characters(name: str) -> Iterator[str]:
    if not name.isprintable() and any(unicodedata.category(char) == "Cc" and char != "\t" for char in name):
        yield "name-control-character"
    if _BIDI.search(name):
        yield "name-bidi-override"
    if _INVISIBLE.search(name) or _JOINER_AT_ASCII.search(name) or _is_confusable(name):
        yield "name-confusable"


def _is_confusable(name: str) -> bool:
    """Tell whether compatibility forms make the dot, the extension, or all of a name that is ASCII to the eye."""
    if not _COMPATIBLE.search(name):
        return False
    folded = unicodedata.normalize("NFKC", name)
    # Japanese names have full-width letters among others, as a matter of course.
    return bool(_FULL_WIDTH_DOT.search(name)) or folded.isascii() or bool(_COMPATIBLE.search(name.rpartition(".")[2]))


def conflicting_names(dispositions: list[bytes], types: list[bytes]) -> bool:
    """Tell whether the fields of one part name the file differently, each parameter read as usual."""
    groups: list[tuple[list[Parameter], str]] = []
    for values, name in ((dispositions, "filename"), (types, "name")):
        for raw in values:
            parameters = usual_parameters(raw)
            groups += (
                ([parameter for parameter in parameters if parameter.name == name], name),
                ([parameter for parameter in parameters if parameter.name.startswith(f"{name}*")], name),
            )
    written = {(parameter.name == name, parameter.value) for group, name in groups for parameter in group}
    if len(written) == 1 and all(is_plain for is_plain, _ in written):
        return False  # the same words twice, as most senders have it
    return len({canonical(text) for group, name in groups for text in parameter_texts(group, name)[:1]}) > 1
