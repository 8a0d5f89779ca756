# SPDX-License-Identifier: GPL-3.0-or-later
"""The resolver against a nameserver on the loopback that answers, is slow, lies, or is not there."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import dns.message
import dns.rrset
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from defang_worker.checks.budget import Deadline
from defang_worker.checks.dns import exchange, nameserver
from defang_worker.checks.dns.answer import Answer, Question, Status
from defang_worker.checks.dns.cache import AnswerCache
from defang_worker.checks.dns.resolver import Resolver
from tests.support.dns_server import NEGATIVE_TTL_S, TTL_S, DnsServer, Fault

ZONE = """
example.com TXT "one" "two"
example.com MX 10 mx.example.com
www.example.com CNAME web.example.com
web.example.com A 192.0.2.1
web.example.com A 192.0.2.2
loop.example.com CNAME loop.example.com
nowhere.example.com CNAME missing.example.com
"""
LONG_S = 30.0
# For questions that are never answered: the wait ends here.
SHORT_S = 0.3


def ask(server: DnsServer, name: str, rdtype: str, seconds: float = LONG_S) -> Answer:
    return Resolver(server.address).ask(name, rdtype, Deadline.after(seconds))


def unused_address() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{taken.getsockname()[1]}"


def test_found_no_name_and_no_data_are_told_apart() -> None:
    with DnsServer(ZONE) as server:
        found = ask(server, "Example.COM.", "TXT")
        assert (found.status, found.texts, found.ttl_s) == (Status.FOUND, (b"onetwo",), TTL_S)
        assert sorted(ask(server, "web.example.com", "A").addresses) == ["192.0.2.1", "192.0.2.2"]
        no_data = ask(server, "example.com", "A")
        assert (no_data.status, no_data.ttl_s) == (Status.NO_DATA, NEGATIVE_TTL_S)
        assert ask(server, "missing.example.com", "A").status is Status.NO_NAME
        assert ask(server, "com", "A").status is Status.NO_DATA


def test_alias_is_followed_to_its_end() -> None:
    with DnsServer(ZONE) as server:
        answer = ask(server, "www.example.com", "A")
        assert sorted(answer.addresses) == ["192.0.2.1", "192.0.2.2"]
        assert answer.canonical_name == "web.example.com"
        assert ask(server, "nowhere.example.com", "A").status is Status.NO_NAME
        assert ask(server, "loop.example.com", "A").is_unknown


def test_authenticity_is_what_the_nameserver_says() -> None:
    with DnsServer(ZONE) as server:
        server.authentic.add("example.com")
        assert ask(server, "example.com", "MX").is_authentic
        assert not ask(server, "web.example.com", "A").is_authentic


def test_authenticity_counts_only_from_nameservers_that_are_trusted() -> None:
    with DnsServer(ZONE) as server:
        server.authentic.add("example.com")
        distrustful = Resolver(server.address, is_trusted=False)
        answer = distrustful.ask("example.com", "MX", Deadline.after(LONG_S))
        assert (answer.is_found, answer.is_authentic) == (True, False)
        assert not distrustful.ask("example.com", "MX", Deadline.after(LONG_S)).is_authentic


@pytest.mark.parametrize(
    ("nameservers", "is_trusted"),
    [
        (["127.0.0.1", "[::1]:5353", "127.0.0.53"], True),
        (["127.0.0.1", "192.0.2.53"], False),
        ("192.0.2.53", False),
    ],
)
def test_nameservers_are_trusted_if_all_of_them_are_on_this_host(
    nameservers: str | list[str], is_trusted: bool
) -> None:
    assert Resolver(nameservers).is_trusted is is_trusted
    assert Resolver("192.0.2.53", is_trusted=True).is_trusted


@pytest.mark.parametrize(
    ("lines", "is_trusted"),
    [
        ("nameserver 192.0.2.53\noptions edns0 trust-ad\n", True),
        ("nameserver 192.0.2.53\noptions edns0\n", False),
        ("nameserver 192.0.2.53\n# options trust-ad\n", False),
        ("nameserver 127.0.0.53\n", True),
        ("", True),
    ],
)
def test_resolv_conf_may_say_that_its_nameservers_are_trusted(
    lines: str, is_trusted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text(lines)
    monkeypatch.setattr(nameserver, "_RESOLV_CONF", str(path))
    assert Resolver().is_trusted is is_trusted
    assert not Resolver("192.0.2.54").is_trusted  # of that one the file says nothing


@pytest.mark.parametrize("name", ["a..b", "x" * 64 + ".example", "\udcff.example", "a.b." * 70, "\N{SNOWMAN}" * 80])
def test_name_that_cannot_be_asked_does_not_exist(name: str) -> None:
    with DnsServer() as server:
        answer = ask(server, name, "A")
        assert (answer.status, server.asked) == (Status.NO_NAME, [])
        assert "no domain name" in answer.reason


def test_backslash_of_a_stranger_is_no_escape() -> None:
    with DnsServer() as server:
        ask(server, "a\\046b.example", "A")
        assert server.names_asked() == ["a\\\\046b.example"]


@pytest.mark.parametrize("fault", [Fault.SERVFAIL, Fault.REFUSED])
def test_error_of_the_only_nameserver_could_not_tell_and_is_not_asked_again(fault: Fault) -> None:
    with DnsServer(ZONE) as server:
        server.faults["example.com"] = fault
        answer = ask(server, "example.com", "TXT")
        assert answer.status is Status.UNKNOWN
        assert fault.name in answer.reason
        assert server.names_asked() == ["example.com"]


@pytest.mark.parametrize("fault", [Fault.SILENT, Fault.GARBAGE, Fault.WRONG_ID, Fault.WRONG_QUESTION])
def test_what_is_no_answer_could_not_tell_by_the_deadline(fault: Fault) -> None:
    with DnsServer(ZONE) as server:
        server.faults["example.com"] = fault
        resolver = Resolver(server.address)
        answer = resolver.ask("example.com", "TXT", Deadline.after(SHORT_S))
        assert answer.is_unknown
        assert ("garbage" in answer.reason) == (fault is Fault.GARBAGE)
        assert resolver.ask("web.example.com", "A", Deadline.after(LONG_S)).is_found


def test_truncated_answer_is_fetched_by_tcp() -> None:
    with DnsServer(ZONE) as server:
        server.add("\n".join(f'long.example TXT "{number:0200}"' for number in range(30)))
        server.faults["long.example"] = Fault.TRUNCATED
        assert len(ask(server, "long.example", "TXT").records) == 30
        assert server.asked == [("udp", "long.example", "TXT"), ("tcp", "long.example", "TXT")]
        server.faults["long.example"] = Fault.TRUNCATED_ONLY
        answer = ask(server, "long.example", "TXT")
        assert answer.is_unknown
        assert "TCP" in answer.reason


def test_next_nameserver_is_asked_if_the_first_cannot_tell() -> None:
    with DnsServer(ZONE) as bad, DnsServer(ZONE) as good:
        for fault in (Fault.SERVFAIL, Fault.TRUNCATED_ONLY):
            bad.faults["example.com"] = fault
            resolver = Resolver([bad.address, good.address])
            assert resolver.ask("example.com", "TXT", Deadline.after(LONG_S)).is_found
        resolver = Resolver([unused_address(), good.address])
        assert resolver.ask("example.com", "TXT", Deadline.after(LONG_S)).is_found


def test_silent_nameserver_is_followed_by_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "_FIRST_TRY_S", 0.05)
    with DnsServer(ZONE) as bad, DnsServer(ZONE) as good:
        bad.faults["example.com"] = Fault.SILENT
        resolver = Resolver([bad.address, good.address])
        assert resolver.ask("example.com", "TXT", Deadline.after(LONG_S)).is_found


def test_lost_question_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "_FIRST_TRY_S", 0.05)
    with DnsServer(ZONE) as server:
        server.hold = 2
        assert ask(server, "example.com", "TXT").is_found
        assert server.names_asked().count("example.com") >= 2 or ("udp", "", "NS") in server.asked


def test_all_questions_are_under_way_at_once() -> None:
    with DnsServer(ZONE) as server:
        server.hold = 8
        questions = [Question(f"{number}.example.com") for number in range(7)] + [Question("web.example.com")]
        answers = Resolver(server.address).ask_all(questions, Deadline.after(LONG_S))
        assert [answer.status for answer in answers] == [Status.NO_NAME] * 7 + [Status.FOUND]
        assert len(server.asked) == 8


def test_answers_come_in_the_order_of_their_arrival() -> None:
    with DnsServer(ZONE) as server:
        server.faults["example.com"] = Fault.SILENT
        questions = [Question("example.com", "TXT"), Question("web.example.com")]
        answers = Resolver(server.address).answers(questions, Deadline.after(LONG_S))
        assert next(answers)[0] == Question("web.example.com")
        answers.close()  # type: ignore[attr-defined]  # a generator


def test_answers_are_remembered_and_failures_are_not() -> None:
    with DnsServer(ZONE) as server:
        resolver = Resolver(server.address)
        for name in ("web.example.com", "WEB.example.com.", "missing.example.com", "missing.example.com"):
            resolver.ask(name, "A", Deadline.after(LONG_S))
        assert server.names_asked() == ["web.example.com", "missing.example.com"]
        server.faults["example.com"] = Fault.SERVFAIL
        assert resolver.ask("example.com", "TXT", Deadline.after(LONG_S)).is_unknown
        server.faults.clear()
        assert resolver.ask("example.com", "TXT", Deadline.after(LONG_S)).is_found


def test_late_answer_reaches_nobody() -> None:
    with DnsServer(ZONE) as server:
        server.faults["example.com"] = Fault.LATE
        resolver = Resolver(server.address)
        assert resolver.ask("example.com", "TXT", Deadline.after(SHORT_S)).is_unknown
        server.faults.clear()
        server.release()
        assert resolver.ask("example.com", "MX", Deadline.after(LONG_S)).records[0].preference == 10


def test_nameserver_that_is_not_there_is_left_alone_for_a_while() -> None:
    resolver = Resolver(unused_address())
    assert resolver.ask("example.com", "A", Deadline.after(LONG_S)).is_unknown
    (circuit,) = resolver.circuits
    assert circuit.is_open
    assert "not asked" in resolver.ask("example.com", "A", Deadline.after(LONG_S)).reason


def test_slow_name_is_no_fault_of_a_nameserver_that_knows_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "_FIRST_TRY_S", 0.05)
    monkeypatch.setattr(exchange, "_PROBE_S", 0.0)
    with DnsServer(ZONE) as server:
        server.faults["example.com"] = Fault.SILENT
        resolver = Resolver(server.address)
        for _ in range(4):
            assert resolver.ask("example.com", "A", Deadline.after(SHORT_S)).is_unknown
        assert not resolver.circuits[0].is_open
        server.faults[""] = server.faults["."] = Fault.SILENT
        for _ in range(3):
            assert resolver.ask("example.com", "A", Deadline.after(SHORT_S)).is_unknown
        assert resolver.circuits[0].is_open


def test_many_threads_may_ask_one_resolver() -> None:
    with DnsServer(ZONE) as server:
        resolver = Resolver(server.address)
        found: list[bool] = []

        def ask_some(thread: int) -> None:
            for number in range(20):
                server_says = resolver.ask(f"{thread}-{number}.example.com", "A", Deadline.after(LONG_S))
                found.append(server_says.status is Status.NO_NAME)

        threads = [threading.Thread(target=ask_some, args=(thread,)) for thread in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LONG_S)
        assert found == [True] * 80


@pytest.mark.parametrize("address", ["localhost", "192.0.2.1:0", "192.0.2.1:x", "[2001:db8::1]", "192.0.2.1:65536", ""])
def test_nameserver_is_an_address(address: str) -> None:
    with pytest.raises(ValueError, match="nameserver"):
        Resolver([address])


def test_nameservers_are_those_of_this_host_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("defang_worker.checks.dns.resolver.configured", lambda: ["192.0.2.53", "2001:db8::53"])
    assert Resolver().nameservers == ("192.0.2.53", "2001:db8::53")
    assert Resolver("[2001:db8::1]:5353").nameservers == ("2001:db8::1",)


def test_cache_forgets_what_is_over_and_what_was_not_asked_for_longest() -> None:
    cache = AnswerCache(max_entries=2)
    one, two, three = (Question(name) for name in "abc")
    answer = Answer(status=Status.NO_NAME, ttl_s=60)
    cache.put(one, answer, 0.0)
    cache.put(two, answer, 0.0)
    assert cache.get(one, 59.0) is answer
    cache.put(three, answer, 59.0)
    assert (cache.get(two, 59.0), cache.get(one, 60.0), cache.get(three, 60.0)) == (None, None, answer)
    cache.put(one, Answer.unknown("x"), 60.0)
    cache.put(two, Answer(status=Status.NO_DATA), 60.0)
    assert len(cache) == 1


def test_memory_of_answers_is_bounded_by_their_length_too() -> None:
    cache = AnswerCache(max_bytes=1000)
    one, two, three = (Question(name) for name in "abc")
    long = Answer(status=Status.FOUND, ttl_s=60, size_bytes=600)
    for question in (one, two, two, two):
        cache.put(question, long, 0.0)
    assert (cache.get(one, 0.0), cache.get(two, 0.0)) == (None, long)
    cache.put(three, Answer(status=Status.FOUND, ttl_s=60, size_bytes=1001), 0.0)
    assert len(cache) == 0
    cache.put(one, long, 0.0)
    assert cache.get(one, 60.0) is None
    cache.put(two, long, 60.0)
    assert cache.get(two, 60.0) is long


def test_answer_tells_how_long_it_is_however_it_came() -> None:
    with DnsServer(ZONE) as server:
        server.add_one("long.example", "TXT", " ".join(f'"{"x" * 250}"' for _ in range(200)))
        assert 20 < ask(server, "example.com", "TXT").size_bytes < 100
        assert 50_000 < ask(server, "long.example", "TXT").size_bytes < 60_000


def test_few_answers_of_one_round_are_fetched_by_tcp() -> None:
    with DnsServer() as server:
        names = [f"long{number}.example" for number in range(20)]
        for name in names:
            server.add(f"{name} A 192.0.2.1")
            server.faults[name] = Fault.TRUNCATED
        answers = Resolver(server.address).ask_all([Question(name) for name in names], Deadline.after(LONG_S))
        assert sum(answer.is_found for answer in answers) == 16
        assert {answer.reason for answer in answers if answer.is_unknown} == {"127.0.0.1: too many long answers"}
        assert sum(way == "tcp" for way, _, _ in server.asked) == 16


def test_long_answer_that_hangs_leaves_time_for_the_others() -> None:
    with DnsServer("one.example A 192.0.2.1\ntwo.example A 192.0.2.1") as server:
        server.faults["one.example"] = Fault.TRICKLE
        server.faults["two.example"] = Fault.TRUNCATED
        questions = [Question("one.example"), Question("two.example")]
        one, two = Resolver(server.address).ask_all(questions, Deadline.after(4.0))
    assert (one.is_unknown, two.is_found) == (True, True)


@settings(deadline=None)
@given(st.data())
def test_response_that_was_damaged_is_an_answer_or_could_not_tell(data: st.DataObject) -> None:
    """Whatever comes from the nameserver, no other exception ends the check."""
    query = exchange._query(Question("www.example.com"), 7)
    response = dns.message.make_response(query)
    response.answer.append(dns.rrset.from_text("www.example.com.", 60, "IN", "CNAME", "web.example.com."))
    response.answer.append(dns.rrset.from_text("web.example.com.", 60, "IN", "A", "192.0.2.1"))
    wire = bytearray(response.to_wire())
    for _ in range(data.draw(st.integers(1, 4))):
        wire[data.draw(st.integers(2, len(wire) - 1))] = data.draw(st.integers(0, 255))
    wire = wire[: data.draw(st.integers(0, len(wire)))]
    one = exchange.Exchange([Question("www.example.com")], [nameserver.Nameserver("127.0.0.1", 53)])
    (number,) = one._open
    wire[:2] = number.to_bytes(2)
    for question, answer in one._told(one._lines[0], bytes(wire)):
        assert (question.name, answer.is_unknown) == ("www.example.com", False)
