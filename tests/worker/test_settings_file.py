# SPDX-License-Identifier: GPL-3.0-or-later
"""A filter's settings in a TOML file."""

from __future__ import annotations

from pathlib import Path

import pytest

from defang_worker import Action, Limits, Policy, Settings, Severity


def load(tmp_path: Path, text: str) -> Settings:
    path = tmp_path / "filter.toml"
    path.write_text(text)
    return Settings.load(str(path))


def test_file_has_the_names_of_the_settings(tmp_path: Path) -> None:
    text = """
        admin = "hostmaster@example.org"
        warning_index = -1
        collapse = true
        trusted_relays = ["192.0.2.0/24", "::1"]
        [ambiguity]
        medium = "refuse"
        log_from = "high"
        [limits]
        max_parts = 50
    """
    assert load(tmp_path, text) == Settings(
        admin="hostmaster@example.org",
        warning_index=-1,
        collapse=True,
        trusted_relays=("192.0.2.0/24", "::1"),
        ambiguity=Policy(medium=Action.REFUSE, log_from=Severity.HIGH),
        limits=Limits(max_parts=50),
    )


def test_empty_file_leaves_all_as_it_is(tmp_path: Path) -> None:
    assert load(tmp_path, "") == Settings()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("adminn = 'a'", "adminn is no setting, is admin meant?"),
        ("xyzzy = 1", "xyzzy is no setting"),
        ("admin = 1", "admin cannot be 1"),
        ("warning_index = true", "warning_index cannot be True"),
        ("collapse = 1", "collapse cannot be 1"),
        ("trusted_relays = ['a b']", "a b"),
        ("trusted_relays = [1]", "trusted_relays cannot be"),
        ("trusted_relays = '::1'", "trusted_relays cannot be"),
        ("ambiguity = 'fierce'", "no policy is named 'fierce'"),
        ("[ambiguity]\nmedium = 'explode'", "medium cannot be 'explode'"),
        ("[limits]\nmax_part = 1", "max_part is no setting, is max_parts meant?"),
        ("admin = ", "Invalid value"),
    ],
)
def test_mistakes_are_named_with_the_file(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=r"filter\.toml: ") as caught:
        load(tmp_path, text)
    assert complaint in str(caught.value)


def test_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Settings.load(str(tmp_path / "none.toml"))


def test_checks_are_tables_with_a_kind(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        """
        check_budget_s = 30
        [checks.clamav]
        kind = "Clamd"
        addresses = ["/run/a", "127.0.0.1:3310"]
        timeout_s = 20
        on_failure = "mark"
        [checks.program]
        kind = "CommandScanner:clamscan"
        """,
    )
    clamav, program = settings.checks
    assert (clamav.name, clamav.timeout_s, clamav.on_failure, settings.check_budget_s) == ("clamav", 20, "mark", 30.0)
    assert [circuit.name for circuit in clamav.circuits] == ["/run/a", "127.0.0.1:3310"]
    assert (program.name, type(program).__name__) == ("program", "CommandScanner")


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ('kind = "Clam"', "no check is named Clam"),
        ('kind = "Outcome"', "no check is named Outcome"),
        ('kind = "Check"', "no check is named Check"),
        ('kind = "Clamd"\ntimeout = 3', "timeout"),
        ('kind = "Clamd"\non_failure = "shrug"', "shrug"),
        ('kind = "Clamd:preset"', "preset"),
        ('kind = "CommandScanner:fprot"', "known are"),
        ("timeout_s = 3", "a table with a kind"),
    ],
)
def test_check_that_cannot_be_made_is_refused(tmp_path: Path, table: str, says: str) -> None:
    with pytest.raises(ValueError, match=rf"checks\.av.*{says}"):
        load(tmp_path, f"[checks.av]\n{table}\n")
