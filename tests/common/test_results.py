# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defang_common.wire import results
from defang_common.wire.errors import LineTooLong, Malformed, NotFinished, Unencodable
from defang_common.wire.results import (
    MAX_FILE_BYTES,
    MAX_LINE_BYTES,
    AddHeader,
    AddRecipient,
    Bounce,
    ChangeContentType,
    ChangeHeader,
    ChangeSender,
    DeleteHeader,
    DeleteRecipient,
    Discard,
    Finish,
    InsertHeader,
    Quarantine,
    ReplaceBody,
    Result,
    Results,
    Tempfail,
    encode_line,
)

TEXT = st.binary(max_size=40).map(lambda raw: raw.replace(b"\0", b""))
SOME = TEXT.filter(bool)
VALUE = TEXT.map(lambda raw: raw.replace(b"\r", b""))
FROM_0 = st.integers(0, 999_999_999)
FROM_1 = st.integers(1, 999_999_999)
ANY_CHANGE: st.SearchStrategy[Result] = st.one_of(
    st.builds(AddHeader, name=SOME, value=VALUE),
    st.builds(InsertHeader, name=SOME, index=FROM_0, value=VALUE),
    st.builds(ChangeHeader, name=SOME, index=FROM_1, value=VALUE),
    st.builds(DeleteHeader, name=SOME, index=FROM_1),
    st.builds(ChangeContentType, value=SOME),
    st.just(ReplaceBody()),
    st.builds(AddRecipient, address=SOME),
    st.builds(DeleteRecipient, address=SOME),
    st.builds(ChangeSender, address=SOME),
    st.builds(Quarantine, reason=SOME),
)
ANY_CHANGES = st.lists(ANY_CHANGE, max_size=8)
CODE = st.from_regex(rb"\d\d", fullmatch=True)
DSN = st.from_regex(rb"\.\d{1,3}\.\d{1,3}", fullmatch=True)
ANY_VERDICT = st.one_of(
    st.builds(lambda code, dsn, text: Bounce(code=b"5" + code, dsn=b"5" + dsn, text=text), CODE, DSN, SOME),
    st.builds(lambda code, dsn, text: Tempfail(code=b"4" + code, dsn=b"4" + dsn, text=text), CODE, DSN, SOME),
    st.just(Discard()),
)


def decoded(data: bytes) -> tuple[Result, ...]:
    """The changes of a file that decides nothing."""
    found = results.decode(data)
    assert found.verdict is None
    return found.changes


@given(ANY_CHANGES)
def test_any_changes_come_back_from_their_file(changes: list[Result]) -> None:
    data = b"".join(map(encode_line, changes)) + encode_line(Finish())
    assert results.decode(data) == Results(changes=tuple(changes), verdict=None, oddities=())


@given(ANY_CHANGES, ANY_VERDICT, st.binary(max_size=40))
def test_verdict_comes_back_with_quarantine_alone(changes: list[Result], verdict: Any, tail: bytes) -> None:
    data = b"".join(map(encode_line, [*changes, verdict])) + tail
    held = tuple(change for change in changes if isinstance(change, Quarantine))
    assert results.decode(data) == Results(changes=held, verdict=verdict, oddities=())


@given(ANY_CHANGES, st.binary(max_size=40))
def test_nothing_counts_behind_the_end(changes: list[Result], tail: bytes) -> None:
    data = b"".join(map(encode_line, changes)) + b"F\n"
    assert results.decode(data + tail) == results.decode(data)


@given(ANY_CHANGES)
def test_file_that_stops_early_changes_nothing(changes: list[Result]) -> None:
    data = b"".join(map(encode_line, changes)) + b"F\n"
    for length in range(len(data) - 1):
        with pytest.raises(NotFinished):
            results.decode(data[:length])


LINES = st.lists(st.tuples(st.sampled_from([*b"BTDHNIJMCRSfQF", 0]), st.binary(max_size=12)), max_size=12)


@given(st.one_of(st.binary(), LINES.map(lambda lines: b"\n".join(bytes((byte,)) + rest for byte, rest in lines))))
def test_any_file_is_a_value_or_malformed(data: bytes) -> None:
    try:
        found = results.decode(data)
    except Malformed:
        return
    assert not any(isinstance(change, Bounce | Tempfail | Discard | Finish) for change in found.changes)
    assert b"\0" not in b"".join(
        value for change in found.changes for value in _words(change) if isinstance(value, bytes)
    )


def _words(change: Result) -> list[object]:
    return [getattr(change, field.name) for row in results.TABLE if row.record is type(change) for field in row.fields]


# What the original front end made of these files, in packets to the MTA.
@pytest.mark.parametrize(
    ("data", "changes"),
    [
        (b"HX-A val%20ue\nF\n", [AddHeader(name=b"X-A", value=b"val ue")]),
        (b"HX-A val ue \nF\n", [AddHeader(name=b"X-A", value=b"val ue ")]),
        (b"HX-A  two\nF\n", [AddHeader(name=b"X-A", value=b" two")]),
        (b"HX-A \nF\n", [AddHeader(name=b"X-A", value=b"")]),
        (b"HX-A a%0D%0A%20b\nF\n", [AddHeader(name=b"X-A", value=b"a\n b")]),
        (b"NX-C -1 v\nF\n", [InsertHeader(name=b"X-C", index=0, value=b"v")]),
        (b"NX-C x v w\nF\n", [InsertHeader(name=b"X-C", index=0, value=b"v w")]),
        (b"NX-C 2 v\nF\n", [InsertHeader(name=b"X-C", index=2, value=b"v")]),
        (b"ISubject 0 v\nF\n", [ChangeHeader(name=b"Subject", index=1, value=b"v")]),
        (b"ISubject 3 \nF\n", [ChangeHeader(name=b"Subject", index=3, value=b"")]),
        (b"JSubject 1\nF\n", [DeleteHeader(name=b"Subject", index=1)]),
        (b"JSubject -2\nF\n", [DeleteHeader(name=b"Subject", index=1)]),
        (b"Mtext/html; charset=x\nF\n", [ChangeContentType(value=b"text/html; charset=x")]),
        (b"M\nF\n", [ChangeContentType()]),
        (b"Ma%0D%0A%20b\nF\n", [ChangeContentType(value=b"a\r\n b")]),
        (b"C\nF\n", [ReplaceBody()]),
        (b"R<a%20b@x>\nS<c@x>\nf<>\nF\n",
         [AddRecipient(address=b"<a b@x>"), DeleteRecipient(address=b"<c@x>"), ChangeSender(address=b"<>")]),
        (b"Qnot yet sure\nF\n", [Quarantine(reason=b"not yet sure")]),
        (b"Q\nF\n", [Quarantine()]),
        (b"HX-A v\nF\nD\n", [AddHeader(name=b"X-A", value=b"v")]),
        (b"F", []),
        (b"F\n", []),
    ],
)  # fmt: skip
def test_file_is_read_as_the_original_front_end_reads_it(data: bytes, changes: list[Result]) -> None:
    assert results.decode(data) == Results(changes=tuple(changes), verdict=None, oddities=())


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"HX-A",
        b"H",
        b"NX-C 1",
        b"NX-C",
        b"ISubject 1",
        b"JSubject",
        b"J",
        b"R",
        b"S",
        b"f",
        b"Zx",
        b"h a b",
    ],
)
def test_line_without_its_words_is_ignored_and_named(line: bytes) -> None:
    found = results.decode(line + b"\nHX-A v\nF\n")
    assert found.changes == (AddHeader(name=b"X-A", value=b"v"),)
    assert len(found.oddities) == 1
    assert found.oddities[0] == f"line ignored: {line.decode()}"


FORBIDDEN = b"Forbidden for policy reasons"


@pytest.mark.parametrize(
    ("data", "verdict"),
    [
        (b"B\nF\n", Bounce(code=b"554", dsn=b"5.7.1", text=FORBIDDEN)),
        (b"B550 5.7.1 words not encoded\nF\n", Bounce(code=b"550", dsn=b"5.7.1", text=b"words not encoded")),
        (b"B450 4.1.1 x\n", Bounce(code=b"554", dsn=b"5.7.1", text=b"x")),
        (b"B550 5.7.1 a%0A%0Ab%0A\nF\n", Bounce(code=b"550", dsn=b"5.7.1", text=b"a\n\nb\n")),
        (b"B550\n", Bounce(code=b"550", dsn=b"5.7.1", text=FORBIDDEN)),
        (b"T\nF\n", Tempfail(code=b"451", dsn=b"4.3.0", text=b"Please try again later")),
        (b"T421 4.2.1 x", Tempfail(code=b"421", dsn=b"4.2.1", text=b"x")),
        (b"T554 4.2.1 x", Tempfail(code=b"451", dsn=b"4.2.1", text=b"x")),
        (b"D", Discard()),
        (b"D \r\n", Discard()),
        (b"HX-A v\nD\nB\nF\n", Discard()),
    ],
)
def test_first_verdict_decides(data: bytes, verdict: Any) -> None:
    assert results.decode(data) == Results(changes=(), verdict=verdict, oddities=())


@pytest.mark.parametrize("line", [b"Dear customer", b"Foo", b"HX-A v\nCan I help", b"D\0"])
def test_letter_without_words_that_has_some_spoils_the_file(line: bytes) -> None:
    with pytest.raises(Malformed, match="no words expected"):
        results.decode(line + b"\nF\n")


def test_quarantine_is_kept_before_a_verdict() -> None:
    found = results.decode(b"HX-A v\nQreason\nC\nD\nQlater\nF\n")
    assert found == Results(changes=(Quarantine(reason=b"reason"),), verdict=Discard(), oddities=())


@pytest.mark.parametrize("data", [b"", b"\n", b"HX-A v\n", b"HX-A v", b" F\n", b"f\n", b"\r\n"])
def test_file_without_end_is_not_finished(data: bytes) -> None:
    with pytest.raises(NotFinished):
        results.decode(data)


def test_empty_line_is_odd_and_no_more() -> None:
    found = results.decode(b"\nF\n")
    assert (found.changes, len(found.oddities)) == ((), 1)


def test_nul_which_the_milter_protocol_cannot_carry_is_dropped() -> None:
    assert decoded(b"HX-A a%00b\nR<a%00@x>\nF\n") == (
        AddHeader(name=b"X-A", value=b"ab"),
        AddRecipient(address=b"<a@x>"),
    )


def test_longest_line_passes_and_one_byte_more_does_not() -> None:
    longest = b"Q" + b"x" * (MAX_LINE_BYTES - 1)
    assert decoded(longest + b"\nF\n") == (Quarantine(reason=longest[1:]),)
    with pytest.raises(LineTooLong):
        results.decode(longest + b"x\nF\n")
    with pytest.raises(LineTooLong):
        results.decode(longest + b"x")
    assert decoded(b"F\n" + longest + b"x\n") == ()


def test_longest_file_passes_and_one_byte_more_does_not() -> None:
    longest = (b"HX-A " + b"v" * 94 + b"\n") * 655 + b"F\n" + b"x" * 33
    assert len(longest) == MAX_FILE_BYTES
    assert len(decoded(longest)) == 655
    with pytest.raises(Malformed):
        results.decode(longest + b"x")


@pytest.mark.parametrize(
    ("result", "line"),
    [
        (Bounce(), b"B\n"),
        (Tempfail(), b"T\n"),
        (Bounce(code=b"550", dsn=b"5.7.1", text=b"no 'way'"), b"B550 5.7.1 no%20%27way%27\n"),
        (Bounce(text=b"no"), b"B  no\n"),
        (Discard(), b"D\n"),
        (AddHeader(name=b"X-A", value=b"\xe9 v"), b"HX-A %E9%20v\n"),
        (AddHeader(name=b"X-A", value=b""), b"HX-A \n"),
        (InsertHeader(name=b"X-A", index=0, value=b"v"), b"NX-A 0 v\n"),
        (ChangeHeader(name=b"X-A", index=2, value=b"v"), b"IX-A 2 v\n"),
        (DeleteHeader(name=b"X-A", index=2), b"JX-A 2\n"),
        (ChangeContentType(value=b"text/plain"), b"Mtext/plain\n"),
        (ReplaceBody(), b"C\n"),
        (AddRecipient(address=b"<a@x>"), b"R<a@x>\n"),
        (DeleteRecipient(address=b"<a@x>"), b"S<a@x>\n"),
        (ChangeSender(address=b"<>"), b"f<>\n"),
        (Quarantine(reason=b"not sure"), b"Qnot%20sure\n"),
        (Finish(), b"F\n"),
    ],
)
def test_result_is_written_as_its_line(result: Result, line: bytes) -> None:
    assert encode_line(result) == line


def test_text_alone_gets_the_usual_code() -> None:
    found = results.decode(encode_line(Bounce(text=b"no")))
    assert found.verdict == Bounce(code=b"554", dsn=b"5.7.1", text=b"no")


def test_line_over_the_limit_cannot_be_written() -> None:
    name = b"X-A"
    room = MAX_LINE_BYTES - len(b"HX-A ")
    assert len(encode_line(AddHeader(name=name, value=b"v" * room))) == MAX_LINE_BYTES + 1
    with pytest.raises(Unencodable):
        encode_line(AddHeader(name=name, value=b"v" * (room + 1)))


@pytest.mark.parametrize(("record", "name"), [(Bounce, "text"), (Tempfail, "text"), (Quarantine, "reason")])
@pytest.mark.parametrize("shift", [0, 1, 2])
def test_text_for_people_that_is_too_long_is_cut_at_a_whole_escape(record: Any, name: str, shift: int) -> None:
    line = encode_line(record(**{name: b"x" * shift + b"\xff" * 6000}))
    assert MAX_LINE_BYTES - 2 <= len(line) - 1 <= MAX_LINE_BYTES
    found = results.decode(line + b"F\n")
    (read,) = found.changes or [found.verdict]
    assert getattr(read, name).strip(b"\xff") == b"x" * shift


def test_every_letter_stands_once_in_the_table() -> None:
    letters = [row.letter for row in results.TABLE]
    assert len({*letters}) == len(letters) == len({row.record for row in results.TABLE})
