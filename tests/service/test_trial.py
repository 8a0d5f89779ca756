# SPDX-License-Identifier: GPL-3.0-or-later
"""What is found before anything is stopped, by the real programs; a stand-in for the worker tells of its memory."""

from __future__ import annotations

import os
import pwd
import sys
from pathlib import Path

import pytest

from defang_service.trial import Failed, Found, Trial, never_called
from defang_service.variables import service_of

ON_REQUEST = """\
def filter_sender(envelope):
    return None

def filter_recipient(envelope, recipient):
    return None
"""


def tried(tmp_path: Path, **variables: str) -> Found:
    rules = tmp_path / "filter.py"
    if not rules.exists():
        rules.write_text("def filter_begin(message):\n    pass\n")
    user = pwd.getpwuid(os.geteuid()).pw_name
    given = {"SPOOLDIR": str(tmp_path), "MX_USER": user, **variables}
    if "FILTER" not in given:
        given["SUBFILTER"] = str(rules)
    environment = {**os.environ, **given}
    return Trial(service=service_of(given), environment=environment, programs=Path(sys.executable).parent).run()


def test_a_service_with_which_nothing_is_wrong_says_what_the_worker_says(tmp_path: Path) -> None:
    found = tried(tmp_path)
    assert found.said == f"{tmp_path}/filter.py: the filter can be used; callbacks: filter_begin"
    assert found.remarks == ()


@pytest.mark.parametrize("variable", ["MX_EXTRA", "MD_EXTRA"])
@pytest.mark.parametrize(
    ("options", "said"),
    [("--no-such-option", "no-such-option"), ("--config {there}", "no key x"), ("--version", "does not serve")],
)
def test_options_that_a_daemon_refuses_fail_with_its_reason(
    tmp_path: Path, variable: str, options: str, said: str
) -> None:
    config = tmp_path / "defang.toml"
    config.write_text("x = 1\n")
    program = {"MX_EXTRA": "defang-mux", "MD_EXTRA": "defang-milter"}[variable]
    with pytest.raises(Failed, match=f"{program}.*{said}"):
        tried(tmp_path, **{variable: options.format(there=config)})


def test_a_filter_that_cannot_be_loaded_fails_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "filter.py").write_text("import nothing_of_that_name\n")
    with pytest.raises(Failed, match="nothing_of_that_name"):
        tried(tmp_path)


@pytest.mark.parametrize(
    "switched_on", [{"MX_SENDER_CHECK": "yes"}, {"MD_EXTRA": "-s"}, {"MD_EXTRA": "--config {config}"}]
)
def test_a_callback_that_no_option_asks_for_is_told(tmp_path: Path, switched_on: dict[str, str]) -> None:
    (tmp_path / "filter.py").write_text(ON_REQUEST)
    config = tmp_path / "defang.toml"
    config.write_text("[milter]\nsender-check = true\n")
    (remark,) = tried(tmp_path, **{name: value.format(config=config) for name, value in switched_on.items()}).remarks
    assert remark == "the filter has filter_recipient, which is never called without MX_RECIPIENT_CHECK=yes (-t)"


def test_another_worker_that_names_no_callbacks_is_not_judged() -> None:
    assert never_called("Filter /etc/mail/mimedefang-filter seems syntactically correct.", {}) == []
    off = {"relay-check": False, "helo-check": False, "sender-check": False, "recipient-check": False}
    assert never_called("x: the filter can be used; callbacks: none", off) == []
    assert len(never_called("x: callbacks: filter_relay, filter_helo, filter_sender, filter_recipient\n", off)) == 4


# Needs as many kilobytes to load.
GREEDY = """#!/bin/sh
most=$(ulimit -v)
[ "$most" = unlimited ] || [ "$most" -ge 60000 ]
"""


def test_a_limit_on_memory_that_leaves_little_for_mail_is_told_and_one_too_low_to_load_fails(tmp_path: Path) -> None:
    worker = tmp_path / "worker"
    worker.write_text(GREEDY)
    worker.chmod(0o755)
    assert tried(tmp_path, FILTER=str(worker), MX_MAX_AS="200000").remarks == ()
    (remark,) = tried(tmp_path, FILTER=str(worker), MX_EXTRA="-M 100000").remarks
    assert remark.startswith("a worker has 100000 kilobytes of memory (MX_MAX_AS or -M)")
    with pytest.raises(Failed, match="cannot load the filter within 50000 kilobytes"):
        tried(tmp_path, FILTER=str(worker), MX_MAX_AS="50000")


def test_variables_that_look_like_ours_and_are_none_are_told(tmp_path: Path) -> None:
    remarks = tried(tmp_path, MILTER_OPTIONS="-s", SUBFILTR="/x", LANG="C", SSH_AUTH_SOCK="/y").remarks
    assert [remark.partition(":")[0] for remark in remarks] == ["MILTER_OPTIONS", "SUBFILTR"]
    assert "MD_EXTRA" in remarks[0]
    assert "is SUBFILTER meant?" in remarks[1]
