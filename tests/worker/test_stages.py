# SPDX-License-Identifier: GPL-3.0-or-later
"""Each verb has an effect in its stages and in no other: else an error under test, in service a line in the log."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

import defang_worker
from defang_worker.api import stages
from defang_worker.api.headers import QueuedHeaders
from defang_worker.api.hooks import HOOKS
from defang_worker.api.stages import VERBS, Guard, Stage, WrongStage
from defang_worker.effects.recorded import RecordedEffects
from tests.worker.conftest import LoadFilter, make_worker
from tests.worker.test_answer import HELO, RELAY, recipient_request, sender_request

SCAN = (Stage.BEGIN, Stage.PART, Stage.MULTIPART, Stage.END, Stage.WRAPUP)
CALLBACKS = [stage for stage in Stage if stage is not Stage.OVER]
# A message with a leaf and a container.
MESSAGE = b"""Subject: lunch
Content-Type: multipart/mixed; boundary=b

--b
Content-Type: text/plain

Hello
--b
Content-Type: multipart/alternative; boundary=c

--c
Content-Type: text/html

<p>Hello
--c--
--b--
"""

# How a callback that has the objects calls the verb.
CALLS = {
    "Envelope.add_recipient": 'envelope.add_recipient("<dave@example.org>")',
    "Envelope.delete_recipient": 'envelope.delete_recipient("<bob@example.org>")',
    "Envelope.set_sender": 'envelope.set_sender("<a@example.com>")',
    "Headers.add": 'envelope.headers.add("X-A", "a")',
    "Headers.insert": 'envelope.headers.insert("X-A", "a")',
    "Headers.replace": 'envelope.headers.replace("Subject", "a")',
    "Headers.delete": 'envelope.headers.delete("Subject")',
    "Headers.delete_all": 'envelope.headers.delete_all("Subject")',
    "Headers.delete_if": 'envelope.headers.delete_if("Subject", lambda value: True)',
    "Message.reject": 'message.reject("no")',
    "Message.tempfail": 'message.tempfail("no")',
    "Message.discard": "message.discard()",
    "Message.mta_quarantine": 'message.mta_quarantine("odd")',
    "Message.add_relay_header": "message.add_relay_header()",
    "Message.add_spam_score_header": (
        'message.add_spam_score_header(SpamResult(check="x", outcome=Outcome.FOUND, score=6))'
    ),
    "Message.own_authentication_results": "message.own_authentication_results()",
    "Message.add_authentication_results": "message.add_authentication_results()",
    "Message.log_event": 'message.log_event("e")',
    "Message.strip_tracking_params": "message.strip_tracking_params()",
    "Message.add_entity": 'message.add_entity(b"Content-Type: text/plain\\n\\ntext\\n")',
    "Message.replace_with": 'message.replace_with(b"Content-Type: text/plain\\n\\ntext\\n")',
    "Message.rebuild": "message.rebuild()",
    "Message.quarantine": 'message.quarantine("odd")',
    "Message.notify_sender": 'message.notify_sender("text")',
    "Message.notify_recipients": 'message.notify_recipients("text")',
    "Message.notify_admin": 'message.notify_admin("text")',
    "Message.send": 'message.send(__import__("email.message").message.EmailMessage(), ["<a@example.org>"])',
    "Message.resend": 'message.resend(["<bob@example.org>"])',
    "Message.stream_by_domain": "message.stream_by_domain()",
    "Message.stream_by_recipient": "message.stream_by_recipient()",
    "Message.stream": 'message.stream([["<bob@example.org>"], ["<carol@example.net>"]])',
    "Message.warn": 'message.warn("text")',
    "Message.add_part": 'message.add_part("text/plain", "text")',
    "Message.append_text": 'message.append_text("text")',
    "Message.append_html": 'message.append_html("text")',
    "Message.remove_redundant_html": "message.remove_redundant_html()",
    "Part.keep": 'message.root.children[0].keep(warning="text")',
    "Part.quarantine": 'message.root.children[0].quarantine("odd")',
    "Part.drop": "message.root.children[0].drop()",
    "Part.replace": 'message.root.children[0].replace("text")',
    "Part.replace_with_url": 'message.root.children[0].replace_with_url(str(message.envelope.workdir), "http://x")',
    "Part.filter_through": 'message.root.children[0].filter_through(["/bin/echo", "x"])',
    "Part.defang": "message.root.children[0].defang()",
    "Part.append_text": 'message.root.children[0].append_text("text")',
    "Part.append_html": 'message.root.children[1].children[0].append_html("text")',
}
NO_EFFECT = {  # on this message
    *("Message.log_event", "Message.remove_redundant_html", "Message.strip_tracking_params"),
    "Message.own_authentication_results",
}
# What only looks, and what stands for other verbs of the table.
LOOKS = {
    "Envelope": {"run_checks"},
    "Headers": {"all", "fields", "get", "items", "raw"},
    "Message": {
        "as_delivered", "run_checks",
        "decide", "find", "headers_as_they_came", "leaves", "signature_forecast", "walk",
        "received_header", "add_recipient", "delete_recipient", "set_sender",
    },
    "Part": {"extension_matches", "head", "matches"},
}  # fmt: skip


def arguments(stage: Stage) -> str:
    return ", ".join(HOOKS[stage.value])


def source(stage: Stage, call: str) -> str:
    # Any file will do for a key.
    head = "settings = Settings(relay_key_file=__file__)\n" if "relay_header" in call else ""
    head += "from defang_worker.checks import Outcome, SpamResult\n" if "SpamResult" in call else ""
    take = "envelope = message.envelope" if stage in SCAN else "pass"
    return f"{head}def {stage.value}({arguments(stage)}):\n    {take}\n    return {call}"


def serve(load_filter: LoadFilter, workdir: Path, stage: Stage, call: str) -> tuple[bytes, bool]:
    """Runs a filter that has this one callback, up to the end of the callback's request.

    The answer, and whether anything was done outside of the working directory.
    """
    (workdir / "INPUTMSG").write_bytes(MESSAGE)
    commands = workdir / "COMMANDS"
    commands.write_bytes(commands.read_bytes().replace(b"\nF\n", b"\nR<carol@example.net> ? ? ?\nF\n"))
    site = load_filter(source(stage, call))
    worker = make_worker(site)
    requests = {
        Stage.RELAY: RELAY,
        Stage.HELO: HELO % b"h",
        Stage.SENDER: sender_request(workdir),
        Stage.RECIPIENT: recipient_request(workdir),
    }
    answer = worker.answer(requests.get(stage, b"scan Q1 %s" % str(workdir).encode()))
    effects = site.effects
    assert isinstance(effects, RecordedEffects)
    return answer, bool(effects.quarantined or effects.letters)


def reachable(verb: str) -> list[Stage]:
    """Stages whose callback gets an object with the verb at all."""
    if verb.startswith(("Message.", "Part.")):
        return list(SCAN)
    return [Stage.SENDER, Stage.RECIPIENT, *SCAN]


CASES = [(verb, stage) for verb in CALLS for stage in reachable(verb)]
each_case = pytest.mark.parametrize(("verb", "stage"), CASES, ids=str)


def test_every_verb_stands_in_the_table() -> None:
    for name, looks in LOOKS.items():
        cls = getattr(defang_worker, name)
        public = {
            member
            for member in dir(cls)
            if not member.startswith("_") and inspect.isfunction(inspect.getattr_static(cls, member))
        }
        for_worker = {"changes", "defects_of", "finish_body", "put", "refused_for_structure", "results"}
        verbs = {verb.partition(".")[2] for verb in VERBS if verb.startswith(f"{name}.")}
        assert public - looks - for_worker == verbs, name


def test_every_verb_of_the_table_is_tried() -> None:
    assert {verb for verb in VERBS if not verb.startswith("Response.")} == set(CALLS)


@each_case
def test_under_test_a_call_in_the_wrong_stage_is_an_error_that_names_the_right_ones(
    load_filter: LoadFilter, workdir: Path, caplog: pytest.LogCaptureFixture, verb: str, stage: Stage
) -> None:
    with stages.strict():
        serve(load_filter, workdir, stage, f"({CALLS[verb]}, None)[1]")
    if stage in VERBS[verb]:
        assert "WrongStage" not in caplog.text
    else:
        right = ", ".join(one.value for one in CALLBACKS if one in VERBS[verb])
        assert f"WrongStage: {verb} has no effect in {stage.value}, only in {right}" in caplog.text


@each_case
def test_in_service_a_call_in_the_wrong_stage_is_logged_and_does_nothing(
    load_filter: LoadFilter, workdir: Path, caplog: pytest.LogCaptureFixture, verb: str, stage: Stage
) -> None:
    answer, has_effect = serve(load_filter, workdir, stage, f"({CALLS[verb]}, None)[1]")
    assert answer.startswith(b"ok")
    is_ignored = f"ignored: {verb} has no effect in {stage.value}" in caplog.text
    assert is_ignored is (stage not in VERBS[verb])
    results = workdir / "RESULTS"
    has_effect |= results.exists() and results.read_bytes() != b"F\n"
    assert has_effect is (stage in VERBS[verb] and verb not in NO_EFFECT)


@pytest.mark.parametrize("stage", CALLBACKS)
@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb.startswith("Response.")])
def test_a_response_that_may_not_be_returned_is_a_temporary_failure(
    load_filter: LoadFilter, workdir: Path, caplog: pytest.LogCaptureFixture, verb: str, stage: Stage
) -> None:
    serve(load_filter, workdir, stage, f"{verb}()")
    assert ("temporary failure: " in caplog.text) is (stage not in VERBS[verb])


KEPT = """
kept = []
def filter_sender(envelope):
    kept.append(envelope)
def filter_begin(message):
    kept[0].add_recipient("<dave@example.org>")
"""


def test_an_object_kept_from_an_earlier_callback_does_nothing(
    load_filter: LoadFilter, workdir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    worker = make_worker(load_filter(KEPT))
    worker.answer(sender_request(workdir))
    assert worker.answer(b"scan Q1 %s" % str(workdir).encode()) == b"ok\n"
    assert "Envelope.add_recipient has no effect after the callback it was made for, only in" in caplog.text
    assert (workdir / "RESULTS").read_bytes() == b"F\n"


def test_what_a_wrong_stage_tells() -> None:
    fault = WrongStage("Headers.delete", Stage.SENDER)
    assert (fault.verb, fault.stage) == ("Headers.delete", "filter_sender")
    assert fault.allowed == tuple(stage.value for stage in SCAN)


def test_strictness_ends_with_its_block() -> None:
    guard = Guard(Stage.WRAPUP)
    with stages.strict(), pytest.raises(WrongStage):
        guard.allows("Part.drop")
    assert not guard.allows("Part.drop")


def test_outside_of_callbacks_nothing_is_refused() -> None:
    assert all(map(Guard().allows, VERBS))


def test_headers_before_the_message_have_all_edits_of_later_ones() -> None:
    edits = {verb.partition(".")[2] for verb in VERBS if verb.startswith("Headers.")}
    assert all(callable(getattr(QueuedHeaders, edit)) for edit in edits)


# Fields that checks add

CHECKS = """
def filter_sender(envelope):
    envelope.headers.add("X-Check", "sender")
    envelope.add_recipient("<dave@example.org>")
def filter_recipient(envelope, recipient):
    envelope.headers.insert("X-Top", "recipient")
def filter_begin(message):
    {}
"""


def scanned(load_filter: LoadFilter, workdir: Path, code: str) -> bytes:
    worker = make_worker(load_filter(CHECKS.format(code)))
    worker.answer(sender_request(workdir))
    worker.answer(recipient_request(workdir))
    assert worker.answer(b"scan Q1 %s" % str(workdir).encode()) == b"ok\n"
    return (workdir / "RESULTS").read_bytes()


def test_fields_that_checks_added_show_in_the_message(load_filter: LoadFilter, workdir: Path) -> None:
    found = scanned(
        load_filter,
        workdir,
        "assert message.headers.items()[0] == ('X-Top', 'recipient')\n"
        "    assert message.headers.items()[-1] == ('X-Check', 'sender')\n"
        "    message.headers.add('X-Seen', message.headers.get('x-check'))",
    )
    assert found == b"HX-Check sender\nR<dave@example.org>\nNX-Top 0 recipient\nHX-Seen sender\nF\n"


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        ("message.headers.delete('X-Check')", b"R<dave@example.org>\nNX-Top 0 recipient\nF\n"),
        ("message.headers.delete_all('X-Top')", b"R<dave@example.org>\nHX-Check sender\nF\n"),
        ("message.headers.replace('X-Check', 'b')", b"R<dave@example.org>\nNX-Top 0 recipient\nHX-Check b\nF\n"),
        (
            "message.headers.replace('X-Check', 'sender')",
            b"HX-Check sender\nR<dave@example.org>\nNX-Top 0 recipient\nF\n",
        ),
    ],
)
def test_fields_that_checks_added_can_be_changed(
    load_filter: LoadFilter, workdir: Path, edit: str, expected: bytes
) -> None:
    assert scanned(load_filter, workdir, edit) == expected


def test_a_refused_message_needs_no_other_lines(load_filter: LoadFilter, workdir: Path) -> None:
    found = scanned(load_filter, workdir, "message.headers.delete('X-Check'); message.reject('no')")
    assert found.endswith(b"B554 5.7.1 no\nF\n")
