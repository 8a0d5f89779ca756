# SPDX-License-Identifier: GPL-3.0-or-later
"""Greylisting and rate limits over a SQLite file that several processes share, and over a store that fails."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from defang_worker.api.verdicts import CheckFailed
from defang_worker.checks import (
    Greylist,
    GreylistResult,
    Outcome,
    RateLimit,
    RateLimitResult,
    SqliteStore,
    Store,
    Terms,
    Visit,
)
from defang_worker.checks.budget import Deadline
from tests.worker.checks.envelopes import envelope

DAY_S = 86400
PROCESSES_LIMIT_S = 60


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def store(spool: Path) -> Iterator[SqliteStore]:
    made = SqliteStore(str(spool / "visits.sqlite"))
    yield made
    made.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def soon() -> Deadline:
    return Deadline.after(30)


def come(check: Greylist, **facts: Any) -> GreylistResult:
    return envelope(**facts).run_checks(check)[check]


def send(check: RateLimit, **facts: Any) -> RateLimitResult:
    return envelope(**facts).run_checks(check)[check]


# greylisting


def test_stranger_waits_and_then_passes(store: SqliteStore, clock: Clock) -> None:
    check = Greylist(store, wait_s=300, clock=clock)
    first = come(check)
    assert (first.outcome, first.wait_s) == (Outcome.FOUND, 300)
    clock.now += 299
    assert come(check).wait_s == 1
    clock.now += 1
    passed = come(check)
    assert (passed.outcome, passed.known_s) == (Outcome.NOT_FOUND, 300)


def test_spellings_of_addresses_are_one_triplet(store: SqliteStore, clock: Clock) -> None:
    check = Greylist(store, clock=clock)
    assert come(check).is_found
    clock.now += 301
    assert not come(check, sender="<Alice@Example.com>", recipient="Bob@example.org").is_found
    assert come(check, sender="<>").is_found


@pytest.mark.parametrize(
    ("first", "neighbour", "stranger"),
    [
        ("192.0.2.7", "192.0.2.200", "192.0.3.7"),
        ("2001:db8::1", "2001:db8::ffff:1", "2001:db8:0:1::1"),
        ("192.0.2.7", "::ffff:192.0.2.8", "::192.0.2.8"),
    ],
)
def test_client_is_known_by_its_network(
    store: SqliteStore, clock: Clock, first: str, neighbour: str, stranger: str
) -> None:
    check = Greylist(store, clock=clock)
    assert come(check, ip=first).is_found
    clock.now += 301
    assert not come(check, ip=neighbour).is_found
    assert come(check, ip=stranger).is_found


def test_masks_may_be_others(store: SqliteStore, clock: Clock) -> None:
    check = Greylist(store, masks=(32, 128), clock=clock)
    assert come(check, ip="192.0.2.7").is_found
    clock.now += 301
    assert come(check, ip="192.0.2.8").is_found
    assert not come(check, ip="192.0.2.7").is_found


def test_who_comes_too_late_is_new_and_never_refused_for_good(store: SqliteStore, clock: Clock) -> None:
    check = Greylist(store, retry_s=3600, clock=clock)
    assert come(check).is_found
    clock.now += 3600
    assert come(check).wait_s == 300
    clock.now += 300
    assert not come(check).is_found


def test_tries_before_the_wait_is_over_do_not_prolong_it(store: SqliteStore, clock: Clock) -> None:
    check = Greylist(store, wait_s=300, clock=clock)
    for _ in range(3):
        assert come(check).is_found
        clock.now += 100
    assert not come(check).is_found


def test_who_has_passed_is_known_until_it_stays_away(store: SqliteStore, clock: Clock) -> None:
    check = Greylist(store, life_s=36 * DAY_S, allow_after=0, clock=clock)
    assert come(check).is_found
    clock.now += 300
    for _ in range(3):
        assert not come(check).is_found
        clock.now += 30 * DAY_S
    clock.now += 6 * DAY_S
    assert come(check).is_found


def test_network_that_has_passed_often_enough_waits_no_more(store: SqliteStore, clock: Clock) -> None:
    check = Greylist(store, allow_after=2, clock=clock)
    for recipient in ("<a@example.org>", "<b@example.org>"):
        assert come(check, recipient=recipient).is_found
    clock.now += 300
    for _ in range(3):  # the same again counts once
        assert not come(check, recipient="<a@example.org>").is_found
    assert come(check, recipient="<c@example.org>").is_found
    assert not come(check, recipient="<b@example.org>").is_found
    assert not come(check, recipient="<d@example.org>", sender="<new@example.net>").is_found
    clock.now += 20 * DAY_S  # over half of the life: mail prolongs it
    assert not come(check, recipient="<e@example.org>").is_found
    clock.now += 30 * DAY_S
    assert not come(check, recipient="<f@example.org>").is_found


def test_address_that_is_no_utf_8_is_greylisted_like_others(store: SqliteStore, clock: Clock) -> None:
    check = Greylist(store, clock=clock)
    assert come(check, sender="<\udcff@example.com>").is_found
    clock.now += 301
    assert come(check, sender="<\udcfe@example.com>").is_found
    assert not come(check, sender="<\udcff@example.com>").is_found


def test_exempt_clients_leave_no_trace(store: SqliteStore, clock: Clock) -> None:
    check = Greylist(store, allow=["192.0.2.0/24", "2001:db8::/32"], clock=clock)
    for facts in ({"ip": "192.0.2.7"}, {"ip": "2001:db8::1"}, {"ip": "127.0.0.1"}, {"ip": "::1"}, {"ip": ""}):
        assert come(check, **facts).outcome is Outcome.NOT_APPLICABLE
    assert come(check, ip="198.51.100.1", auth_authen="alice").outcome is Outcome.NOT_APPLICABLE
    assert not Path(store.path).exists()


@pytest.mark.parametrize("wrong", [{"wait_s": 0}, {"wait_s": 10, "retry_s": 10}, {"masks": (33, 64)}, {"allow": ["x"]}])
def test_wrong_arguments_of_a_greylist_are_refused(store: SqliteStore, wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"."):
        Greylist(store, **wrong)  # type: ignore[arg-type]


# a store that fails


class BrokenStore:
    def get(self, key: str, now: float, deadline: Deadline) -> Visit | None:
        raise ConnectionError("no store today")

    def touch(self, key: str, now: float, terms: Terms, deadline: Deadline) -> tuple[Visit | None, Visit]:
        raise ConnectionError("no store today")

    def expire(self, now: float, deadline: Deadline, *, at_most: int = 1000) -> int:
        raise ConnectionError("no store today")

    def close(self) -> None:
        pass


def test_store_that_fails_has_its_policy_applied() -> None:
    store: Store = BrokenStore()
    with pytest.raises(CheckFailed):
        come(Greylist(store))
    result = come(Greylist(store, on_failure="ignore"))
    assert result.is_unknown
    assert "no store today" in result.detail
    assert send(RateLimit(store, limit=1, per_s=1, on_failure="ignore")).is_unknown


def test_file_that_is_no_database_could_not_tell_until_it_is_replaced(spool: Path, clock: Clock) -> None:
    path = spool / "visits.sqlite"
    path.write_bytes(b"no database at all" * 100)
    check = Greylist(str(path), on_failure="ignore", clock=clock)
    assert "database" in come(check).detail
    path.unlink()
    assert come(check).is_found
    check.store.close()


def test_locked_file_could_not_tell_within_the_limit(store: SqliteStore, clock: Clock) -> None:
    check = Greylist(store, timeout_s=0.2, on_failure="ignore", clock=clock)
    assert store.expire(0.0, soon()) == 0  # makes the file
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert come(check).is_unknown
    other.execute("ROLLBACK")
    other.close()
    assert come(Greylist(store, clock=clock)).is_found


# the SQLite store

WORKER = """
import sys
from defang_worker.checks import SqliteStore, Terms
from defang_worker.checks.budget import Deadline
from tests.worker.checks.envelopes import envelope
store = SqliteStore(sys.argv[1])
firsts = 0
for number in range(50):
    before, after = store.touch(f"key {number}", 1000.0, Terms(life_s=1000), Deadline.after(60))
    firsts += before is None
print(firsts)
"""


def test_workers_at_once_lose_no_visit_and_only_one_is_the_first(store: SqliteStore) -> None:
    workers = [
        subprocess.Popen([sys.executable, "-c", WORKER, store.path], stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    firsts = [int(worker.communicate(timeout=PROCESSES_LIMIT_S)[0]) for worker in workers]
    assert sum(firsts) == 50
    visit = store.get("key 7", 1000.0, soon())
    assert visit is not None
    assert visit.count == 4


def test_expired_visits_go_in_bounded_batches(store: SqliteStore) -> None:
    for number in range(10):
        store.touch(f"key {number}", 1000.0, Terms(life_s=10), soon())
    store.touch("later", 1000.0, Terms(life_s=100), soon())
    assert store.get("key 1", 1010.0, soon()) is None
    assert [store.expire(1010.0, soon(), at_most=6) for _ in range(3)] == [6, 4, 0]
    assert store.get("later", 1010.0, soon()) is not None


def test_visits_expire_without_being_told_to(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("defang_worker.checks.greylist.sqlite_store._VISITS_PER_EXPIRY", 4)
    for number in range(3):
        store.touch(f"key {number}", 1000.0, Terms(life_s=10), soon())
    store.touch("new", 2000.0, Terms(life_s=10), soon())
    assert store.expire(2000.0, soon()) == 0


def test_file_has_a_write_ahead_log_and_is_its_owners_alone(store: SqliteStore) -> None:
    store.touch("key", 1.0, Terms(life_s=1), soon())
    assert Path(store.path).stat().st_mode & 0o777 == 0o600
    with sqlite3.connect(store.path) as other:
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    other.close()


def test_closed_store_may_be_used_again(store: SqliteStore) -> None:
    store.touch("key", 1.0, Terms(life_s=10), soon())
    store.close()
    assert store.get("key", 2.0, soon()) is not None


def test_visit_that_looked_at_the_clock_earlier_than_the_first_is_counted_with_it(store: SqliteStore) -> None:
    terms = Terms(life_s=100)
    counts = [store.touch("key", now, terms, soon())[1].count for now in (10.001, 10.000, 10.002)]
    assert counts == [1, 2, 3]


# rate limits


def test_limit_is_reached_and_slides_away(store: SqliteStore, clock: Clock) -> None:
    check = RateLimit(store, limit=3, per_s=100, clock=clock)
    assert [send(check).is_found for _ in range(5)] == [False, False, False, True, True]
    assert send(check).count == 3  # those over the limit do not count
    clock.now += 150  # half of the window before still lies within
    assert [send(check).is_found for _ in range(3)] == [False, False, True]
    clock.now += 1000
    assert not send(check).is_found


def test_over_the_limit_tells_when_to_come_again(store: SqliteStore, clock: Clock) -> None:
    check = RateLimit(store, limit=1, per_s=100, clock=clock)
    send(check)
    result = send(check)
    clock.now += result.wait_s
    assert not send(check).is_found


def test_each_is_counted_apart(store: SqliteStore, clock: Clock) -> None:
    for by, one, same, other in [
        ("client", {"ip": "192.0.2.7"}, {"ip": "::ffff:192.0.2.7"}, {"ip": "192.0.2.8"}),
        ("client", {"ip": "2001:db8::1"}, {"ip": "2001:db8::2"}, {"ip": "2001:db8:1::1"}),
        ("sender", {"sender": "<a@example.com>"}, {"sender": "A@example.com"}, {"sender": "<b@example.com>"}),
        ("user", {"auth_authen": "alice"}, {"auth_authen": "alice"}, {"auth_authen": "bob"}),
    ]:
        check = RateLimit(store, limit=1, per_s=100, by=by, name=f"{by} {one}", clock=clock)  # type: ignore[arg-type]
        assert [send(check, **facts).is_found for facts in (one, same, other)] == [False, True, False]
    nobody = RateLimit(store, limit=1, per_s=100, by="user", clock=clock)
    assert send(nobody).outcome is Outcome.NOT_APPLICABLE
    own = RateLimit(store, limit=1, per_s=100, by=lambda subject: subject.helo, name="helo", clock=clock)
    assert [send(own).is_found for _ in range(2)] == [False, True]


@pytest.mark.parametrize("wrong", [{"limit": 0}, {"per_s": 0}, {"by": "weather"}])
def test_wrong_arguments_of_a_limit_are_refused(store: SqliteStore, wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"."):
        RateLimit(store, **{"limit": 1, "per_s": 1, **wrong})  # type: ignore[arg-type]
