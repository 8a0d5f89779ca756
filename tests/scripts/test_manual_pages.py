# SPDX-License-Identifier: GPL-3.0-or-later
"""The manual pages have all that the programs' own tables have, in troff's language."""

from __future__ import annotations

from pathlib import Path

import pytest

from defang_milter import settings as milter_settings
from defang_mux import settings as mux_settings
from defang_mux.sockets.control import HELP
from defang_service.variables import VARIABLES
from scripts import install, manual_pages

# Requests of man(7) that the pages use; a line of text that begins like one would be taken for it.
REQUESTS = (".TH ", ".SH ", ".TP", ".br", ".nf", ".fi")
PAGES = {page.name: page.text("/opt/share/defang") for page in manual_pages.pages()}
# As a reader sees it.
SHOWN = {name: text.replace("\\-", "-").replace("\\(aq", "'") for name, text in PAGES.items()}


def test_every_command_that_is_installed_has_its_page(tmp_path: Path) -> None:
    manual_pages.main(str(tmp_path / "man8"), "/opt/share/defang")
    assert {path.stem for path in (tmp_path / "man8").iterdir()} == set(install.COMMANDS) == set(PAGES)


def test_every_option_command_and_variable_is_told() -> None:
    for row in mux_settings.OPTIONS:
        assert f"--{row.name}" in SHOWN["defang-mux"]
    for option in milter_settings.OPTIONS:
        assert f"--{option.name}" in SHOWN["defang-milter"]
        assert option.help in SHOWN["defang-milter"]
    for line in HELP:
        assert f"\\fB{line.usage}\\fR\n{line.words}\n" in SHOWN["md-mx-ctrl"]
    for variable in VARIABLES:
        assert f"\\fB{variable.name}\\fR\n{variable.meaning}" in SHOWN["defang-service"].replace("`", "") or (
            "`" in variable.meaning
        )
    assert "quarantine" in SHOWN["defang-worker"]


@pytest.mark.parametrize("name", PAGES)
def test_text_is_never_taken_for_a_request(name: str) -> None:
    for line in PAGES[name].splitlines():
        assert not line.startswith("'")
        assert not line.startswith(".") or line.startswith(REQUESTS)


@pytest.mark.parametrize("page", manual_pages.pages(), ids=lambda page: page.name)
def test_a_page_names_documents_that_are_installed(page: manual_pages.Page) -> None:
    assert [name for name in page.documents if not (install.SOURCE / "docs" / name).exists()] == []
    assert all(f"/opt/share/defang/docs/{name}" in SHOWN[page.name] for name in page.documents)
