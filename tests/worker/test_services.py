# SPDX-License-Identifier: GPL-3.0-or-later
"""Lookups, ticks and the site's own commands: what the callback gets, and the one line that is answered."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defang_common.wire import answers
from defang_common.wire.answers import LookupStatus
from defang_common.wire.errors import Malformed
from defang_worker.api.lookup import Lookup
from tests.worker.conftest import LoadFilter, make_worker

MAP_FAULT = b"TEMP the%20filter%20has%20a%20problem\n"


@pytest.mark.parametrize(
    ("returned", "answer"),
    [
        ('Lookup.found(f"{table}/{key}")', b"OK aliases/a%20%22b%C3%BC\n"),
        ("Lookup.not_found()", b"NOTFOUND \n"),
        ('Lookup.temporary("no disk")', b"TEMP no%20disk\n"),
        ('Lookup.timeout("slow")', b"TIMEOUT slow\n"),
        ('Lookup.permanent("no table")', b"PERM no%20table\n"),
        ("None", MAP_FAULT),
        ('"OK"', MAP_FAULT),
        ("Lookup.found(7)", MAP_FAULT),
        ("1 / 0", MAP_FAULT),
        ('Lookup.found("x" * 5000)', MAP_FAULT),
    ],
)
def test_a_lookup_is_answered_by_what_the_filter_found(load_filter: LoadFilter, returned: str, answer: bytes) -> None:
    worker = make_worker(load_filter(f"def filter_map(table, key): return {returned}"))
    assert worker.answer(b"map aliases a%20%22b%C3%BC") == answer


def test_without_the_callback_there_is_no_table(load_filter: LoadFilter) -> None:
    worker = make_worker(load_filter("def filter_end(message): pass"))
    assert worker.answer(b"map aliases bob") == b"PERM no%20such%20map\n"


def test_a_fault_of_a_lookup_is_logged_with_its_line(load_filter: LoadFilter, caplog: pytest.LogCaptureFixture) -> None:
    make_worker(load_filter("def filter_map(table, key): return {}[key]")).answer(b"map aliases bob")
    assert "filter_map: " in caplog.text
    assert "filter.py:2: KeyError: 'bob'" in caplog.text


@given(status=st.sampled_from(LookupStatus), text=st.binary(max_size=1000))
def test_an_answer_to_a_lookup_reaches_the_mail_server_as_it_was_given(status: LookupStatus, text: bytes) -> None:
    assert answers.decode_lookup(answers.encode_lookup(status, text)) == status.encode() + b" " + text


@pytest.mark.parametrize("reply", [b"", b"OK\n", b"ok yes\n", b"error: No free workers\n", b" OK x\n", b"MAYBE x\n"])
def test_what_is_no_answer_to_a_lookup_is_malformed(reply: bytes) -> None:
    with pytest.raises(Malformed):
        answers.decode_lookup(reply)


def test_a_lookup_has_one_of_five_results() -> None:
    made = [Lookup.found("v"), Lookup.not_found(), Lookup.temporary(), Lookup.timeout(), Lookup.permanent()]
    assert [lookup.status for lookup in made] == list(LookupStatus)


TICK = """
kinds = []
def filter_tick(kind):
    kinds.append(kind)
    return 1 / (2 - kind)
"""


def test_a_tick_is_told_its_kind_and_answered(load_filter: LoadFilter, caplog: pytest.LogCaptureFixture) -> None:
    site = load_filter(TICK)
    worker = make_worker(site)
    assert worker.answer(b"tick 0") == b"tock 0\n"
    assert worker.answer(b"tick 1") == b"tock 1\n"
    assert worker.answer(b"tick 2").startswith(b"error: filter_tick: ")
    assert "ZeroDivisionError" in caplog.text
    assert site.hooks["filter_tick"].__globals__["kinds"] == [0, 1, 2]


@pytest.mark.parametrize("line", [b"tick x", b"tick -1", b"tick %", b"tick 1 2"])
def test_a_tick_of_no_number_is_an_error(load_filter: LoadFilter, line: bytes) -> None:
    assert make_worker(load_filter(TICK)).answer(line).startswith(b"error: tick: ")


COMMAND = """
def filter_unknown_command(command, words):
    match command, words:
        case "greet", (name,):
            return f"Hello {name}\\nand welcome"
        case "greet", _:
            raise CommandFailed("whom?")
        case "fail", _:
            return 1 / 0
        case "odd", _:
            return 7
        case "long", _:
            return "x" * 5000
"""


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        (b"greet Bob%20B", b"ok Hello%20Bob%20B%0Aand%20welcome\n"),
        (b"GREET Bob", b"ok Hello%20Bob%0Aand%20welcome\n"),
        (b"greet", b"error: whom?\n"),
        (b"other", b"error: Unknown command\n"),
        (b"", b"error: Unknown command\n"),
    ],
)
def test_a_command_of_the_sites_own_is_answered(load_filter: LoadFilter, line: bytes, answer: bytes) -> None:
    assert make_worker(load_filter(COMMAND)).answer(line) == answer


@pytest.mark.parametrize(
    ("line", "cause"),
    [(b"fail", "ZeroDivisionError"), (b"odd", "returned 7, not a text or None"), (b"long", "takes 5003 bytes")],
)
def test_a_fault_of_a_command_is_shown_and_logged(
    load_filter: LoadFilter, caplog: pytest.LogCaptureFixture, line: bytes, cause: str
) -> None:
    answer = make_worker(load_filter(COMMAND)).answer(line)
    assert answer.startswith(b"error: ")
    assert cause in answer.decode()
    assert cause in caplog.text


def test_what_a_command_is_refused_for_is_not_logged_as_a_fault(
    load_filter: LoadFilter, caplog: pytest.LogCaptureFixture
) -> None:
    make_worker(load_filter(COMMAND)).answer(b"greet")
    assert not caplog.text


def test_without_the_callback_every_command_is_unknown(load_filter: LoadFilter) -> None:
    worker = make_worker(load_filter("def filter_end(message): pass"))
    assert worker.answer(b"greet Bob") == b"error: Unknown command\n"
