# SPDX-License-Identifier: GPL-3.0-or-later
"""The dictionaries that a filter keeps from callback to callback, whichever process serves the next one.

`States` are those of one request: read when they came with it, packed again behind the callback, and sent back only if
they have changed. A filter that never looks at them pays nothing, and neither does one that leaves them empty.
"""

from __future__ import annotations

import logging
from typing import Any, Final

from defang_common.wire import state as wire
from defang_common.wire.errors import Malformed

_log: Final = logging.getLogger("defang.worker")

# Deeper than anybody nests on purpose; what contains itself is as deep as one looks.
_MAX_DEPTH: Final = 50
_KEPT: Final = "text, bytes, numbers, True, False, None, lists, dictionaries, and times with a time zone can be kept"


class NotKept(Exception):
    """A value that cannot be kept, or too many of them; the text names the key."""


class _State:
    """One dictionary, and what it was packed as when the request came."""

    __slots__ = ("came", "name", "values")

    def __init__(self, name: str, came: bytes) -> None:
        self.name = name
        self.came = came
        self.values: dict[Any, Any] | None = _unpacked(came) if came else None

    def get(self) -> dict[Any, Any]:
        if self.values is None:
            self.values = {}
        return self.values

    def packed(self, limit_bytes: int) -> bytes:
        if not self.values:
            return b""
        packed = _packed(self.values, self.name)
        if len(packed) > limit_bytes:
            raise NotKept(f"{self.name} takes {len(packed)} bytes, limit {limit_bytes} (Settings.max_state_bytes)")
        return packed


class States:
    """The two dictionaries of one request."""

    __slots__ = ("_given_up", "_message", "_session", "changes", "is_carried")
    # Once in the life of a process is enough for the log.
    _told = False

    def __init__(self, session: bytes = b"", message: bytes = b"", *, is_carried: bool = False) -> None:
        """`is_carried` says that the front end takes them back."""
        self._session = _State("session_state", session)
        self._message = _State("state", message)
        self.is_carried = is_carried
        self._given_up = False
        self.changes: tuple[bytes | None, bytes | None] = (None, None)
        """Of session and message what has to be sent back, packed; None for what is as it came."""

    @classmethod
    def of_word(cls, word: bytes) -> States:
        """Those that came with a request, empty if none did; raises Malformed."""
        return cls(*wire.values(word), is_carried=True) if word else cls()

    @property
    def session(self) -> dict[Any, Any]:
        """The one that lives as long as the SMTP session."""
        return self._session.get()

    @property
    def message(self) -> dict[Any, Any]:
        """The one that lives as long as the message."""
        return self._message.get()

    def give_up(self) -> None:
        """Leaves both as they came, for the callback has failed."""
        self._given_up = True

    def settle(self, limit_bytes: int, *, is_last: bool = False) -> None:
        """Works out `changes`; nothing of the message's has, if this was its last callback.

        Raises NotKept for what cannot be packed or takes more than `limit_bytes`.
        """
        if self._given_up:
            return
        session, message = self._session.packed(limit_bytes), self._message.packed(limit_bytes)
        if self.is_carried:
            self.changes = (
                None if session == self._session.came else session,
                None if is_last or message == self._message.came else message,
            )
        elif (session or message) and not is_last:
            self._tell()

    @classmethod
    def _tell(cls) -> None:
        if not cls._told:
            cls._told = True
            _log.warning("state ends with the callback: only Defang's front end and multiplexor together carry it on")


def _unpacked(raw: bytes) -> dict[Any, Any]:
    import msgpack  # noqa: PLC0415  # for filters that keep state

    try:
        values = msgpack.unpackb(raw, timestamp=3, unicode_errors="surrogateescape", strict_map_key=False)
    # Whatever bytes it is given: its own errors, those of text, numbers, times, and unhashable keys.
    except Exception as error:  # noqa: BLE001
        raise Malformed(f"state: {type(error).__name__}: {error}") from None
    if not isinstance(values, dict):
        raise Malformed(f"state: no dictionary: {values!r:.100}")
    return values


def _packed(values: object, name: str) -> bytes:
    try:
        return _pack(values)
    except _UNFIT:
        raise NotKept(f"{_culprit(values, name, 0)}; {_KEPT}") from None


# What the packer raises: a type, a time without zone, a lone surrogate, a number over 64 bits, a value in itself.
_UNFIT: Final = (TypeError, ValueError, OverflowError, RecursionError)


def _pack(value: object) -> bytes:
    import msgpack  # noqa: PLC0415

    return msgpack.packb(value, default=_plain, strict_types=True, datetime=True, unicode_errors="surrogateescape")


def _plain(value: object) -> object:
    # Addresses and the like are text with more to them.
    match value:
        case str():
            return str(value)
        case bytes():
            return bytes(value)
        case int():
            return int(value)
        case float():
            return float(value)
        case _:
            raise TypeError


def _culprit(value: object, place: str, depth: int) -> str:
    """Where in the value that is which cannot be packed, and what it is."""
    if depth == _MAX_DEPTH:
        return f"{place} is nested too deeply"
    inner: list[tuple[object, str]] = []
    if type(value) is dict:
        inner = [(key, f"{place}: the key {key!r:.50}") for key in value]
        inner += [(item, f"{place}[{key!r:.50}]") for key, item in value.items()]
    elif type(value) is list:
        inner = [(item, f"{place}[{at}]") for at, item in enumerate(value)]
    for item, where in inner:
        try:
            _pack(item)
        except _UNFIT:
            return _culprit(item, where, depth + 1)
    return f"{place} cannot be kept: {type(value).__name__} {value!r:.100}"
