# SPDX-License-Identifier: GPL-3.0-or-later
"""The entries of a quarantine, read from disk: which there are, what is known of each.

Nothing in an entry is believed beyond its text: names lead nowhere else, and links are not followed.
"""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from defang_worker.mime.fields import decode_words

if TYPE_CHECKING:
    from collections.abc import Iterator

RELEASED_FILE: Final = "RELEASED"
"""In an entry that was released: a JSON object a line for each time, with `time`, `to` and `how`."""
ENTIRE: Final = "ENTIRE_MESSAGE"

_HOUR: Final = re.compile(r"\d{4}-\d\d-\d\d-\d\d")
_NAME: Final = re.compile(r"qdir-(\d{4}-\d\d-\d\d-\d\d\.\d\d\.\d\d)-\d{3,}")
_FILE: Final = re.compile(r"[A-Z][A-Z0-9._-]*|meta\.json")
_PART: Final = re.compile(r"PART\.(\d+)\.BODY")
_TIME_FORMAT: Final = "%Y-%m-%d-%H.%M.%S"
_MAX_TEXT_BYTES: Final = 4 * 1024 * 1024


class NoEntry(Exception):
    """There is no such entry, or no such file in it; the text tells."""


@dataclass(frozen=True)
class Entry:
    """One directory of the quarantine; facts are read when they are first asked for."""

    path: str

    @property
    def name(self) -> str:
        """The directory's name without its path."""
        return os.path.basename(self.path)  # noqa: PTH119

    @cached_property
    def time(self) -> datetime:
        """When it was made, by its name, with a time zone."""
        match = _NAME.fullmatch(self.name)
        assert match is not None
        return datetime.strptime(match[1], _TIME_FORMAT).astimezone()

    @cached_property
    def files(self) -> frozenset[str]:
        """The names of its files."""
        return frozenset(name for name in os.listdir(self.path) if _FILE.fullmatch(name))  # noqa: PTH208

    def read(self, name: str, limit: int = -1) -> bytes:
        """The content of a file; raises NoEntry if it has none of that name, and OSError."""
        if name not in self.files:
            raise NoEntry(f"{self.name} has no {name}; it has {', '.join(sorted(self.files))}")
        descriptor = os.open(f"{self.path}/{name}", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        with open(descriptor, "rb") as file:  # noqa: PTH123
            return file.read(limit)

    def lines(self, name: str) -> list[str]:
        """The lines of a text file; none if it is missing."""
        if name not in self.files:
            return []
        return self.read(name, _MAX_TEXT_BYTES).decode("utf-8", "surrogateescape").splitlines()

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What meta.json says, or what can be had from the files beside it, under the same names."""
        facts: dict[str, Any] = {}
        if "meta.json" in self.files:
            facts = _object(self.read("meta.json", _MAX_TEXT_BYTES))
        numbers = sorted(int(match[1]) for match in map(_PART.fullmatch, self.files) if match)
        parts = [{"file": f"PART.{n}.BODY", "reason": "\n".join(self.lines(f"MSG.{n}"))} for n in numbers]
        usual = {
            "time": self.time.isoformat(),
            "queue_id": "".join(self.lines("SENDMAIL-QID") or self.lines("MTA-QID")),
            "sender": _bare("".join(self.lines("SENDER"))),
            "sender_args": [],
            "recipients": [_bare(line) for line in self.lines("RECIPIENTS")],
            "subject": self._subject(),
            "reasons": [*self.lines("MSG.0"), *(part["reason"] for part in parts)],
            "parts": parts,
            "verdict": "",
            "relay": {},
        }
        known = {name: value for name, value in facts.items() if _is_alike(name, value, usual.get(name, value))}
        return {**usual, **known, "entire": ENTIRE in self.files}

    @property
    def released(self) -> list[dict[str, Any]]:
        """Each time that it was released; of a line that is damaged, as a full disk leaves one, only that it was."""
        return [_object(line) or {"time": "an unknown time"} for line in self.lines(RELEASED_FILE)]

    def _subject(self) -> str:
        for line in self.lines("HEADERS"):
            name, _, value = line.partition(":")
            if name.lower() == "subject":
                return decode_words(value.strip().encode("utf-8", "surrogateescape"))
        return ""


def _object(raw: str | bytes) -> dict[str, Any]:
    """The JSON object; an empty one for what is none."""
    with suppress(ValueError, RecursionError):
        told = json.loads(raw)
        return told if isinstance(told, dict) else {}
    return {}


def _is_alike(name: str, value: object, usual: object) -> bool:
    """Whether a fact is of the usual one's type; lists are of texts, but for the one of parts."""
    if type(value) is not type(usual):
        return False
    kind = dict if name == "parts" else str
    return not isinstance(value, list) or all(isinstance(one, kind) for one in value)


def _bare(address: str) -> str:
    return address.strip().removeprefix("<").removesuffix(">")


def entries(directory: str) -> Iterator[Entry]:
    """All entries, the oldest first. Raises OSError if there is no such quarantine."""
    for hour in sorted(filter(_HOUR.fullmatch, os.listdir(directory))):  # noqa: PTH208
        with suppress(FileNotFoundError, NotADirectoryError):
            for name in sorted(filter(_NAME.fullmatch, os.listdir(f"{directory}/{hour}"))):  # noqa: PTH208
                yield Entry(f"{directory}/{hour}/{name}")


def entry(directory: str, given: str) -> Entry:
    """The entry of that name, or of that path within the quarantine; raises NoEntry."""
    name = os.path.basename(given.rstrip("/"))  # noqa: PTH119
    if not _NAME.fullmatch(name):
        raise NoEntry(f"{given!r} is no entry's name; they look like qdir-2026-01-31-12.00.00-001")
    found = f"{directory}/{name.removeprefix('qdir-')[:13]}/{name}"
    if not os.path.isdir(found):  # noqa: PTH112
        raise NoEntry(f"{given}: there is none in {directory}")
    return Entry(found)
