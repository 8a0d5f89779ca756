# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defang_common.wire import commands
from defang_common.wire.commands import Commands, Letter, Recipient, encode_line
from defang_common.wire.errors import Malformed, NotFinished, Unencodable

WORD = st.binary(max_size=30)
SOME = st.binary(min_size=1, max_size=30)
ARGS = st.lists(SOME, max_size=3)
ANY_RECIPIENT = st.builds(Recipient, address=SOME, mailer=SOME, host=SOME, routed_address=SOME, esmtp_args=ARGS)
ANY_COMMANDS = st.builds(
    Commands,
    transaction_id=SOME,
    queue_id=SOME,
    ip=WORD,
    hostname=WORD,
    helo=WORD,
    sender=SOME,
    sender_args=ARGS,
    recipients=st.lists(ANY_RECIPIENT, max_size=3),
    macros=st.dictionaries(SOME, WORD, max_size=4),
    suspicious_headers=st.booleans(),
    suspicious_body=st.booleans(),
    subject=WORD,
    subject_count=st.just(1),
    message_id=WORD,
    relayed_ip=st.none() | WORD,
    finished=st.just(True),
)

# What the original front end wrote in one transaction.
OBSERVED = rb"""iivLwa00
S<sender@example.com>
sSIZE=100
sBODY=8BITMIME
=_ client.example.com%20[192.0.2.7]
=cipher AES"x\y%25z'
=daemon_name MTA
=daemon_port 25
=i Q123
=if_addr 192.0.2.1
=if_name mail.example.org
=j mail.example.org
=mail_addr a%20b@x
=mail_host ex
=mail_mailer esmtp
=tls_version TLSv1.3
=client_port 45678
QQ123
Hclient.example.com
I192.0.2.7
Ehelo.example.com
R<r1@example.org> local ? root
rNOTIFY=NEVER
rORCPT=rfc822;r1+20x@example.org
R<r2@example.org> local ? root
U%20two%09lines
!
X<x%20y%25z"q\@id>
Usecond
?
F
"""


def written(what: Commands) -> bytes:
    """The file in the order in which a front end learns things."""
    lines = [encode_line(Letter.TRANSACTION_ID, what.transaction_id), encode_line(Letter.SENDER, what.sender)]
    lines += [encode_line(Letter.SENDER_ARG, arg) for arg in what.sender_args]
    lines += [encode_line(Letter.MACRO, name, value) for name, value in what.macros.items()]
    lines.append(encode_line(Letter.QUEUE_ID, what.queue_id))
    lines += [encode_line(Letter.HOSTNAME, what.hostname), encode_line(Letter.IP, what.ip)]
    lines.append(encode_line(Letter.HELO, what.helo))
    for recipient in what.recipients:
        lines.append(
            encode_line(Letter.RECIPIENT, recipient.address, recipient.mailer, recipient.host, recipient.routed_address)
        )
        lines += [encode_line(Letter.RECIPIENT_ARG, arg) for arg in recipient.esmtp_args]
    lines += [encode_line(Letter.SUSPICIOUS_HEADERS)] * what.suspicious_headers
    lines += [encode_line(Letter.SUBJECT, what.subject), encode_line(Letter.MESSAGE_ID, what.message_id)]
    if what.relayed_ip is not None:
        lines.append(encode_line(Letter.RELAYED_IP, what.relayed_ip))
    lines += [encode_line(Letter.SUSPICIOUS_BODY)] * what.suspicious_body
    lines.append(encode_line(Letter.FINISHED))
    return b"".join(lines)


@given(ANY_COMMANDS)
def test_any_transaction_comes_back_from_its_file(what: Commands) -> None:
    assert commands.decode(written(what)) == what


@given(ANY_COMMANDS, st.binary())
def test_what_follows_the_end_does_not_count(what: Commands, tail: bytes) -> None:
    assert commands.decode(written(what) + tail) == what


@given(ANY_COMMANDS)
def test_file_that_stops_early_is_not_finished(what: Commands) -> None:
    data = written(what)
    for length in range(len(data) - 1):
        with pytest.raises(NotFinished):
            commands.decode(data[:length])
        assert not commands.decode(data[:length], need_end=False).finished


def test_a_file_that_lost_its_beginning_is_refused_in_a_scan() -> None:
    rest = OBSERVED[OBSERVED.index(b"sSIZE") :]
    with pytest.raises(Malformed, match="COMMANDS names no sender"):
        commands.decode(rest)
    assert commands.decode(rest, need_end=False).finished


LINES = st.lists(st.tuples(st.sampled_from([*b"iSs=QHIERr!?UXJF", 0]), st.binary(max_size=12)), max_size=12)


@given(st.one_of(st.binary(), LINES.map(lambda lines: b"\n".join(bytes((byte,)) + rest for byte, rest in lines))))
def test_any_file_is_a_value_or_malformed(data: bytes) -> None:
    for need_end in (True, False):
        try:
            assert isinstance(commands.decode(data, need_end=need_end), Commands)
        except Malformed:
            continue


def test_observed_file_is_understood() -> None:
    assert commands.decode(OBSERVED) == Commands(
        transaction_id=b"ivLwa00",
        queue_id=b"Q123",
        ip=b"192.0.2.7",
        hostname=b"client.example.com",
        helo=b"helo.example.com",
        sender=b"<sender@example.com>",
        sender_args=[b"SIZE=100", b"BODY=8BITMIME"],
        recipients=[
            Recipient(
                address=b"<r1@example.org>",
                mailer=b"local",
                host=b"?",
                routed_address=b"root",
                esmtp_args=[b"NOTIFY=NEVER", b"ORCPT=rfc822;r1+20x@example.org"],
            ),
            Recipient(address=b"<r2@example.org>", mailer=b"local", host=b"?", routed_address=b"root"),
        ],
        macros={
            b"_": b"client.example.com [192.0.2.7]",
            b"cipher": b"AES\"x\\y%z'",
            b"daemon_name": b"MTA",
            b"daemon_port": b"25",
            b"i": b"Q123",
            b"if_addr": b"192.0.2.1",
            b"if_name": b"mail.example.org",
            b"j": b"mail.example.org",
            b"mail_addr": b"a b@x",
            b"mail_host": b"ex",
            b"mail_mailer": b"esmtp",
            b"tls_version": b"TLSv1.3",
            b"client_port": b"45678",
        },
        suspicious_headers=True,
        suspicious_body=True,
        subject=b" two\tlines",
        subject_count=2,
        message_id=b'<x y%z"q\\@id>',
        finished=True,
    )


@pytest.mark.parametrize(
    ("letter", "words", "line"),
    [
        (Letter.TRANSACTION_ID, (b"ivLwa00",), b"iivLwa00\n"),
        (Letter.MACRO, (b"_", b"a b"), b"=_ a%20b\n"),
        (Letter.MACRO, (b"auth_type", b""), b"=auth_type \n"),
        (Letter.MACRO, (b"cipher", b"AES\"x\\y%z'"), b"=cipher AES\"x\\y%25z'\n"),
        (Letter.IP, (b"",), b"I\n"),
        (Letter.HELO, (b"",), b"E\n"),
        (Letter.RECIPIENT, (b"<r@x>", b"local", b"", b"root"), b"R<r@x> local ? root\n"),
        (Letter.SUBJECT, (b" two\tlines",), b"U%20two%09lines\n"),
        (Letter.SUBJECT, (b"a\nFb",), b"Ua%0AFb\n"),
        (Letter.FINISHED, (), b"F\n"),
    ],
)
def test_line_is_written_as_the_original_writes_it(letter: Letter, words: tuple[bytes, ...], line: bytes) -> None:
    assert encode_line(letter, *words) == line


@pytest.mark.parametrize(
    ("letter", "words"), [(Letter.SENDER, ()), (Letter.FINISHED, (b"x",)), (Letter.MACRO, (b"i",))]
)
def test_wrong_number_of_words_cannot_be_written(letter: Letter, words: tuple[bytes, ...]) -> None:
    with pytest.raises(Unencodable):
        encode_line(letter, *words)


def test_every_letter_has_its_row_and_its_line() -> None:
    assert [row.letter for row in commands.TABLE] == list(Letter)
    for row in commands.TABLE:
        assert encode_line(row.letter, *(b"x" for _ in row.words)).startswith(row.letter.encode())


def test_last_one_counts_where_something_is_told_again() -> None:
    found = commands.decode(
        b"S<a>\nS<b>\nQ1\nQ2\nHa\nHb\nI1\nI2\nEa\nEb\nXa\nXb\nJ1\nJ2\n=i 1\n=i 2\nF\n", need_end=False
    )
    assert (found.sender, found.queue_id, found.hostname, found.ip) == (b"<b>", b"2", b"b", b"2")
    assert (found.helo, found.message_id, found.relayed_ip, found.macros) == (b"b", b"b", b"2", {b"i": b"2"})


def test_first_subject_counts_even_if_it_is_empty() -> None:
    found = commands.decode(b"U\nUlater\nF\n", need_end=False)
    assert (found.subject, found.subject_count) == (b"", 2)


def test_without_queue_id_it_has_the_usual_stand_in() -> None:
    assert commands.decode(b"F\n", need_end=False).queue_id == b"NOQUEUE"


def test_value_of_one_word_keeps_raw_blanks() -> None:
    assert commands.decode(b"Ehello you\nF\n", need_end=False).helo == b"hello you"


def test_missing_words_of_a_recipient_are_unknown() -> None:
    assert commands.decode(b"R<r@x>\nF\n", need_end=False).recipients == [Recipient(address=b"<r@x>")]


def test_words_are_split_before_they_are_decoded() -> None:
    (recipient,) = commands.decode(b"R<a%20b@x> lo%20cal ? r%20t\nF\n", need_end=False).recipients
    assert (recipient.address, recipient.mailer, recipient.routed_address) == (b"<a b@x>", b"lo cal", b"r t")


def test_unknown_and_empty_lines_are_passed_over_and_the_former_collected() -> None:
    found = commands.decode(b"S<a>\n\nZnew thing\nF\n", need_end=False)
    assert found.sender == b"<a>"
    assert found.unknown_lines == [b"Znew thing"]


def test_end_needs_no_newline() -> None:
    assert commands.decode(b"S<a>\nR<b>\nF").finished


def test_argument_of_no_recipient_is_malformed() -> None:
    with pytest.raises(Malformed):
        commands.decode(b"rNOTIFY=NEVER\nR<a>\nF\n")
