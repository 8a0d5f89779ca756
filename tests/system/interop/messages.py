# SPDX-License-Identifier: GPL-3.0-or-later
"""The transactions that every combination of programs plays, and what the MTA is to be told at least.

What the filters do with a transaction stands in the transaction itself (see `filter.py`): in the client's name, HELO,
sender, recipient, or in `X-Test` header fields. Here is no I/O; `test_interoperability.py` plays the list.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from socket import gethostbyname, gethostname
from urllib.parse import quote_from_bytes

from defang_worker.trial.mta_message import AddHeader, as_crlf
from tests.support.mta import POSTFIX, SENDMAIL, Client, Habits, Stage, Verdict
from tests.system.interop.contents import (
    ALTERNATIVE,
    FORWARD,
    HEAD,
    LETTER,
    MIME_TEXT,
    NO_BOUNDARY,
    ODD_BOUNDARY,
    REPEATED,
    TEXT,
    UNENDED,
    large,
)

SENDER = b"<sender@example.com>"
RECIPIENT = b"<rcpt@example.org>"
PLAIN = as_crlf(TEXT)
# What the milter adds to every message that passes, told to it by -x: its usual text would name the program.
SCANNED_BY = AddHeader(name=b"X-Scanned-By", value=f"scanned on {gethostbyname(gethostname())}".encode())


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """One message as the MTA offers it; `message` is the content of DATA, None for a message without any header.

    `verdict` and `stage` are the answer that the filters are told to give, `reply` a piece of its text. With `edited`
    the filters ask for some change, with `rebuilt` for a new body; without them the MTA must be asked for none.
    """

    name: str
    message: bytes = PLAIN
    client: Client = field(default_factory=Client)
    sender: bytes = SENDER
    mail_arguments: tuple[bytes, ...] = ()
    recipients: tuple[bytes, ...] = (RECIPIENT,)
    macros: Mapping[Stage, Mapping[bytes, bytes]] = field(default_factory=dict)
    habits: Habits = SENDMAIL
    verdict: Verdict = Verdict.ACCEPT
    stage: Stage = Stage.EOM
    reply: bytes = b""
    edited: bool = False
    rebuilt: bool = False
    least_delay_s: float = 0.0


def order(*words: bytes) -> bytes:
    """An order for the filters: `order(b"end", b"add", b"X-A", b"one two")`."""
    return b"X-Test: " + b" ".join(quote_from_bytes(word, safe="<>@=/*;:+").encode() for word in words) + b"\n"


def with_orders(name: str, *orders: bytes, content: bytes = TEXT, **more: object) -> Transaction:
    """A transaction whose message carries these orders in front of its own header."""
    return Transaction(name=name, message=as_crlf(b"".join(orders) + content), **more)  # type: ignore[arg-type]


def edit(name: str, *orders: bytes, content: bytes = TEXT) -> Transaction:
    return with_orders(name, *orders, content=content, edited=True)


def rebuild(name: str, *orders: bytes, content: bytes = TEXT) -> Transaction:
    return with_orders(name, *orders, content=content, edited=True, rebuilt=True)


UNCHANGED = (
    Transaction(name="plain-text"),
    Transaction(name="multipart-alternative", message=as_crlf(ALTERNATIVE)),
    Transaction(name="letter-with-attachments", message=as_crlf(LETTER)),
    Transaction(name="nested-message", message=as_crlf(FORWARD)),
    Transaction(name="odd-boundary", message=as_crlf(ODD_BOUNDARY)),
    Transaction(name="multipart-without-boundary", message=as_crlf(NO_BOUNDARY)),
    Transaction(name="multipart-without-end", message=as_crlf(UNENDED)),
    Transaction(
        name="eight-bit-header",
        message=as_crlf(HEAD + b"X-Latin: caf\xe9 \xff\xfe\nX-Utf8: caf\xc3\xa9\n\ncaf\xe9 \x80\x81 \xc3\xa9\n"),
    ),
    Transaction(
        name="folded-header",
        message=as_crlf(
            HEAD
            + b"References: <1@example.com>\n\t<2@example.com>\n  <3@example.com>\n"
            + b"X-Long: a\n \n\tb\nX-Empty:\n\nfolded\n"
        ),
    ),
    Transaction(
        name="second-content-type",
        message=as_crlf(
            HEAD
            + b"MIME-Version: 1.0\nContent-Type: text/plain\nContent-Type: text/html\n"
            + b"content-type: image/png\n\nwhich?\n"
        ),
        edited=True,
    ),
    Transaction(name="cr-in-header", message=as_crlf(HEAD) + b"X-Cr: one\rtwo\r\n\r\nbody\r\n"),
    Transaction(name="cr-and-nul-in-body", message=as_crlf(HEAD) + b"\r\none\rtwo\r\nnul\0byte\r\n\r\r\nend\r\n"),
    Transaction(name="lf-alone-in-body", message=as_crlf(HEAD) + b"\r\none\ntwo\nthree\r\n"),
    Transaction(name="cr-at-the-end", message=as_crlf(HEAD) + b"\r\nno line end\r"),
    Transaction(name="no-line-end", message=as_crlf(HEAD) + b"\r\nno line end"),
    Transaction(name="long-lines", message=as_crlf(HEAD + b"X-Long: " + b"h" * 3000 + b"\n\n" + b"b" * 20_000 + b"\n")),
    Transaction(name="dot-lines", message=as_crlf(HEAD + b"\n.\n..\n.dot\n...\n.\n")),
    Transaction(name="no-body", message=as_crlf(HEAD) + b"\r\n"),
    Transaction(name="no-header", message=b"\r\nonly a body\r\n"),
    Transaction(name="empty-message", message=b"\r\n"),
    Transaction(name="large-body", message=as_crlf(large())),
    Transaction(name="percent-signs", message=as_crlf(b"Subject: 100% %41 %%\nX-Percent: %20%zz\n\n%41%\n")),
    Transaction(
        name="percent-in-addresses", sender=b"<a%41@example.com>", recipients=(b"<user%host.example@example.org>",)
    ),
    Transaction(
        name="quotes-in-addresses",
        sender=b'<"a \\"quoted\\" name"@example.com>',
        recipients=(b"<o'brien@example.org>", b'<"back\\\\slash"@example.org>', b"<caf\xc3\xa9@example.org>"),
    ),
    Transaction(name="null-sender", sender=b"<>"),
    Transaction(name="no-helo", client=Client(helo=None)),
    Transaction(name="helo-with-blanks", client=Client(helo=b"a b%\\'\"\xe9")),
    Transaction(
        name="esmtp-arguments",
        mail_arguments=(b"SIZE=100", b"BODY=8BITMIME", b"RET=HDRS", b"ENVID=a+20b%41"),
        recipients=(RECIPIENT, b"<second@example.org>", b"<third@example.org>"),
    ),
    Transaction(name="client-without-name", client=Client(hostname=b"[192.0.2.7]")),
    Transaction(name="ipv6-client", client=Client(family=b"6", address=b"2001:db8::7")),
    Transaction(name="unknown-client", client=Client(hostname=b"localhost", family=b"U")),
    Transaction(
        name="tls-and-authentication",
        macros={
            Stage.HELO: {
                b"{tls_version}": b"TLSv1.3",
                b"{cipher}": b"TLS_AES_256",
                b"{cipher_bits}": b"256",
                b"{verify}": b"NO",
            },
            Stage.MAIL: {b"{auth_type}": b"PLAIN", b"{auth_authen}": b"user name", b"{auth_author}": b""},
        },
    ),
    Transaction(name="queue-id-behind-mail", habits=POSTFIX),
)

DISPOSITIONS = (
    with_orders("part-kept", order(b"part", b"*", b"keep"), content=LETTER),
    rebuild("part-kept-with-warning", order(b"part", b"program.exe", b"keep-warning", b"Look out."), content=LETTER),
    rebuild("part-dropped", order(b"part", b"program.exe", b"drop"), content=LETTER),
    rebuild(
        "part-dropped-with-warning", order(b"part", b"program.exe", b"drop-warning", b"It was bad."), content=LETTER
    ),
    rebuild("part-replaced", order(b"part", b"program.exe", b"replace", b"It was bad."), content=LETTER),
    rebuild(
        "two-parts-dropped-with-warnings",
        order(b"part", b"program.exe", b"drop-warning", b"First."),
        order(b"part", b"picture.png", b"drop-warning", b"Second."),
        content=LETTER,
    ),
    rebuild("container-dropped", order(b"multipart", b"multipart/alternative", b"drop"), content=LETTER),
    rebuild("nested-part-dropped", order(b"part", b"nested.exe", b"drop"), content=FORWARD),
    rebuild("nested-message-dropped", order(b"multipart", b"message/rfc822", b"drop"), content=FORWARD),
    rebuild(
        "nested-message-replaced", order(b"multipart", b"message/rfc822", b"replace", b"Not here."), content=FORWARD
    ),
    rebuild("all-parts-dropped", order(b"part", b"*", b"drop"), content=LETTER),
    rebuild("only-part-replaced", order(b"part", b"*", b"replace", b"Nothing to see."), content=MIME_TEXT),
    rebuild("only-part-kept-with-warning", order(b"part", b"*", b"keep-warning", b"Look out.")),
    rebuild("part-dropped-at-odd-boundary", order(b"part", b"second.txt", b"drop"), content=ODD_BOUNDARY),
    rebuild("part-of-large-body-dropped", order(b"part", b"large.bin", b"drop"), content=large()),
)

EDITS = (
    edit("header-added", order(b"end", b"add", b"X-New", b"a value")),
    edit("header-added-folded", order(b"end", b"add", b"X-New", b"one\n\ttwo\n three")),
    edit("header-added-with-odd-bytes", order(b"end", b"add", b"X-New", b'100% "quoted" it\'s \\ %41 caf\xc3\xa9')),
    edit("header-added-in-latin-1", order(b"end", b"add", b"X-New", b"caf\xe9")),
    edit("header-inserted-first", order(b"begin", b"insert", b"X-New", b"0", b"first")),
    edit("header-inserted-third", order(b"wrapup", b"insert", b"X-New", b"2", b"third")),
    edit("header-changed", order(b"end", b"change", b"Subject", b"1", b"another subject")),
    edit("second-header-changed", order(b"end", b"change", b"X-Mark", b"2", b"TWO"), content=REPEATED + b"\nbody\n"),
    edit("missing-header-changed", order(b"end", b"change", b"X-Missing", b"1", b"now here")),
    edit("header-deleted", order(b"end", b"delete", b"X-Mark", b"2"), content=REPEATED + b"\nbody\n"),
    edit("all-headers-deleted", order(b"end", b"delete-all", b"X-Mark"), content=REPEATED + b"\nbody\n"),
    with_orders("missing-headers-deleted", order(b"end", b"delete-all", b"X-Missing")),
    edit(
        "edits-in-order",
        order(b"begin", b"add", b"X-One", b"1"),
        order(b"part", b"*", b"add", b"X-Two", b"2"),
        order(b"end", b"change", b"Subject", b"1", b"3"),
        order(b"wrapup", b"delete", b"X-Test", b"1"),
        order(b"wrapup", b"insert", b"X-Five", b"0", b"5"),
    ),
    rebuild(
        "edits-and-part-dropped",
        order(b"begin", b"add", b"X-One", b"1"),
        order(b"part", b"program.exe", b"drop"),
        order(b"end", b"add", b"X-Two", b"2"),
        order(b"wrapup", b"add", b"X-Three", b"3"),
        content=LETTER,
    ),
    edit("second-subject", order(b"end", b"add", b"X-New", b"x"), content=b"Subject: another\n" + TEXT),
    edit("recipient-added", order(b"end", b"add-recipient", b"<added@example.org>")),
    edit("recipient-deleted", order(b"end", b"delete-recipient", RECIPIENT)),
    edit("odd-recipient-added", order(b"end", b"add-recipient", b'<"a b"%41\'\\@example.org>')),
    edit("sender-changed", order(b"wrapup", b"sender", b"<bounces@example.com>")),
    edit("sender-made-null", order(b"end", b"sender", b"<>")),
    edit("held", order(b"end", b"hold", b"looks 100% bad")),
    replace(edit("header-from-sender-hook"), sender=b"<header@example.com>"),
    replace(edit("header-from-recipient-hook"), recipients=(b"<header@example.org>", b"<companion@example.org>")),
    replace(with_orders("header-from-refusing-recipient-hook"), recipients=(b"<headerno@example.org>", RECIPIENT)),
    edit("half-of-a-header-order", order(b"end", b"add", b"X-New", b"")),
)


def refuse(name: str, *orders: bytes, code: Verdict, reply: bytes = b"", content: bytes = TEXT) -> Transaction:
    return with_orders(name, *orders, content=content, verdict=code, reply=reply)


NO = (b"550", b"5.7.1", b"No, thank you")
# libmilter takes 980 bytes for a line of a reply.
OVERLONG = b"x" * 1100
LATER = (b"450", b"4.7.1", b"Not now")
VERDICTS = (
    *(
        refuse(
            f"{stage.decode()}-rejects", order(stage, *more, b"reject", *NO), code=Verdict.REJECT, reply=b"No, thank"
        )
        for stage, more in ((b"begin", ()), (b"part", (b"*",)), (b"end", ()), (b"wrapup", ()))
    ),
    *(
        refuse(
            f"{stage.decode()}-tempfails",
            order(stage, *more, b"tempfail", *LATER),
            code=Verdict.TEMPFAIL,
            reply=b"Not now",
        )
        for stage, more in ((b"begin", ()), (b"part", (b"*",)), (b"end", ()), (b"wrapup", ()))
    ),
    *(
        refuse(f"{stage.decode()}-discards", order(stage, *more, b"discard"), code=Verdict.DISCARD)
        for stage, more in ((b"begin", ()), (b"part", (b"*",)), (b"end", ()), (b"wrapup", ()))
    ),
    refuse(
        "multipart-rejects",
        order(b"multipart", b"multipart/alternative", b"reject", *NO),
        code=Verdict.REJECT,
        reply=b"No, thank",
        content=LETTER,
    ),
    refuse(
        "rejects-with-many-lines",
        order(b"end", b"reject", b"551", b"5.7.3", b"one\ntwo\n\nfour\n"),
        code=Verdict.REJECT,
        reply=b"one\ntwo",
    ),
    refuse(
        "rejects-with-percent",
        order(b"end", b"reject", b"552", b"5.7.4", b'100% %41 "it\'s" \\'),
        code=Verdict.REJECT,
        reply=b"100% %41",
    ),
    refuse(
        "rejects-with-eight-bit",
        order(b"end", b"reject", b"553", b"5.7.5", b"caf\xc3\xa9\tx\x01y"),
        code=Verdict.REJECT,
        reply=b"caf",
    ),
    refuse(
        "rejects-with-long-text",
        order(b"end", b"reject", b"554", b"5.7.6", b"long " * 180),
        code=Verdict.REJECT,
        reply=b"long long",
    ),
    refuse(
        "rejects-with-overlong-line",
        order(b"end", b"reject", b"554", b"5.7.6", OVERLONG),
        code=Verdict.REJECT,
        reply=OVERLONG[:900],
    ),
    refuse("rejects-without-text", order(b"end", b"reject", b"550", b"5.7.1", b""), code=Verdict.REJECT),
    refuse(
        "rejects-with-wrong-code",
        order(b"end", b"reject", b"450", b"4.7.1", b"mixed up"),
        code=Verdict.REJECT,
        reply=b"mixed up",
    ),
    refuse(
        "first-verdict-wins",
        order(b"begin", b"tempfail", *LATER),
        order(b"part", b"*", b"reject", *NO),
        order(b"end", b"discard"),
        code=Verdict.TEMPFAIL,
        reply=b"Not now",
    ),
    refuse(
        "verdict-cancels-edits",
        order(b"begin", b"add", b"X-New", b"1"),
        order(b"begin", b"add-recipient", b"<added@example.org>"),
        order(b"part", b"*", b"drop"),
        order(b"end", b"reject", *NO),
        code=Verdict.REJECT,
        reply=b"No, thank",
    ),
    replace(
        refuse("held-and-discarded", order(b"begin", b"hold", b"why"), order(b"end", b"discard"), code=Verdict.DISCARD),
        edited=True,
    ),
    *(
        refuse(f"{stage.decode()}-dies", order(stage, *more, b"die"), code=Verdict.TEMPFAIL)
        for stage, more in ((b"begin", ()), (b"part", (b"*",)), (b"end", ()), (b"wrapup", ()))
    ),
)

_ANSWERS: tuple[tuple[str, Verdict, bytes], ...] = (
    ("reject", Verdict.REJECT, b"Refused here"),
    ("rejectonly", Verdict.REJECT, b"Refused without a code"),
    ("wordless", Verdict.REJECT, b""),
    ("wrongcode", Verdict.REJECT, b"Refused with a 4"),
    ("tempfail", Verdict.TEMPFAIL, b"Come back later"),
    ("discard", Verdict.DISCARD, b""),
    ("accept", Verdict.ACCEPT, b""),
    ("multiline", Verdict.REJECT, b"First line\nSecond line"),
    ("percent", Verdict.REJECT, b'100% "sure" it\'s \\ %41 %'),
    ("eightbit", Verdict.REJECT, b"Nicht gew"),
    ("delay", Verdict.CONTINUE, b""),
    ("delayno", Verdict.TEMPFAIL, b"Slowly refused"),
    ("die", Verdict.TEMPFAIL, b""),
)


def _early(stage: Stage) -> list[Transaction]:
    """Every answer of the table at one stage before the message."""
    made = []
    for word, verdict, reply in _ANSWERS:
        at = Stage.EOM if verdict is Verdict.CONTINUE else stage
        told = Verdict.ACCEPT if verdict is Verdict.CONTINUE else verdict
        basis = Transaction(name=f"{stage.name.lower()}-{word}", verdict=told, stage=at, reply=reply)
        name = word.encode()
        match stage:
            case Stage.CONNECT:
                # At connect libmilter takes neither reply nor delay from a filter.
                basis = replace(basis, client=Client(hostname=name + b".example.com"), reply=b"")
            case Stage.HELO:
                basis = replace(basis, client=Client(helo=name + b".example.com"))
            case Stage.MAIL:
                basis = replace(basis, sender=b"<" + name + b"@example.com>")
            case _:
                basis = replace(basis, recipients=(b"<" + name + b"@example.org>",))
        if word.startswith("delay") and stage is not Stage.CONNECT:
            basis = replace(basis, least_delay_s=1.0)
        made.append(basis)
    # Each delay lengthens the run: one at connect, where it must not count, one at HELO, one that refuses at MAIL.
    wanted = {Stage.CONNECT: "delay", Stage.HELO: "delay", Stage.MAIL: "delayno"}.get(stage)
    return [one for one in made if "-delay" not in one.name or one.name.endswith(f"-{wanted}")]


EARLY = (
    *_early(Stage.CONNECT),
    *_early(Stage.HELO),
    *_early(Stage.MAIL),
    *_early(Stage.RCPT),
    Transaction(
        name="some-recipients-refused",
        recipients=(
            b"<reject@example.org>",
            RECIPIENT,
            b"<tempfail@example.org>",
            b"<multiline@example.org>",
            b"<last@example.org>",
        ),
    ),
    Transaction(
        name="all-recipients-refused",
        recipients=(b"<reject@example.org>", b"<tempfail@example.org>"),
        verdict=Verdict.TEMPFAIL,
        stage=Stage.RCPT,
        reply=b"Come back later",
    ),
    Transaction(
        name="second-recipient-discards",
        recipients=(RECIPIENT, b"<discard@example.org>"),
        verdict=Verdict.DISCARD,
        stage=Stage.RCPT,
    ),
    Transaction(
        name="second-recipient-accepts",
        recipients=(RECIPIENT, b"<accept@example.org>"),
        stage=Stage.RCPT,
    ),
)

# Last, for the original: its worker gets shifted arguments, fails to enter the directory, and answers twice, so that
# the next request may be given the second answer.
EMPTY_HELO = Transaction(name="empty-helo", client=Client(helo=b""))

TRANSACTIONS: tuple[Transaction, ...] = (*UNCHANGED, *DISPOSITIONS, *EDITS, *VERDICTS, *EARLY, EMPTY_HELO)
