# SPDX-License-Identifier: GPL-3.0-or-later
"""The tables that decide about malformed mail, and the field that tells of it."""

import re

import pytest

from defang_worker.mime.defects import Defect, Severity
from defang_worker.mime.policy import DEFAULT, LENIENT, LOG_ONLY, OBSERVE, STRICT, Action, Policy, decide, named
from defang_worker.mime.results_header import results_value
from defang_worker.mime.views import Examination

GRAMMAR = re.compile(
    r"[\w.]+; result=(none|noted|ambiguous|incomplete); severity=(info|low|medium|high); views=[0-9]{1,3};"
    r" action=(none|rebuilt|removed|quarantined)(;\n defect=[a-z0-9-]+ part=[0-9.]+){0,20}"
)


def of(name: str, severity: Severity | None = None, part: str = "1") -> Defect:
    defect = Defect.of(name, part)
    return defect if severity is None else defect.with_severity(severity)


@pytest.mark.parametrize(
    ("policy", "actions"),
    [
        (DEFAULT, [Action.DELIVER, Action.DELIVER, Action.REBUILD, Action.REFUSE]),
        (STRICT, [Action.DELIVER, Action.REBUILD, Action.REFUSE, Action.REFUSE]),
        (LENIENT, [Action.DELIVER, Action.DELIVER, Action.DELIVER, Action.QUARANTINE]),
        (LOG_ONLY, [Action.DELIVER] * 4),
        (OBSERVE, [Action.DELIVER] * 4),
    ],
)
def test_the_worst_defect_decides(policy: Policy, actions: list[Action]) -> None:
    info = of("nested-message")
    for severity, action in zip(Severity, actions, strict=True):
        assert decide(policy, [info, of("bare-lf", severity), info], None) is action
    assert decide(policy, [], None) is Action.DELIVER


def test_what_is_in_contents_is_not_rebuilt() -> None:
    assert decide(DEFAULT, [of("archive-junk")], None) is Action.DELIVER
    assert decide(DEFAULT, [of("archive-name-mismatch")], None) is Action.REFUSE
    assert decide(STRICT, [of("archive-junk")], None) is Action.REFUSE


def test_encrypted_archives_and_limits_have_their_own_rule() -> None:
    assert decide(DEFAULT, [of("archive-encrypted")], "archive-encrypted") is Action.DELIVER
    assert decide(STRICT, [of("archive-encrypted")], "archive-encrypted") is Action.REFUSE
    assert decide(DEFAULT, [], "parts") is Action.REFUSE
    assert decide(LENIENT, [], "parts") is Action.DELIVER
    assert decide(Policy(encrypted=Action.QUARANTINE), [of("archive-encrypted")], None) is Action.QUARANTINE


def test_policies_have_names() -> None:
    assert named("strict") is STRICT
    assert named(LENIENT) is LENIENT
    with pytest.raises(ValueError, match="'strikt'; there are observe, log-only"):
        named("strikt")


@pytest.mark.parametrize(
    ("examination", "begins"),
    [
        (Examination(), "gw.example; result=none; severity=info; views=1"),
        (Examination(defects=(of("bare-lf", Severity.LOW),)), "gw.example; result=noted; severity=low; views=1"),
        (Examination(incomplete="parts"), "gw.example; result=incomplete; severity=info"),
        (
            Examination(view_count=3000, defects=tuple(of("bare-cr", part=str(number)) for number in range(1, 40))),
            "gw.example; result=ambiguous; severity=high; views=999",
        ),
        (Examination(defects=(of("bare-cr", part=""), of("nested-message"))), "gw.example; result=ambiguous"),
    ],
)
def test_the_field_is_by_its_grammar(examination: Examination, begins: str) -> None:
    value = results_value("gw.example", examination, "none")
    assert value.startswith(begins)
    assert GRAMMAR.fullmatch(value)
    assert "nested-message" not in value


def test_defects_are_told_once_with_their_parts() -> None:
    defects = (of("bare-cr", part=""), of("bare-cr", part=""), of("bare-lf", part="1.2"))
    value = results_value("gw", Examination(defects=defects), "rebuilt")
    assert value.endswith("action=rebuilt;\n defect=bare-cr part=0;\n defect=bare-lf part=1.2")
