# SPDX-License-Identifier: GPL-3.0-or-later
"""What is found wrong in a filter's source, and that nothing is said about what may be right."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from defang_worker import Envelope, Headers, Message
from defang_worker.checking import known
from defang_worker.checking.findings import Kind
from defang_worker.checking.rules import check_source, verbs

ROOT = Path(__file__).parents[3]
IMPORTS = "from defang_worker import Filter, Message, Part, Envelope, Response, Headers\nimport defang_worker\n"


def found(source: str) -> list[tuple[int, Kind, str]]:
    """Line, kind and text of the findings; the first line of the source is 1."""
    findings = check_source("site.py", IMPORTS + textwrap.dedent(source).lstrip("\n"))
    return [(finding.line - IMPORTS.count("\n"), finding.kind, finding.text) for finding in findings]


def method(body: str, head: str = "filter_begin(self, message)") -> str:
    return (
        f"class Site(Filter):\n    def {head}:\n" + textwrap.indent(textwrap.dedent(body).strip("\n"), " " * 8) + "\n"
    )


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("message.subjekt", "Message has no member subjekt; subject perhaps?"),
        ("message.zzz = 1", "Message has no member zzz"),
        ("message.envelope.sender.domian", "Address has no member domian; domain perhaps?"),
        ("message.headers.ad('a', 'b')", "Headers has no member ad; add perhaps?"),
        ("for part in message.walk():\n    part.drp()", "Part has no member drp; drop perhaps?"),
        ("[p.filname for p in message.leaves()]", "Part has no member filname; filename perhaps?"),
        ("any(r.adress for r in message.envelope.recipients)", "Recipient has no member adress; address perhaps?"),
        ("message.envelope.recipients[0].adress", "Recipient has no member adress; address perhaps?"),
        ("x = message.root\nx.chldren", "Part has no member chldren; children perhaps?"),
        ("x: Part = object()\nx.chldren", "Part has no member chldren; children perhaps?"),
        ("if (e := message.envelope).heloo:\n    pass", "Envelope has no member heloo; helo perhaps?"),
        (
            "message.action_add_header('a', 'b')",
            "Message has no member action_add_header; here it is message.headers.add",
        ),
        ("action_bounce('x')", "action_bounce is not defined; here it is message.reject"),
        ("return Response.rejct('x')", "Response has no member rejct; reject perhaps?"),
        ("return defang_worker.Response.rejct('x')", "Response has no member rejct; reject perhaps?"),
    ],
)
def test_member_that_does_not_exist_is_found(body: str, text: str) -> None:
    assert [(kind, told) for _, kind, told in found(method(body))] == [(Kind.NAME, text)]


@pytest.mark.parametrize(
    ("body", "member"),
    [
        ("message.subject = 'x'", "Message.subject"),
        ("message.root.is_dropped = True", "Part.is_dropped"),
        ("message.envelope.helo += 'x'", "Envelope.helo"),
        ("del message.headers", "Message.headers"),
    ],
)
def test_assignment_to_a_member_is_found(body: str, member: str) -> None:
    assert [(kind, told) for _, kind, told in found(method(body))] == [
        (Kind.NAME, f"{member} is not to be assigned to")
    ]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ('part.extension == "iso"', 'has its dot, and is never "iso"'),
        ('"iso" != part.extension', 'has its dot, and is never "iso"'),
        ('part.extension.lower() == "iso"', 'has its dot, and is never "iso"'),
        ('ext = part.extension\next == "iso"', 'has its dot, and is never "iso"'),
        ('part.extension in (".exe", "iso")', 'has its dot, and is never "iso"'),
        ('part.extension not in frozenset(["iso"])', 'has its dot, and is never "iso"'),
        ("part.extension == DISK", 'has its dot, and is never "img"'),
        ("part.extension in DISKS", 'has its dot, and is never "dmg"'),
        ('match part.extension:\n    case ".exe" | "iso":\n        pass', 'has its dot, and is never "iso"'),
        ('part.extension == ".ISO"', 'is in small letters, and never ".ISO"'),
        ('part.extension == ".tar.gz"', 'has one dot, and is never ".tar.gz"'),
    ],
)
def test_text_that_an_extension_never_is_is_found(body: str, text: str) -> None:
    source = 'DISK = "img"\nDISKS = {".iso", "dmg"}\n' + method(body, "filter_part(self, message, part)")
    assert [(kind, told) for _, kind, told in found(source)] == [(Kind.VALUE, f"Part.extension {text}")]


@pytest.mark.parametrize(
    "body",
    [
        'part.extension == ".iso"',
        'part.extension == ""',
        'part.extension in {".iso", ""}',
        'part.extension.lstrip(".") == "iso"',
        'part.extension[1:] == "iso"',
        'part.filename == "iso"',
        'part.extension in "exe iso"',
        "part.extension == DISK",
        'DISK = ".iso"\npart.extension == DISK',
        "part.extension == later()",
    ],
)
def test_text_that_an_extension_may_be_is_left_alone(body: str) -> None:
    source = 'DISK = "img"\nDISK = DISK and ".img"\n' + method(body, "filter_part(self, message, part)")
    assert found(source) == []


@pytest.mark.parametrize("call", ['matches("(exe")', 'extension_matches(pattern="(exe")', "matches(BLOCKED)"])
def test_pattern_that_is_no_regular_expression_is_found(call: str) -> None:
    source = 'BLOCKED = "(exe"\n' + method(f"part.{call}", "filter_part(self, message, part)")
    ((_, kind, told),) = found(source)
    assert kind is Kind.VALUE
    name = call.partition("(")[0]
    assert told == f"Part.{name}: the pattern '(exe' is none: missing ), unterminated subpattern at position 0"


@pytest.mark.parametrize(
    "call", [r"matches(r'\.exe$')", "matches(message.subject)", "matches(re.compile('x'))", "matches(SET_LATER)"]
)
def test_pattern_that_may_be_one_is_left_alone(call: str) -> None:
    source = "import re\nSET_LATER = '('\n" + method(
        f"global SET_LATER\nSET_LATER = 'x'\npart.{call}", "filter_part(self, message, part)"
    )
    assert found(source) == []


def test_callback_that_a_later_one_hides_is_found() -> None:
    source = """
    class Site(Filter):
        def filter_part(self, message, part):
            part.drop()
        def filter_end(self, message): pass
        def filter_part(self, message, part): pass
    """
    assert found(source) == [(5, Kind.NAME, "filter_part is defined again; that of line 4 is never called")]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("message.reject('x', cod=5)", "Message.reject: got an unexpected keyword argument 'cod'"),
        ("message.reject('x', 550)", "Message.reject: too many positional arguments"),
        ("message.warn()", "Message.warn: missing a required argument: 'text'"),
        ("message.root.matches()", "Part.matches: missing a required argument: 'pattern'"),
        ("return Response.discard('x')", "Response.discard: too many positional arguments"),
    ],
)
def test_call_that_does_not_fit_is_found(body: str, text: str) -> None:
    assert [(kind, told) for _, kind, told in found(method(body))] == [(Kind.CALL, text)]


@pytest.mark.parametrize(
    ("head", "body", "verb"),
    [
        ("filter_wrapup(self, message)", "message.warn('x')", "Message.warn"),
        ("filter_wrapup(self, message)", "message.root.drop()", "Part.drop"),
        ("filter_begin(self, message)", "return Response.accept_all()", "Response.accept_all"),
        ("filter_relay(self, connection)", "return Response.discard()", "Response.discard"),
        ("filter_wrapup(self, m: 'Message')", "for p in m.leaves():\n    p.replace('x')", "Part.replace"),
    ],
)
def test_verb_in_the_wrong_callback_is_found(head: str, body: str, verb: str) -> None:
    ((line, kind, told),) = found(method(body, head))
    assert line == 3 + body.count("\n")
    assert kind is Kind.STAGE
    assert told.startswith(f"{verb} has no effect in {head.partition('(')[0]}, only in ")


def test_verb_in_a_function_that_the_wrong_callback_calls_is_found() -> None:
    source = """
    class Site(Filter):
        def filter_end(self, message):
            self.tell(message)
        def filter_wrapup(self, message):
            self.tell(message)
        def tell(self, message: Message):
            really_tell(message)

    def really_tell(message: Message):
        message.warn("x")
    """
    ((line, kind, told),) = found(source)
    assert (line, kind) == (10, Kind.STAGE)
    assert "filter_wrapup" in told


def test_plain_functions_are_checked_as_methods_are() -> None:
    source = """
    def filter_sender(envelope):
        envelope.sendr
    def filter_part(message, part):
        part.filname
    """
    assert [line for line, _, _ in found(source)] == [2, 4]


@pytest.mark.parametrize(
    "body",
    [
        "message.headers.add('a', 'b'); message.reject('x', code=550); message.scratch['x'] = 1",
        "x = message\nx = object()\nx.whatever",
        "message = object()\nmessage.whatever",
        "for part in message.walk():\n    pass\nfor part in open('x'):\n    part.whatever",
        "list(map(lambda message: message.whatever, []))",
        "message.reject(*['x'], **{'code': 550})",
        "message.scratch['a'].whatever",
        "message.examination.whatever",
        "self.whatever(message).more",
        "message.envelope.sender.upper().title()",
        "message.__class__",
        "def inner(message):\n    message.whatever",
        "def action_bounce(text):\n    pass\naction_bounce('x')",
        "from mine import action_bounce\naction_bounce('x')",
        "import mine as re_match\nre_match('x')",
        "find_part = print\nfind_part('x')",
    ],
)
def test_nothing_is_said_about_what_may_be_right(body: str) -> None:
    assert found(method(body)) == []


@pytest.mark.parametrize("path", sorted((ROOT / "docs" / "filters").glob("*.py")), ids=lambda path: path.name)
def test_our_own_filters_are_found_right(path: Path) -> None:
    assert check_source(path.name, path.read_text()) == []


def test_members_that_no_annotation_tells_of_are_what_they_are_taken_for() -> None:
    from defang_worker.trial.delivered import DeliveredMessage

    message = DeliveredMessage(b"Subject: x\n\ny\n").root.message
    assert isinstance(known.member(Message, "envelope"), known.Instance)
    assert known.member(Message, "envelope") == known.Instance(type(message.envelope)) == known.Instance(Envelope)
    assert known.member(Message, "headers") == known.Instance(type(message.headers)) == known.Instance(Headers)


def test_function_that_may_come_from_another_file_is_left_alone() -> None:
    assert found("from mine import *\ndef filter_end(message): action_bounce('x')") == []
    assert len(found("from defang_worker import *\ndef filter_end(message): action_bounce('x')")) == 1


def test_verbs_are_told_by_their_names_in_the_table_of_stages() -> None:
    source = "from defang_worker import Message\ndef filter_end(m): m.add_recipient('a'); m.root.drop(); m.walk()\n"
    assert verbs(source) == {"Envelope.add_recipient", "Part.drop"}
