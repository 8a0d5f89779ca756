# SPDX-License-Identifier: GPL-3.0-or-later
"""Headers: live for the filter, and the same at Sendmail and Postfix once the difference has been applied."""

from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defang_common.wire import results
from defang_worker.api.headers import Headers, QueuedHeaders
from defang_worker.api.journal import Journal
from defang_worker.trial import mta_message as mta

FIELDS = [(b"From", b"alice"), (b"X-A", b"one"), (b"x-a", b"two"), (b"Subject", b"a\n b"), (b"X-A", b"three")]


def make(fields: list[tuple[bytes, bytes]] | None = None) -> Headers:
    return Headers(lambda: FIELDS if fields is None else fields)


def at_mta(fields: list[tuple[bytes, bytes]], changes: list[results.Result], habits: mta.Habits) -> mta.Message:
    """The message that an MTA makes of these lines of RESULTS."""
    message = mta.Message(headers=tuple(mta.HeaderField.make(name, value) for name, value in fields))
    asked: list[mta.Change] = []
    for change in changes:
        match change:
            case results.AddHeader(name=name, value=value):
                asked.append(mta.AddHeader(name=name, value=value))
            case results.InsertHeader(name=name, index=index, value=value):
                asked.append(mta.InsertHeader(index=index, name=name, value=value))
            case results.ChangeHeader(name=name, index=index, value=value):
                asked.append(mta.ChangeHeader(index=index, name=name, value=value))
            case results.DeleteHeader(name=name, index=index):
                asked.append(mta.ChangeHeader(index=index, name=name, value=b""))
            case _:
                raise AssertionError(f"not of a header: {change}")
    return mta.apply_changes(message, mta.Envelope(sender=b"<>", recipients=[]), asked, habits)


_NAMES = st.sampled_from(["X-A", "x-a", "X-B", "Subject"])
_VALUES = st.sampled_from(["", "v1", "v2", "v3"])
_EDITS = st.one_of(
    st.tuples(st.just("add"), _NAMES, st.sampled_from(["n1", "n2"])),
    st.tuples(st.just("insert"), _NAMES, st.sampled_from(["n3", "n4"]), st.integers(-1, 4)),
    st.tuples(st.just("replace"), _NAMES, _VALUES, st.integers(0, 4)),
    st.tuples(st.just("delete"), _NAMES, st.integers(0, 4)),
    st.tuples(st.just("delete_all"), _NAMES),
    st.tuples(st.just("delete_if"), _NAMES, st.sampled_from([b"o1".__eq__, b"o2".__ne__])),
)
_FIELDS = st.lists(
    st.tuples(st.sampled_from([b"X-A", b"x-a", b"X-B", b"Subject", b"From"]), st.sampled_from([b"o1", b"o2", b"o3"])),
    max_size=6,
)


@pytest.mark.parametrize("habits", [mta.SENDMAIL, mta.POSTFIX], ids=["sendmail", "postfix"])
@given(fields=_FIELDS, edits=st.lists(_EDITS, max_size=8))
def test_mta_ends_with_the_fields_that_the_filter_saw_last(
    habits: mta.Habits, fields: list[tuple[bytes, bytes]], edits: list[tuple[object, ...]]
) -> None:
    headers = make(fields)
    for verb, *arguments in edits:
        getattr(headers, str(verb))(*arguments)
    seen: dict[str, list[str]] = defaultdict(list)
    for name, value in headers:
        seen[name.lower()].append(value)
    applied = at_mta(fields, headers.changes(), habits)
    made: dict[str, list[str]] = defaultdict(list)
    for header in applied.headers:
        made[header.key.decode()].append(header.value.decode())
    # Where Sendmail puts an added field is its own affair.
    assert {name: sorted(values) for name, values in made.items()} == {
        name: sorted(values) for name, values in seen.items()
    }


def test_nothing_is_loaded_before_it_is_asked_for() -> None:
    def load() -> list[tuple[bytes, bytes]]:
        raise AssertionError("loaded")

    assert Headers(load).changes() == []


def test_nothing_is_loaded_for_what_is_only_added_and_it_shows_behind_what_came() -> None:
    loaded: list[int] = []

    def load() -> list[tuple[bytes, bytes]]:
        loaded.append(1)
        return FIELDS

    headers = Headers(load)
    headers.add("X-A", "four")
    assert headers.changes() == [results.AddHeader(name=b"X-A", value=b"four")]
    assert loaded == []
    assert headers.all("X-A") == ["one", "two", "three", "four"]
    headers.delete("X-A", nth=4)
    assert headers.changes() == []


def test_reading() -> None:
    headers = make()
    assert headers.get("x-A") == "one"
    assert headers.get("X-None") is None
    assert headers.get("X-None", "default") == "default"
    assert headers.all("X-a") == ["one", "two", "three"]
    assert headers.get("Subject") == "a b"
    assert headers.raw("Subject") == [b"a\n b"]
    assert "SUBJECT" in headers
    assert "X-None" not in headers
    assert len(headers) == 5
    assert next(iter(headers)) == ("From", "alice")


def test_fields_that_came_can_be_deleted_by_their_value() -> None:
    headers = make()
    headers.add("X-A", "one")
    headers.replace("X-A", "ten", nth=2)
    asked: list[bytes] = []
    assert headers.delete_if("x-a", lambda value: not asked.append(value)) == 2  # type: ignore[func-returns-value]
    assert asked == [b"one", b"three"]
    assert headers.all("X-A") == ["ten", "one"]


def test_edit_that_changes_nothing_sends_nothing() -> None:
    headers = make()
    headers.replace("From", "alice")
    headers.delete("X-None")
    headers.delete("X-A", 4)
    headers.replace("X-None", "")
    assert headers.changes() == []


def test_change_keeps_the_name_as_the_sender_wrote_it() -> None:
    headers = make()
    headers.replace("X-A", "new", 2)
    assert headers.changes() == [results.ChangeHeader(name=b"x-a", index=2, value=b"new")]


@pytest.mark.parametrize("name", ["", "X A", "X:", "Ünder", "X\n", "X\0"])
def test_name_that_no_field_can_have_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="header field"):
        make().add(name, "value")


@pytest.mark.parametrize("value", ["a\nb", "a\n", "a\0b", "a\r\nBcc: c"])
def test_value_that_would_break_out_of_its_field_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="header value"):
        make().replace("X-A", value)
    with pytest.raises(ValueError, match="header value"):
        QueuedHeaders(Journal()).add("X-A", value)


def test_value_that_is_no_text_is_refused() -> None:
    with pytest.raises(TypeError, match="int"):
        make().add("X-A", 5)  # type: ignore[arg-type]
