# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules of the tree that import-linter cannot state: who may share, how large things get, how each file begins."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import grimp
import pytest

from scripts import fill_tables

ROOT = Path(__file__).parent.parent
PROGRAMS = {"defang_milter", "defang_mux", "defang_service", "defang_worker"}
PACKAGES = ["defang_common", *sorted(PROGRAMS)]
# 60 with a reason; the reasons are for review, the ceiling is for this test. A docstring does not count.
MAX_FUNCTION_LINES = 60
MAX_MODULE_LINES = 500
LICENSE_LINE = "# SPDX-License-Identifier: GPL-3.0-or-later"


def _sources() -> list[Path]:
    """Every Python file of ours; what tools make in the tree has names that begin with a dot."""
    tops = [top for top in ROOT.iterdir() if not top.name.startswith(".")]
    return [path for top in tops for pattern in ("*.py", "*.pyi") for path in top.rglob(pattern)]


def _product_sources() -> list[Path]:
    return [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]


def _functions(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Name and lines of each function, its docstring and decorators left out."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        first = node.body[0]
        is_docstring = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
        docstring_lines = (first.end_lineno or 0) - first.lineno + 1 if is_docstring else 0
        yield node.name, (node.end_lineno or 0) - node.lineno + 1 - docstring_lines


def test_a_shared_module_has_two_users() -> None:
    graph = grimp.build_graph(*PACKAGES, cache_dir=None)
    for module in graph.find_descendants("defang_common"):
        users = {name.partition(".")[0] for name in graph.find_downstream_modules(module, as_package=True)}
        assert len(users & PROGRAMS) >= 2, f"{module} is used by {users & PROGRAMS or 'no program'} only"


def test_every_source_file_names_its_license() -> None:
    missing = [path for path in _sources() if LICENSE_LINE not in path.read_text().split("\n", 2)[:2]]
    assert not missing


def test_every_product_module_says_what_lives_in_it() -> None:
    silent = [path for path in _product_sources() if not ast.get_docstring(ast.parse(path.read_text()))]
    assert not silent


@pytest.mark.parametrize("package", PACKAGES)
def test_functions_and_modules_stay_small(package: str) -> None:
    for path in (ROOT / package).rglob("*.py"):
        source = path.read_text()
        assert source.count("\n") <= MAX_MODULE_LINES, f"{path} is too long"
        for name, lines in _functions(ast.parse(source)):
            assert lines <= MAX_FUNCTION_LINES, f"{path}: {name} has {lines} lines"


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_is_typed_for_its_users(package: str) -> None:
    assert (ROOT / package / "py.typed").exists()


@pytest.mark.parametrize("document", fill_tables.DOCUMENTS, ids=lambda path: path.name)
def test_tables_in_documents_are_those_of_the_code(document: Path) -> None:
    text = document.read_text()
    assert "<!-- table: " in text
    assert fill_tables.fill(text) == text, "make docs repairs this"


def test_every_table_is_shown_somewhere() -> None:
    text = "".join(document.read_text() for document in fill_tables.DOCUMENTS)
    missing = [name for name in fill_tables.TABLES if f"<!-- table: {name} -->" not in text]
    assert not missing
