# SPDX-License-Identifier: GPL-3.0-or-later
"""What Authentication-Results and ARC-Authentication-Results hold, read by their grammar (RFC 8601, section 2.2). Pure.

Written is it in `method_result.py`.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from defang_worker.checks.auth.cfws import Unreadable, behind_cfws
from defang_worker.checks.auth.method_result import MethodResult

__all__ = ["Head", "read_head", "read_results"]

# RFC 2045's token, and what RFC 8601 adds to it for internationalized mail.
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.0-9A-Z^_`a-z{|}~\x80-\U0010ffff]+")
_QUOTED: Final = re.compile(r'"((?:[^"\\\r\n\0]|\r?\n[ \t]|\\[^\r\n\0])*)"')
_VERSION: Final = re.compile(r"[0-9]+")
_KEYWORD: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]*")
_PROPERTY: Final = re.compile(r"([A-Za-z][A-Za-z0-9-]*)[ \t]*\.[ \t]*([A-Za-z][A-Za-z0-9_-]*)")
# Addresses and what some programs do not quote, such as addresses of IPv6.
_PLAIN_VALUE: Final = re.compile(r'[^\s;()"]*')
_MAX_RESULTS: Final = 200


class Head(NamedTuple):
    """Whose results they are, in which version of the grammar, and where they begin: at a semicolon, or at the end."""

    authserv_id: str
    version: int
    end: int


def read_head(text: str, at: int = 0) -> Head:
    """The beginning of the value; raises Unreadable unless it keeps to the grammar."""
    at = behind_cfws(text, at)
    if match := _QUOTED.match(text, at):
        name = _unquoted(match[1])
        # What needs its quotes is no host's name, but may be one to a program that strips or decodes it.
        if not _TOKEN.fullmatch(name):
            raise Unreadable("no name of a host")
    elif match := _TOKEN.match(text, at):
        name = match[0]
    else:
        raise Unreadable("no name of a host")
    behind_name = match.end()
    at = behind_cfws(text, behind_name)
    version = 1
    # A version needs something before it, or it would be the end of the name.
    if at > behind_name and (match := _VERSION.match(text, at)):
        version = int(match[0][:9])
        at = behind_cfws(text, match.end())
    if text[at : at + 1] not in (";", ""):
        raise Unreadable("no results behind the name")
    return Head(name, version, at)


def read_results(text: str, at: int = 0) -> list[MethodResult]:
    """The results, from the first semicolon on; raises Unreadable. Comments are left out."""
    found: list[MethodResult] = []
    while at < len(text):
        at = behind_cfws(text, at + 1)
        if at == len(text):
            break
        one, at = _read_one(text, at)
        if one is not None:
            found.append(one)
        if text[at : at + 1] not in (";", "") or len(found) > _MAX_RESULTS:
            raise Unreadable("no end of a result")
    return found


def _read_one(text: str, at: int) -> tuple[MethodResult | None, int]:
    """A result and where it ends; "none" is no result."""
    method, at = _keyword(text, at)
    if text.startswith("/", at):
        at = _behind(_VERSION, text, behind_cfws(text, at + 1))
    if method == "none" and text[at : at + 1] in (";", ""):
        return None, at
    result, at = _keyword(text, _behind_equals(text, at))
    reason = ""
    properties = []
    while text[at : at + 1] not in (";", ""):
        if match := _PROPERTY.match(text, at):
            value, at = _value(text, _behind_equals(text, behind_cfws(text, match.end())))
            properties.append((f"{match[1]}.{match[2]}".lower().replace("_", "-"), value))
        else:
            # Some large sites have words of their own here, such as action=none.
            word, at = _keyword(text, at)
            value, at = _value(text, _behind_equals(text, at))
            reason = value if word == "reason" else reason
    return MethodResult(method=method, result=result, reason=reason, properties=tuple(properties)), at


def _keyword(text: str, at: int) -> tuple[str, int]:
    match = _KEYWORD.match(text, at)
    if match is None:
        raise Unreadable("no word where one should be")
    return match[0].lower(), behind_cfws(text, match.end())


def _behind(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    if match is None:
        raise Unreadable("no version where one should be")
    return behind_cfws(text, match.end())


def _behind_equals(text: str, at: int) -> int:
    if not text.startswith("=", at):
        raise Unreadable("no equals sign")
    return behind_cfws(text, at + 1)


def _value(text: str, at: int) -> tuple[str, int]:
    quoted = ""
    if match := _QUOTED.match(text, at):
        quoted, at = _unquoted(match[1]), match.end()
    rest = _PLAIN_VALUE.match(text, at)
    if rest is None:  # pragma: no cover  # it matches the empty string
        raise Unreadable("no value")
    return quoted + rest[0], behind_cfws(text, rest.end())


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)
