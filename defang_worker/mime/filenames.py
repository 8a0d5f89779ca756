# SPDX-License-Identifier: GPL-3.0-or-later
"""The names under which a part may reach a user's disk.

A part has a set of names, not a name: every value of `filename` and `name` that any reading of its
fields yields. A rule must hold for each of them, as decoded and in canonical form.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Final

from defang_worker.mime.charsets import guess_text
from defang_worker.mime.fields import decode_words, unpercent
from defang_worker.mime.readings import texts

if TYPE_CHECKING:
    from collections.abc import Iterable

    from defang_worker.mime.headers import Headers

_DRIVE: Final = re.compile(r"[A-Za-z]:")
_COLON: Final = re.compile(r":[^:/\\]*$")
_BLANKS: Final = re.compile(r"\s+")
_FOLDED_BLANKS: Final = re.compile(rb"\s+")
_QUERY: Final = re.compile(r"[?#].*", re.DOTALL)
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
        if not text.isprintable():  # which controls and format characters are not
            text = "".join(char for char in text if unicodedata.category(char) not in {"Cc", "Cf"})
    text = text.replace("\\", "/").rstrip("/ ").rpartition("/")[2].strip()
    if _DRIVE.match(text):
        text = text[2:]
    if text[:1] == ":":
        text = "_" + text[1:]  # a stream of no file; on saving, mail clients write this
    text = _BLANKS.sub(" ", text.partition(":")[0]).strip().rstrip(". ")
    return unicodedata.normalize("NFC", text).lower()


def all_names(spelled: Iterable[str]) -> tuple[str, ...]:
    """Return the names as spelled, then their canonical forms as far as they say something else.

    A name with a NUL in it also counts up to there, for that is where some programs cut it; one with a colon also
    with the underscore that others write for it.
    """
    names = [name for name in dict.fromkeys(with_savable(spelled)) if name.strip()]
    known = {name.lower() for name in names}
    forms: list[str] = []
    for name in names:
        for text in (name, name.partition("\0")[0]) if "\0" in name else (name,):
            form = canonical(text)
            if form and form not in known:
                known.add(form)
                forms.append(form)
    return (*names, *forms)


def with_savable(names: Iterable[str]) -> list[str]:
    """Return the names, and again those with a colon behind their path, with what mail clients save in its place."""
    found = list(names)
    return found + [name.replace(":", "_") for name in found if ":" in name and _COLON.search(name)]


def spelled_names(headers: Headers) -> list[str]:
    """Return all candidate names that an entity's Content-Disposition and Content-Type fields give.

    Clients prefer the disposition's, so it comes first; the parameters also count in the wrong field. Only where
    neither field names anything does the last part of a Content-Location count.
    """
    return names_of(
        headers.raw_values(b"content-disposition"),
        headers.raw_values(b"content-type"),
        headers.raw_values(b"content-location"),
    )


def names_of(dispositions: list[bytes], types: list[bytes], locations: list[bytes]) -> list[str]:
    """Return all candidate names that these field values give, folds and all."""
    names: list[str] = []
    for values, parameter in ((dispositions, "filename"), (types, "name"), (dispositions, "name"), (types, "filename")):
        for value in values:
            if b"name" in value.lower():
                names += texts(value, parameter)
    return with_savable(names) or [name for value in locations for name in location_names(value)]


def location_names(value: bytes) -> list[str]:
    """Return the file name in a Content-Location value, if its last part has a dot in it."""
    text = decode_words(_FOLDED_BLANKS.sub(b"", value)).strip("<>\"' ")
    path = _QUERY.sub("", text)
    name = path.rstrip("/").rpartition("/")[2]
    if "://" in path and path.count("/") < 3:
        return []
    decoded = guess_text(unpercent(name.encode("utf-8", "replace")))
    return list(dict.fromkeys([decoded, name])) if "." in decoded and "@" not in decoded else []


def extension(name: str) -> str:
    """Return the last dot of the name's canonical form and what follows it, or an empty string."""
    form = canonical(name)
    dot = form.rfind(".")
    return form[dot:] if dot >= 0 else ""
