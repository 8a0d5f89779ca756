# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defang_common.wire import requests
from defang_common.wire.errors import Malformed
from defang_common.wire.lines import MAX_REQUEST_LINE_BYTES
from defang_common.wire.requests import (
    Free,
    HeloOk,
    Map,
    Own,
    Ping,
    RecipOk,
    RelayOk,
    Request,
    Scan,
    SenderOk,
    Tick,
)

SOME = st.binary(min_size=1, max_size=40)
ARGS = st.lists(SOME, max_size=4).map(tuple)
OWN_WORD = SOME.map(bytes.lower).filter(lambda word: word not in {row.word for row in requests.TABLE})


def _any(record: type[Request], *names: str, esmtp: bool = False) -> st.SearchStrategy[Request]:
    words = dict.fromkeys(names, SOME)
    return st.builds(record, **words, **({"esmtp_args": ARGS} if esmtp else {}))


ANY_REQUEST = st.one_of(
    st.sampled_from([Free(), Ping()]),
    _any(RelayOk, "ip", "name", "client_port", "my_ip", "my_port", "queue_id"),
    _any(HeloOk, "ip", "name", "helo", "client_port", "my_ip", "my_port", "queue_id"),
    _any(SenderOk, "sender", "ip", "name", "helo", "directory", "queue_id", esmtp=True),
    _any(
        RecipOk,
        *("recipient", "sender", "ip", "name", "first_recipient", "helo", "directory", "queue_id"),
        *("mailer", "host", "address"),
        esmtp=True,
    ),
    _any(Scan, "queue_id", "directory"),
    _any(Map, "table", "key"),
    _any(Tick, "kind"),
    st.builds(Own, command=OWN_WORD, words=ARGS),
)

RELAY = RelayOk(
    ip=b"192.0.2.7",
    name=b"client.example.com",
    client_port=b"45678",
    my_ip=b"192.0.2.1",
    my_port=b"25",
    queue_id=b"NOQUEUE",
)
HELO = HeloOk(
    ip=b"192.0.2.7",
    name=b"client.example.com",
    helo=b"helo.example.com",
    client_port=b"45678",
    my_ip=b"192.0.2.1",
    my_port=b"25",
    queue_id=b"NOQUEUE",
)
SENDER = SenderOk(
    sender=b"<sender@example.com>",
    ip=b"192.0.2.7",
    name=b"client.example.com",
    helo=b"helo.example.com",
    directory=b"/spool/mdefang-Q123",
    queue_id=b"Q123",
    esmtp_args=(b"SIZE=100", b"BODY=8BITMIME"),
)
RECIPIENT = RecipOk(
    recipient=b"<r1@example.org>",
    sender=b"<sender@example.com>",
    ip=b"192.0.2.7",
    name=b"client.example.com",
    first_recipient=b"<r1@example.org>",
    helo=b"helo.example.com",
    directory=b"/spool/mdefang-Q123",
    queue_id=b"Q123",
    mailer=b"local",
    host=b"",
    address=b"root",
    esmtp_args=(b"NOTIFY=NEVER", b"ORCPT=rfc822;r1+20x@example.org"),
)
# The lines that the original front end wrote for the same facts.
OBSERVED: list[tuple[bytes, Request]] = [
    (b"free\n", Free()),
    (b"relayok 192.0.2.7 client.example.com 45678 192.0.2.1 25 NOQUEUE\n", RELAY),
    (b"helook 192.0.2.7 client.example.com helo.example.com 45678 192.0.2.1 25 NOQUEUE\n", HELO),
    (
        (
            b"senderok <sender@example.com> 192.0.2.7 client.example.com helo.example.com /spool/mdefang-Q123 Q123"
            b" SIZE=100 BODY=8BITMIME\n"
        ),
        SENDER,
    ),
    (
        (
            b"recipok <r1@example.org> <sender@example.com> 192.0.2.7 client.example.com <r1@example.org>"
            b" helo.example.com /spool/mdefang-Q123 Q123 local ? root NOTIFY=NEVER ORCPT=rfc822;r1+20x@example.org\n"
        ),
        RECIPIENT,
    ),
    (b"scan Q123 /spool/mdefang-Q123\n", Scan(queue_id=b"Q123", directory=b"/spool/mdefang-Q123")),
]


@given(ANY_REQUEST)
def test_any_request_comes_back_from_its_line(request: Request) -> None:
    line = requests.encode(request)
    assert b"  " not in line
    assert line.index(b"\n") == len(line) - 1 <= MAX_REQUEST_LINE_BYTES
    assert requests.decode(line[:-1]) == request


@given(st.binary())
def test_any_line_is_a_request_or_malformed(line: bytes) -> None:
    try:
        request = requests.decode(line)
    except Malformed:
        return
    assert isinstance(request, Request)


@given(st.sampled_from([row.word for row in requests.TABLE]), st.lists(st.binary(max_size=5), max_size=16))
def test_any_words_behind_a_known_one_are_a_request_or_malformed(word: bytes, words: list[bytes]) -> None:
    try:
        request = requests.decode(b" ".join((word, *words)))
    except Malformed:
        return
    assert not isinstance(request, Own)


@given(st.binary())
def test_any_line_has_a_queue_id_or_none(line: bytes) -> None:
    assert isinstance(requests.queue_id_of(line), bytes | None)


@pytest.mark.parametrize(("line", "request_"), OBSERVED, ids=lambda value: type(value).__name__)
def test_requests_are_written_as_the_original_writes_them(line: bytes, request_: Request) -> None:
    assert requests.encode(request_) == line


@pytest.mark.parametrize(("line", "request_"), OBSERVED[1:], ids=lambda value: type(value).__name__)
def test_queue_id_is_found_in_a_raw_line(line: bytes, request_: Request) -> None:
    assert not isinstance(request_, Free | Ping | Own | Map | Tick)
    assert requests.queue_id_of(line.rstrip(b"\n")) == request_.queue_id


@pytest.mark.parametrize("line", [b"", b"free", b"ping", b"map a b", b"scan", b"own a", b"senderok <a> ip name helo"])
def test_line_without_queue_id_has_none(line: bytes) -> None:
    assert requests.queue_id_of(line) is None


def test_command_word_is_read_in_any_case_and_escaped() -> None:
    assert requests.decode(b"PING") == Ping()
    assert requests.decode(b"SCAN q d") == Scan(queue_id=b"q", directory=b"d")
    assert requests.decode(b"sc%61n q d") == Scan(queue_id=b"q", directory=b"d")


@pytest.mark.parametrize(
    ("request_", "line"),
    [
        (replace(HELO, helo=b""), b"helook 192.0.2.7 client.example.com UNKNOWN 45678 192.0.2.1 25 NOQUEUE\n"),
        (replace(RELAY, ip=b"", name=b"", client_port=b"", my_ip=b"", my_port=b"", queue_id=b""),
         b"relayok UNKNOWN UNKNOWN 0 UNKNOWN 0 NOQUEUE\n"),
        (replace(RECIPIENT, mailer=b"", host=b"", address=b"", esmtp_args=(b"", b"A=1", b"")),
         (b"recipok <r1@example.org> <sender@example.com> 192.0.2.7 client.example.com <r1@example.org>"
         b" helo.example.com /spool/mdefang-Q123 Q123 ? ? ? A=1\n")),
        (replace(SENDER, sender=b"<>", esmtp_args=()),
         b"senderok <> 192.0.2.7 client.example.com helo.example.com /spool/mdefang-Q123 Q123\n"),
        (Own(command=b"cust", words=(b"a b", b"")), b"cust a%20b ?\n"),
        (Map(table=b"a", key="é b\n".encode()), b"map a %C3%A9%20b%0A\n"),
        (Tick(kind=b""), b"tick 0\n"),
    ],
)  # fmt: skip
def test_empty_word_is_never_written(request_: Request, line: bytes) -> None:
    assert requests.encode(request_) == line


def test_empty_word_of_the_original_front_end_keeps_its_place() -> None:
    line = b"senderok <s> 192.0.2.7 name  /spool/mdefang-Q Q  BODY=8BITMIME"
    assert requests.decode(line) == SenderOk(
        sender=b"<s>",
        ip=b"192.0.2.7",
        name=b"name",
        helo=b"",
        directory=b"/spool/mdefang-Q",
        queue_id=b"Q",
        esmtp_args=(b"", b"BODY=8BITMIME"),
    )
    assert requests.queue_id_of(line) == b"Q"


def test_tick_without_kind_is_tick_0() -> None:
    assert requests.decode(b"tick") == Tick(kind=b"0")


@pytest.mark.parametrize(
    "line",
    [b"scan", b"scan q", b"scan q d more", b"relayok 1 2 3 4 5", b"relayok 1 2 3 4 5 6 7", b"ping ", b"free 1",
     b"senderok 1 2 3 4 5", b"recipok 1 2 3 4 5 6 7 8 9 10", b"map a", b"map a b c", b"tick 1 2"],
)  # fmt: skip
def test_missing_or_extra_words_are_malformed(line: bytes) -> None:
    with pytest.raises(Malformed):
        requests.decode(line)


def test_empty_line_is_a_command_without_name() -> None:
    assert requests.decode(b"") == Own(command=b"", words=())


def test_arguments_that_do_not_fit_are_left_out_and_shorter_ones_kept() -> None:
    long = replace(SENDER, esmtp_args=(b"A=" + b"%" * 1400, b"B=1"))
    assert requests.decode(requests.encode(long)[:-1]) == replace(SENDER, esmtp_args=(b"B=1",))
    bare = len(requests.encode(replace(SENDER, esmtp_args=()))) - 1
    fitting = b"x" * (MAX_REQUEST_LINE_BYTES - bare - 1)
    assert len(requests.encode(replace(SENDER, esmtp_args=(fitting,)))) == MAX_REQUEST_LINE_BYTES + 1
    assert requests.encode(replace(SENDER, esmtp_args=(fitting + b"x",))) == requests.encode(
        replace(SENDER, esmtp_args=())
    )


def test_fixed_words_are_never_cut() -> None:
    line = requests.encode(replace(SENDER, sender=b"<" + b"x" * 9000 + b">"))
    assert len(line) > MAX_REQUEST_LINE_BYTES
    assert line.endswith(b" /spool/mdefang-Q123 Q123\n")
