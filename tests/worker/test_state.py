# SPDX-License-Identifier: GPL-3.0-or-later
"""State from callback to callback: what can be kept, for how long, and what happens to the rest."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defang_common.wire import abilities
from defang_common.wire.abilities import QUESTION_TO_MUX, QUESTION_TO_WORKER
from defang_common.wire.errors import Malformed
from defang_common.wire.state import Carried
from defang_worker import Address, Settings, Severity
from defang_worker.api.state import NotKept, States
from defang_worker.loop import Worker
from tests.worker.conftest import LoadFilter, make_worker
from tests.worker.test_answer import HELO, RELAY, recipient_request, sender_request

CONTINUE = b"ok 1 ok 250 2.1.0 0\n"
TEMPFAIL = b"ok -1 Please%20try%20again%20later 451 4.3.0 0\n"
LIMIT = Settings().max_state_bytes

_TIMES = st.datetimes(
    min_value=datetime(1900, 1, 1),  # noqa: DTZ001
    max_value=datetime(2500, 1, 1),  # noqa: DTZ001
    timezones=st.just(UTC),
)
# What comes from the wire may have bytes that are no UTF-8.
_TEXTS = st.text() | st.binary(max_size=20).map(lambda raw: raw.decode("utf-8", "surrogateescape"))
_SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | _TEXTS
    | st.binary(max_size=50) | _TIMES
)  # fmt: skip
_VALUES = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXTS, inner, max_size=4), max_leaves=10
)
_STATES = st.dictionaries(_TEXTS, _VALUES, max_size=5)


def kept(values: dict[Any, Any]) -> dict[Any, Any]:
    """The dictionary as the next callback gets it."""
    states = States(is_carried=True)
    states.message.update(values)
    states.settle(LIMIT)
    _, packed = states.changes
    return States(message=packed or b"").message


@given(values=_STATES)
def test_what_can_be_kept_comes_back_as_it_was(values: dict[str, Any]) -> None:
    assert kept(values) == values


def test_numbers_as_keys_and_odd_floats_come_back() -> None:
    back = kept({"n": math.nan, "i": math.inf, 1: "one", b"k": 2, None: 3})
    assert math.isnan(back.pop("n"))
    assert back == {"i": math.inf, 1: "one", b"k": 2, None: 3}


def test_times_come_back_in_utc() -> None:
    noon = datetime(2024, 2, 29, 12, 0, 0, 123456, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    (back,) = kept({"at": noon}).values()
    assert back == noon
    assert back.tzinfo == UTC


def test_addresses_and_severities_come_back_as_text_and_number() -> None:
    back = kept({"from": Address("<a@b>"), "worst": Severity.HIGH})
    assert back == {"from": "<a@b>", "worst": int(Severity.HIGH)}
    assert [type(value) for value in back.values()] == [str, int]


def loop() -> dict[str, Any]:
    values: dict[str, Any] = {}
    values["me"] = values
    return values


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"a": {1}}, "state['a'] cannot be kept: set {1}"),
        ({"a": 1, "b": [0, {"c": (1, 2)}]}, "state['b'][1]['c'] cannot be kept: tuple (1, 2)"),
        ({"a": datetime(2024, 1, 1)}, "state['a'] cannot be kept: datetime"),  # noqa: DTZ001
        ({"a": 2**64}, "state['a'] cannot be kept: int 18446744073709551616"),
        ({"a": "\ud800"}, "state['a'] cannot be kept: str '\\ud800'"),
        ({(1, 2): 3}, "state: the key (1, 2) cannot be kept: tuple (1, 2)"),
        ({"a": object}, "state['a'] cannot be kept: type"),
        (loop(), "is nested too deeply"),
    ],
)
def test_what_cannot_be_kept_is_an_error_that_names_the_key(values: dict[Any, Any], complaint: str) -> None:
    with pytest.raises(NotKept) as refused:
        kept(values)
    assert complaint in str(refused.value)
    assert "can be kept" in str(refused.value)


@given(raw=st.binary(max_size=100))
def test_any_bytes_are_a_dictionary_or_malformed(raw: bytes) -> None:
    try:
        states = States(session=raw)
    except Malformed:
        return
    assert isinstance(states.session, dict)


def test_nothing_is_sent_for_what_has_not_changed() -> None:
    states = States(is_carried=True)
    states.message["a"] = [1]
    states.settle(LIMIT)
    session, packed = states.changes
    assert session is None
    assert packed
    again = States(message=packed, is_carried=True)
    assert again.message == {"a": [1]}
    again.settle(LIMIT)
    assert again.changes == (None, None)
    again.message["a"].append(2)
    again.settle(LIMIT)
    assert again.changes[1] not in (None, packed)
    again.message.clear()
    again.settle(LIMIT)
    assert again.changes == (None, b"")


FILTER = """
def filter_relay(connection):
    connection.state["seen"] = ["relay"]
def filter_helo(connection):
    connection.state["seen"].append(connection.helo)
def filter_sender(envelope):
    assert envelope.session_state["seen"][:2] == ["relay", "h"]
    assert envelope.state == {}
    envelope.state["from"] = envelope.sender
def filter_recipient(envelope, recipient):
    envelope.state.setdefault("to", []).append(recipient.address)
    return Response.reject() if len(envelope.state["to"]) == 2 else None
def filter_begin(message):
    assert message.state is message.envelope.state
    message.headers.add("X-Seen", repr([message.state, message.session_state]))
    message.session_state["seen"].append("message")
"""


class Session:
    """An SMTP session as the front end keeps it, each request served by another worker."""

    def __init__(self, load_filter: LoadFilter, source: str) -> None:
        self.carried = Carried()
        self._site = load_filter(source)

    def ask(self, line: bytes) -> bytes:
        worker = make_worker(self._site)
        return self.carried.from_answer(worker.answer(self.carried.on_request(line).removesuffix(b"\n")))


def test_state_goes_with_session_and_message_through_any_number_of_workers(
    load_filter: LoadFilter, workdir: Path
) -> None:
    session = Session(load_filter, FILTER)
    assert session.ask(RELAY) == session.ask(HELO % b"h") == CONTINUE
    scan = b"scan Q1 %s" % str(workdir).encode()
    for earlier in ("", ", 'message'"):
        assert session.ask(sender_request(workdir)) == CONTINUE
        assert session.ask(recipient_request(workdir)) == CONTINUE
        assert session.ask(recipient_request(workdir)).startswith(b"ok 0 ")
        assert session.ask(scan) == b"ok\n"
        expected = (
            "[{'from': '<alice@example.com>', 'to': ['<carol@example.org>', '<carol@example.org>']}, "
            f"{{'seen': ['relay', 'h'{earlier}]}}]"
        )
        results = workdir / "RESULTS"
        assert _header(results.read_bytes(), b"X-Seen") == expected
        results.unlink()
        session.carried.message = b""


def _header(results: bytes, name: bytes) -> str:
    from defang_common.wire import results as wire

    added = [change for change in wire.decode(results).changes if isinstance(change, wire.AddHeader)]
    return next(change.value.decode() for change in added if change.name == name)


def test_a_scan_gives_nothing_back_of_a_message_that_is_over(load_filter: LoadFilter, workdir: Path) -> None:
    session = Session(load_filter, "def filter_end(message): message.state['a'] = 1")
    assert session.ask(b"scan Q1 %s" % str(workdir).encode()) == b"ok\n"
    assert session.carried.message == b""


@pytest.mark.parametrize("value", ["b'x' * 17000", "{1}"])
@pytest.mark.parametrize("stage", ["filter_relay(what)", "filter_sender(what)", "filter_end(what)"])
def test_state_that_cannot_be_kept_is_a_temporary_failure(
    load_filter: LoadFilter,
    workdir: Path,
    caplog: pytest.LogCaptureFixture,
    value: str,
    stage: str,
) -> None:
    session = Session(load_filter, f"def {stage}: what.state['a'] = {value}")
    lines = {"filter_r": RELAY, "filter_s": sender_request(workdir)}
    line = lines.get(stage[:8], b"scan Q1 %s" % str(workdir).encode())
    # With the state carried, and without.
    for answer in (session.ask(line), make_worker(session._site).answer(line)):
        assert answer == TEMPFAIL or answer.startswith(b"error: scan failed: ")
    complaint = "takes 17006 bytes, limit 16384 (Settings.max_state_bytes)" if "x" in value else "['a'] cannot be kept"
    assert complaint in caplog.text
    assert not (workdir / "RESULTS").exists()


def test_the_limit_is_a_setting(load_filter: LoadFilter) -> None:
    source = "settings = Settings(max_state_bytes=20000)\ndef filter_relay(c): c.state['a'] = b'x' * 17000"
    session = Session(load_filter, source)
    assert session.ask(RELAY) == CONTINUE
    assert len(session.carried.session) > 17000
    assert session.ask(RELAY) == CONTINUE


@pytest.mark.parametrize("size", [-1, 65537])
def test_a_limit_beyond_what_can_be_carried_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="max_state_bytes"):
        Settings(max_state_bytes=size)


def test_a_callback_that_fails_leaves_the_state_as_it_was(load_filter: LoadFilter) -> None:
    session = Session(
        load_filter, "def filter_relay(c):\n    c.state['n'] = c.state.get('n', 0) + 1\n    1 / (3 - c.state['n'])"
    )
    session.ask(RELAY)
    session.ask(RELAY)
    before = session.carried.session
    assert session.ask(RELAY) == TEMPFAIL
    assert session.carried.session == before


@pytest.mark.parametrize("word", [b' "!"', b' "', b' "AAAA"', b' "gQ=="', b' "x"x"x'])
def test_garbage_for_state_is_an_error_and_so_a_temporary_failure(load_filter: LoadFilter, word: bytes) -> None:
    worker = make_worker(load_filter(FILTER))
    assert worker.answer(RELAY + word).startswith(b"error: ")


def test_where_nobody_carries_it_state_ends_with_the_callback_and_is_told_once(
    load_filter: LoadFilter, workdir: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(States, "_told", False)
    worker = make_worker(
        load_filter(
            "def filter_sender(e): e.state['a'] = 1\ndef filter_recipient(e, r): assert e.state == {}; e.state['a'] = 1"
        )
    )
    assert worker.answer(sender_request(workdir)) == CONTINUE
    assert worker.answer(recipient_request(workdir)) == CONTINUE
    assert caplog.text.count("state ends with the callback") == 1


def test_within_a_scan_state_needs_nobody(
    load_filter: LoadFilter, workdir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    worker = make_worker(
        load_filter("def filter_begin(m): m.state['a'] = 1\ndef filter_wrapup(m): assert m.state.pop('a') == 1")
    )
    assert worker.answer(b"scan Q1 %s" % str(workdir).encode()) == b"ok\n"
    assert not caplog.text


def test_the_worker_says_that_it_knows_state_and_needs_no_header_files(load_filter: LoadFilter) -> None:
    worker = make_worker(load_filter("def filter_unknown_command(command, words): return 'state'"))
    assert abilities.decode(worker.answer(QUESTION_TO_WORKER)) == abilities.ALL


def test_the_question_to_the_multiplexor_is_none_for_a_worker_or_its_filter(load_filter: LoadFilter) -> None:
    worker: Worker = make_worker(load_filter("def filter_unknown_command(command, words): return 'state'"))
    assert worker.answer(QUESTION_TO_MUX) == b"error: Unknown command\n"
