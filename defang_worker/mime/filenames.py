# SPDX-License-Identifier: GPL-3.0-or-later
"""The names under which a part may reach a user's disk.

A part has a set of names, not a name: every value of `filename` and `name` that any reading of its
fields yields. A rule must hold for each of them, as decoded and in canonical form.
"""

import re
import unicodedata
from collections.abc import Iterable
from typing import Final

from defang_worker.mime.fields import StructuredField

_DRIVE: Final = re.compile(r"[A-Za-z]:")
_BLANKS: Final = re.compile(r"\s+")
_ASCII_CONTROLS: Final = dict.fromkeys([*range(0x20), 0x7F]) | {0x09: " "}


def canonical(name: str) -> str:
    """Return `name` as file systems and users will take it, for matching and comparing.

    Compatibility forms folded, control and format characters out, last path component only, no drive,
    stream or blanks at the ends, no dots at the end, small letters. May be empty.
    """
    if name.isascii():
        text = name.translate(_ASCII_CONTROLS)
    else:
        text = unicodedata.normalize("NFKC", name).replace("\t", " ")
        text = "".join(char for char in text if unicodedata.category(char) not in {"Cc", "Cf"})
    text = text.replace("\\", "/").rstrip("/ ").rpartition("/")[2].strip()
    if _DRIVE.match(text):
        text = text[2:]
    text = _BLANKS.sub(" ", text.partition(":")[0]).strip().rstrip(". ")
    return unicodedata.normalize("NFC", text).lower()


def all_names(spelled: Iterable[str]) -> tuple[str, ...]:
    """Return the names as spelled, then their canonical forms as far as they say something else.

    A name with a NUL in it also counts up to there, for that is where some programs cut it.
    """
    names = [name for name in dict.fromkeys(spelled) if name.strip()]
    known = {name.lower() for name in names}
    forms: list[str] = []
    for name in names:
        for text in (name, name.partition("\0")[0]) if "\0" in name else (name,):
            form = canonical(text)
            if form and form not in known:
                known.add(form)
                forms.append(form)
    return (*names, *forms)


def spelled_names(dispositions: list[StructuredField], types: list[StructuredField]) -> list[str]:
    """Return all candidate names of an entity with these Content-Disposition and Content-Type fields.

    Clients prefer the disposition's, so it comes first; the parameters also count in the wrong field.
    """
    names: list[str] = []
    for fields, parameter in ((dispositions, "filename"), (types, "name"), (dispositions, "name"), (types, "filename")):
        for field in fields:
            names += field.texts(parameter)
    return names


def extension(name: str) -> str:
    """Return the last dot of the name's canonical form and what follows it, or an empty string."""
    form = canonical(name)
    dot = form.rfind(".")
    return form[dot:] if dot >= 0 else ""
