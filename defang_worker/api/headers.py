# SPDX-License-Identifier: GPL-3.0-or-later
"""The message's header as a filter sees and edits it: live, so that an edit shows in every later read.

What goes to the MTA is the difference between the header that came and the one that is left, worked out once at the
end (`changes`). So the numbers in it are those of the original fields, whatever order the filter worked in; deletions
come last to first, for Sendmail goes on counting a deleted field and Postfix does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from defang_common.wire.results import AddHeader, ChangeHeader, DeleteHeader, InsertHeader
from defang_worker.api.stages import Guard
from defang_worker.api.words import header_name, header_value, unfolded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from defang_common.wire.results import Result
    from defang_worker.api.journal import Journal

    Fields = Callable[[], list[tuple[bytes, bytes]]]
    Earlier = Callable[[], list[Result]]


class HeaderAdditions(Protocol):
    """What can be done to headers at any stage, even before they have arrived."""

    def add(self, name: str, value: str) -> None:
        """Appends a field at the end of the header."""

    def insert(self, name: str, value: str, index: int = 0) -> None:
        """Inserts a field at an absolute position, 0 being the top."""


class QueuedHeaders:
    """Headers at MAIL and RCPT: additions only, applied when the message is delivered."""

    __slots__ = ("_journal",)

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def add(self, name: str, value: str) -> None:
        """Appends a field at the end of the header."""
        self._record("Headers.add", AddHeader(name=header_name(name), value=header_value(value)))

    def insert(self, name: str, value: str, index: int = 0) -> None:
        """Inserts a field at an absolute position, 0 being the top."""
        entry = InsertHeader(name=header_name(name), index=max(index, 0), value=header_value(value))
        self._record("Headers.insert", entry)

    def replace(self, name: str, value: str, nth: int = 1) -> None:
        """Not possible before the header has come: raises WrongStage under test, and else does nothing."""
        self._record("Headers.replace", ChangeHeader(name=header_name(name), index=nth, value=header_value(value)))

    def delete(self, name: str, nth: int = 1) -> None:
        """Not possible before the header has come, as `replace`."""
        self._record("Headers.delete", DeleteHeader(name=header_name(name), index=nth))

    def delete_all(self, name: str) -> None:
        """Not possible before the header has come, as `replace`."""
        self._record("Headers.delete_all", DeleteHeader(name=header_name(name), index=1))

    def delete_if(self, name: str, is_wanted: Callable[[bytes], bool]) -> int:  # noqa: ARG002
        """Not possible before the header has come, as `replace`."""
        self._record("Headers.delete_if", DeleteHeader(name=header_name(name), index=1))
        return 0

    def _record(self, verb: str, entry: Result) -> None:
        if self._journal.guard.allows(verb):
            self._journal.record(entry)


class _Field:
    """One field: `number` counts the original ones of its name from 1 and is 0 for a new one.

    `is_earlier` if it is new but stands in RESULTS already, for a check added it.
    """

    __slots__ = ("changed", "index", "is_earlier", "key", "name", "number", "value")

    def __init__(self, name: bytes, value: bytes, *, index: int | None = None, is_earlier: bool = False) -> None:
        self.name = name
        self.key = name.lower()
        self.value = value
        self.number = 0
        self.index = index
        self.is_earlier = is_earlier
        self.changed = False


def _key(name: str) -> bytes:
    return name.encode("ascii", "replace").lower()


class Headers:
    """The top-level header fields in order. Names are compared without case, occurrences count from 1.

    Values are one line of text each, unfolded; `Message.subject` and `Part` have decoded ones. A name that no field can
    have, or a value with a line feed that does not fold, raises ValueError.
    """

    __slots__ = ("_deleted", "_earlier", "_fields", "_guard", "_load", "_new", "earlier_changed")

    def __init__(self, load: Fields, *, earlier: Earlier = list, guard: Guard | None = None) -> None:
        """`load` gives the fields as they came, name and raw value each; `earlier` what checks asked for.

        Both are called when first needed.
        """
        self._load = load
        self._earlier = earlier
        self._guard = guard or Guard()
        self.earlier_changed = False
        """Whether a field that a check added was changed or deleted, so that RESULTS has to be written anew."""
        self._fields: list[_Field] | None = None
        self._new: list[_Field] = []
        self._deleted: list[_Field] = []

    def _all(self) -> list[_Field]:
        if self._fields is None:
            count: dict[bytes, int] = {}
            fields = self._fields = []
            for name, value in self._load():
                field = _Field(name, value)
                field.number = count[field.key] = count.get(field.key, 0) + 1
                fields.append(field)
            for change in self._earlier():
                self._take_over(change, fields)
            # Only added so far: what does more than that has been here before.
            fields += self._new
        return self._fields

    def _take_over(self, change: Result, fields: list[_Field]) -> None:
        """Shows a field that a sender or recipient check has added."""
        match change:
            case AddHeader(name=name, value=value):
                fields.append(_Field(name, value, is_earlier=True))
            case InsertHeader(name=name, value=value, index=index):
                fields.insert(index, _Field(name, value, index=index, is_earlier=True))

    def _named(self, name: str) -> list[_Field]:
        key = _key(name)
        return [field for field in self._all() if field.key == key]

    def get(self, name: str, default: str | None = None) -> str | None:
        """The value of the first field of that name, or `default`."""
        key = _key(name)
        return next((unfolded(field.value) for field in self._all() if field.key == key), default)

    def all(self, name: str) -> list[str]:
        """The values of all fields of that name."""
        return [unfolded(field.value) for field in self._named(name)]

    def raw(self, name: str) -> list[bytes]:
        """The values of all fields of that name as they came: folded, bytes untouched."""
        return [field.value for field in self._named(name)]

    def items(self) -> list[tuple[str, str]]:
        """All fields, name and value."""
        return [(field.name.decode("ascii", "replace"), unfolded(field.value)) for field in self._all()]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and any(field.key == _key(name) for field in self._all())

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self.items())

    def __len__(self) -> int:
        return len(self._all())

    def add(self, name: str, value: str) -> None:
        """Appends a field at the end of the header."""
        field = _Field(header_name(name), header_value(value))
        if not self._guard.allows("Headers.add"):
            return
        # A filter that only adds, as most do, does not have the header read for it.
        if self._fields is not None:
            self._fields.append(field)
        self._new.append(field)

    def insert(self, name: str, value: str, index: int = 0) -> None:
        """Inserts a field at an absolute position, 0 being the top; one below 0 is taken as 0."""
        field = _Field(header_name(name), header_value(value), index=max(index, 0))
        if not self._guard.allows("Headers.insert"):
            return
        self._all().insert(max(index, 0), field)
        self._new.append(field)

    def replace(self, name: str, value: str, nth: int = 1) -> None:
        """Gives the nth field of that name a new value; an empty one deletes it.

        With fewer fields of that name a new one is added, unless the value is empty. A nth below 1 is taken as 1.
        """
        raw = header_value(value)
        if not self._guard.allows("Headers.replace"):
            return
        if not raw:
            self.delete(name, nth)
            return
        found = self._named(name)[max(nth, 1) - 1 :]
        if not found:
            self.add(name, value)
        elif found[0].value != raw:
            found[0].value = raw
            found[0].changed = True
            self.earlier_changed = self.earlier_changed or found[0].is_earlier

    def delete(self, name: str, nth: int = 1) -> None:
        """Deletes the nth field of that name, if there is one. A nth below 1 is taken as 1."""
        if not self._guard.allows("Headers.delete"):
            return
        for field in self._named(name)[max(nth, 1) - 1 :][:1]:
            self._remove(field)

    def delete_all(self, name: str) -> None:
        """Deletes every field of that name, those that the filter added too."""
        if not self._guard.allows("Headers.delete_all"):
            return
        for field in self._named(name):
            self._remove(field)

    def delete_if(self, name: str, is_wanted: Callable[[bytes], bool]) -> int:
        """Deletes the fields of that name that came with the message and of whose raw value `is_wanted` is true; how
        many these were. Fields that the filter has added or changed stay."""
        if not self._guard.allows("Headers.delete_if"):
            return 0
        found = [one for one in self._named(name) if one.number and not one.changed and is_wanted(one.value)]
        for field in found:
            self._remove(field)
        return len(found)

    def _remove(self, field: _Field) -> None:
        self._all().remove(field)
        if field.number:
            self._deleted.append(field)
        elif field.is_earlier:
            self.earlier_changed = True
        else:
            self._new.remove(field)

    def fields(self) -> list[tuple[bytes, bytes]]:
        """All fields as they are now, name and raw value."""
        return [(field.name, field.value) for field in self._all()]

    def changes(self) -> list[Result]:
        """The difference to the header that came, as lines of RESULTS.

        What checks added stands there already; only if `earlier_changed` it is among these.
        """
        out: list[Result] = [
            ChangeHeader(name=field.name, index=field.number, value=field.value)
            for field in self._fields or ()
            if field.number and field.changed
        ]
        out += [
            DeleteHeader(name=field.name, index=field.number)
            for field in sorted(self._deleted, key=lambda field: field.number, reverse=True)
        ]
        earlier = [field for field in self._fields or () if field.is_earlier] if self.earlier_changed else []
        for field in [*earlier, *self._new]:
            if field.index is None:
                out.append(AddHeader(name=field.name, value=field.value))
            else:
                out.append(InsertHeader(name=field.name, index=field.index, value=field.value))
        return out
