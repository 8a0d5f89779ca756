# SPDX-License-Identifier: GPL-3.0-or-later
"""RESULTS on the answer to a scan: only where that is wanted, and if there is room."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from defang_common.wire.abilities import QUESTION_TO_WORKER
from defang_common.wire.answers import MAX_RESULTS_ON_ANSWER_BYTES, SCAN_OK, decode_scan
from tests.worker.conftest import LoadFilter, make_worker


def asked(load_filter: LoadFilter, workdir: Path, word: bytes, value: str = "x", *, records: bool = False) -> bytes:
    site = load_filter(f"def filter_end(message): message.headers.add('X-A', '{value}')")
    if records:
        site = replace(site, settings=replace(site.settings, record_log=str(workdir.parent / "records")))
    return make_worker(site).answer(b"scan Q1 %s%b" % (os.fsencode(workdir), word))


@pytest.mark.parametrize("records", [False, True])
def test_results_are_on_the_answer_and_nowhere_else(load_filter: LoadFilter, workdir: Path, *, records: bool) -> None:
    answer = asked(load_filter, workdir, b' """', records=records)
    assert decode_scan(answer) == b"HX-A x\nF\n"
    assert not (workdir / "RESULTS").exists()


@pytest.mark.parametrize("word", [b"", b' ""'])
def test_whoever_does_not_want_them_there_finds_the_file(load_filter: LoadFilter, workdir: Path, word: bytes) -> None:
    assert asked(load_filter, workdir, word) == SCAN_OK
    assert (workdir / "RESULTS").read_bytes() == b"HX-A x\nF\n"


def test_what_a_check_has_begun_stays_and_is_ended_on_the_answer(load_filter: LoadFilter, workdir: Path) -> None:
    (workdir / "RESULTS").write_bytes(b"HX-Check y\n")
    assert decode_scan(asked(load_filter, workdir, b' """')) == b"HX-A x\nF\n"
    assert (workdir / "RESULTS").read_bytes() == b"HX-Check y\n"


def test_what_a_check_has_begun_and_the_filter_takes_back_is_not_ended_twice(
    load_filter: LoadFilter, workdir: Path
) -> None:
    (workdir / "RESULTS").write_bytes(b"HX-Check y\nQheld\n")
    site = load_filter("def filter_end(message): message.headers.delete('X-Check')")
    answer = make_worker(site).answer(b'scan Q1 %s """' % os.fsencode(workdir))
    assert decode_scan(answer) == b"F\n"
    assert (workdir / "RESULTS").read_bytes() == b"Qheld\n"


@pytest.mark.parametrize(("over", "is_file"), [(0, False), (1, True)])
def test_more_than_fits_the_answer_is_in_the_file(
    load_filter: LoadFilter, workdir: Path, over: int, *, is_file: bool
) -> None:
    value = "x" * (MAX_RESULTS_ON_ANSWER_BYTES - len(b"HX-A \nF\n") + over)
    answer = asked(load_filter, workdir, b' """', value)
    lines = b"HX-A %b\nF\n" % value.encode()
    assert (workdir / "RESULTS").exists() is is_file
    assert ((workdir / "RESULTS").read_bytes() if is_file else decode_scan(answer)) == lines
    assert len(answer) <= 4096


def test_a_fault_is_an_error_and_has_no_results(load_filter: LoadFilter, workdir: Path) -> None:
    site = load_filter("def filter_end(message): raise OSError('broken')")
    answer = make_worker(site).answer(b'scan Q1 %s """' % os.fsencode(workdir))
    assert answer.startswith(b"error: scan failed: ")


def test_a_changed_state_stands_behind_them(load_filter: LoadFilter, workdir: Path) -> None:
    site = load_filter("def filter_end(message): message.session_state['a'] = 1")
    answer = make_worker(site).answer(b'scan Q1 %s """' % os.fsencode(workdir))
    results, _, word = answer.partition(b' "')
    assert decode_scan(results + b"\n") == b"F\n"
    assert word == b'gaFhAQ=="-\n'


def test_a_worker_says_that_it_can(load_filter: LoadFilter) -> None:
    assert b" results-on-answer" in make_worker(load_filter("def filter_end(message): pass")).answer(QUESTION_TO_WORKER)
