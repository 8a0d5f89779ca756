# SPDX-License-Identifier: GPL-3.0-or-later
"""`MethodResult`: what one method of authentication found, and `field_value`, the Authentication-Results of several
(RFC 8601). Pure.

Results of checks tell theirs by `authentication_results`. Most values come from strangers: here they are quoted.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

if TYPE_CHECKING:
    from defang_worker.api.envelope import Envelope

__all__ = ["MethodResult", "TellsAuthentication", "a_labels", "field_value", "written_value"]

# RFC 2045's token, or an address. RFC 8601, section 2.2, has local parts in quotes of their own, too, but there are
# readers to whom these break the whole field; quotes around all of it they understand.
_PLAIN: Final = re.compile(r"[!#$%&'*+\-.0-9A-Z^_`a-z{|}~]+|[!#$%&'*+\-.0-9A-Z^_`a-z{|}~]*@[0-9A-Za-z.\-]+")
# A local part may have quotes of its own, as MAIL has it.
_QUOTED: Final = re.compile(r'"((?:[ !#-\[\]-~]|\\[ -~])*)"')
# RFC 8601, section 2.2: ptype and property are keywords.
_PROPERTY: Final = re.compile(r"[a-z][a-z0-9-]*\.[a-z][a-z0-9-]*")
_KEYWORD: Final = re.compile(r"[a-z][a-z0-9-]*")
# Within quotes these are allowed, escaped if need be. But there are readers that know of no escape, or that look for
# semicolons and comments first: to them a stranger's address would be the end of its result, and the next one. Others
# look for "dkim=pass" anywhere.
_UNSAFE: Final = re.compile(r'[^ -~]|["\\;()]|=(?= *pass)', re.IGNORECASE)
# The longest address: 64 of the local part (RFC 5321, section 4.5.3.1.1), 255 of the domain. What is longer is nothing
# that was verified, and a part of it could read as something else.
_MAX_VALUE_CHARS: Final = 320
# What is to be told to people.
_MAX_TEXT_CHARS: Final = 120
# RFC 5322, section 2.1.1.
_LINE_CHARS: Final = 78
# A line of RESULTS has 16 KB, and every character may take three bytes there.
_MAX_FIELD_CHARS: Final = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodResult:
    """One of the results that an Authentication-Results field has. Raises ValueError for words that are none."""

    method: str
    """Such as "spf"."""
    result: str
    """The method's own word, such as "pass"."""
    reason: str = ""
    """Why, for programs that look into it."""
    comment: str = ""
    """For people."""
    properties: tuple[tuple[str, str], ...] = ()
    """What was looked at: ("smtp.mailfrom", "joe@example.com"). Any text may be a value; empty ones are left out."""

    def __post_init__(self) -> None:
        for word in (self.method, self.result):
            if not _KEYWORD.fullmatch(word):
                raise ValueError(f"no word of a method: {word!r:.100}")
        for name, _ in self.properties:
            if not _PROPERTY.fullmatch(name):
                raise ValueError(f"no property, such as smtp.mailfrom: {name!r:.100}")

    def pieces(self) -> list[str]:
        """As the field has it, in pieces between which it may be folded."""
        found = [f"{self.method}={self.result}"]
        if self.comment:
            found.append(f"({_shown(self.comment)})")
        if self.reason:
            found.append(f'reason="{_shown(self.reason)}"')
        found += [
            f"{name}={written_value(value)}" for name, value in self.properties if 0 < len(value) <= _MAX_VALUE_CHARS
        ]
        return found


@runtime_checkable
class TellsAuthentication(Protocol):
    """A check's result that has something for Authentication-Results."""

    def authentication_results(self, envelope: Envelope) -> Sequence[MethodResult]:
        """What it found about a message of this envelope."""


def _shown(text: str) -> str:
    """Text for a comment or a quoted string that needs no quoting."""
    return _UNSAFE.sub("'", text)[:_MAX_TEXT_CHARS]


def a_labels(domain: str) -> str:
    """A domain with its A-labels, in which alone a field of ASCII can have it; as it is if it has none."""
    if domain.isascii():
        return domain
    try:
        return domain.encode("idna").decode("ascii")
    except UnicodeError:
        return domain


def written_value(value: str) -> str:
    """A value as the field has it, quoted where it has to be; what could mislead a reader is a question mark."""
    local, at, domain = value.rpartition("@")
    if quoted := _QUOTED.fullmatch(local):
        local = re.sub(r"\\(.)", r"\1", quoted[1])
    text = _UNSAFE.sub("?", f"{local}{at}{a_labels(domain)}")
    return text if _PLAIN.fullmatch(text) else f'"{text}"'


def field_value(authserv_id: str, results: Sequence[MethodResult]) -> str:
    """The value of the field, folded; each result once, and "none" without any.

    What would make it longer than a few thousand characters is left out: of the method that has the most results, and
    of those what passed last. A sender with many signatures is not to crowd out what DMARC found.
    """
    told_once = list(dict.fromkeys(results))
    parts = [_folded(one.pieces()) for one in told_once]
    counts = Counter(one.method for one in told_once)
    ranks = [(counts[one.method], one.result != "pass") for one in told_once]
    left = _MAX_FIELD_CHARS
    kept = set()
    for number in sorted(range(len(parts)), key=ranks.__getitem__):
        left -= len(parts[number])
        if left >= 0:
            kept.add(number)
    told = [part for number, part in enumerate(parts) if number in kept] or ["\n none"]
    return written_value(authserv_id) + "".join(f";{part}" for part in told)


def _folded(pieces: Sequence[str]) -> str:
    """On lines of their own, as short as can be."""
    lines = [f" {pieces[0]}"]
    for piece in pieces[1:]:
        if len(lines[-1]) + len(piece) < _LINE_CHARS:
            lines[-1] += f" {piece}"
        else:
            lines.append(f"  {piece}")
    return "".join(f"\n{line}" for line in lines)
