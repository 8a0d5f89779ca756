# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter API as docs/filter-reference.md tells it: every public member with its types and its docstring.

`fill_tables.py` writes what this gives. A public member without a docstring is an error: it would not be told.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from enum import Enum
from functools import cache
from itertools import pairwise
from typing import Final

import defang_worker

GROUPS: Final = {
    "The filter": ("Filter", "Settings", "Limits", "Policy", "Action"),
    "What callbacks get": ("Connection", "Envelope", "Recipient", "Address", "Message", "Headers", "Part", "Resent"),
    "What is found": ("Defect", "Severity"),
    "What callbacks return": ("Response", "Verdict", "Lookup"),
    "Exceptions": ("CommandFailed", "CheckFailed", "WrongStage"),
}
"""The classes that `defang_worker` offers, in the order of the page."""

MODULES: Final = {
    "defang_worker.archives": ("archive_kind", "members", "member_names"),
    "defang_worker.programs": ("run", "ProgramFailed"),
    "defang_worker.status": ("doing",),
}
"""Functions beside the objects, by the module that they are imported from."""

FOR_THE_WORKER: Final = {
    "Connection": {"began_at", "of_request", "settings", "states"},
    "Envelope": {
        "began_at",
        "commands",
        "directory",
        "journal",
        "of_commands",
        "of_request",
        "settings",
        "states",
        "tested",
    },
    "Recipient": {"of_commands", "of_request"},
    "Defect": {"of", "with_severity"},
    "Message": {
        "body",
        "check_budget",
        "defects_of",
        "final_body",
        "finish_body",
        "is_parsed",
        "journal",
        "known_defects",
        "known_parts",
        "outbox",
        "record",
        "refused_for_structure",
        "results",
        "settings",
    },
    "Headers": {"changes", "earlier_changed"},
    "Part": {"entity", "field_changes", "put", "replacement", "shown"},
    "Response": {"correction", "to_answer", "to_result"},
}
"""Public by name only: these are for the worker, which makes the objects and turns them into lines of the wire."""


def public_members(cls: type) -> set[str]:
    """The names of what a filter may use of the class, those of its enumeration too."""
    inherited = {name for base in (str, int, Exception) if issubclass(cls, base) for name in dir(base)}
    named = {name for name in dir(cls) if not name.startswith("_")} - inherited
    return (named | set(getattr(cls, "__members__", ()))) - FOR_THE_WORKER.get(cls.__name__, set())


@cache
def _attributes(cls: type) -> dict[str, tuple[str, str]]:
    """Type and docstring of each attribute that has a docstring behind it, in the class or in its `__init__`."""
    found: dict[str, tuple[str, str]] = {}
    for base in reversed(cls.__mro__):
        module = sys.modules[base.__module__]
        if not base.__module__.startswith("defang_"):
            continue
        tree = ast.parse(inspect.getsource(module))
        (node,) = (one for one in tree.body if isinstance(one, ast.ClassDef) and one.name == base.__name__)
        made = [one for one in node.body if isinstance(one, ast.FunctionDef) and one.name == "__init__"]
        bodies = [node.body, *(one.body for one in made)]
        for body in bodies:
            for told, text in pairwise(body):
                if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
                    found |= _told(told, str(text.value.value))
    return found


def _told(assigned: ast.stmt, text: str) -> dict[str, tuple[str, str]]:
    match assigned:
        case ast.AnnAssign(target=ast.Name(id=name) | ast.Attribute(attr=name), annotation=kind):
            return {name: (ast.unparse(kind), text)}
        case ast.Assign(targets=[ast.Name(id=name) | ast.Attribute(attr=name)]):
            return {name: ("", text)}
        case _:
            return {}


def of_member(cls: type, name: str) -> tuple[str, str]:
    """How the member is written, with types, and its docstring. Raises LookupError if it has none."""
    static = inspect.getattr_static(cls, name)
    if isinstance(static, property):
        kind = inspect.signature(static.fget).return_annotation if static.fget else ""
        shown, text = f"{name}: {kind}", static.__doc__
    elif isinstance(static, classmethod | staticmethod) or inspect.isfunction(static):
        bound = static.__func__ if isinstance(static, classmethod | staticmethod) else static
        signature = inspect.signature(bound)
        if not isinstance(static, staticmethod):
            signature = signature.replace(parameters=list(signature.parameters.values())[1:])
        shown, text = name + _without_quotes(signature), bound.__doc__
    else:
        kind, text = _attributes(cls).get(name, ("", None))
        shown = (f"{name}: {kind}" if kind else name) + _default(cls, name)
    if not text:
        raise LookupError(f"{cls.__name__}.{name} has no docstring")
    return shown, text


def _default(cls: type, name: str) -> str:
    """The value that a setting or limit has if nothing is said."""
    fields = {field.name: field for field in dataclasses.fields(cls)} if dataclasses.is_dataclass(cls) else {}
    if name not in fields or fields[name].default is dataclasses.MISSING:
        return ""
    default = fields[name].default
    return f" = {type(default).__name__}.{default.name}" if isinstance(default, Enum) else f" = {default!r}"


def _without_quotes(signature: inspect.Signature) -> str:
    """As it stands in the source: annotations that are text without their quotation marks."""
    text = str(signature).removesuffix(" -> 'None'")
    return re.sub(r"(: |-> )'([^']*)'", r"\1\2", text)


def _order(cls: type) -> list[str]:
    """Attributes and properties first, then the rest, each as the source has them."""
    names = public_members(cls)
    source = [name for name in _attributes(cls) if name in names]
    source += [name for base in cls.__mro__ for name in vars(base) if name in names]
    source = list(dict.fromkeys([*source, *sorted(names)]))
    return sorted(source, key=lambda name: callable(getattr(cls, name, None)) and name not in _attributes(cls))


def _paragraphs(text: str) -> str:
    """A docstring with each paragraph on one line."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in inspect.cleandoc(text).split("\n\n"))


def _of_class(cls: type) -> Iterator[str]:
    yield f"### {cls.__name__}\n"
    yield _paragraphs(cls.__doc__ or "")
    for at, name in enumerate(_order(cls)):
        if at == 0:
            yield ""
        shown, text = of_member(cls, name)
        yield f"- `{shown}`: {' '.join(text.split())}"
    yield ""


def _of_module(name: str) -> Iterator[str]:
    yield f"### {name}\n"
    module = importlib.import_module(name)
    for member in MODULES[name]:
        value = getattr(module, member)
        shown = member + (_without_quotes(inspect.signature(value)) if inspect.isfunction(value) else "")
        yield f"- `{shown}`: {' '.join((value.__doc__ or '').split())}"
    yield ""


def reference() -> str:
    """The whole of it."""
    lines: list[str] = []
    for heading, names in GROUPS.items():
        lines.append(f"## {heading}\n")
        for name in names:
            lines += _of_class(getattr(defang_worker, name))
    lines.append("## Modules beside it\n")
    for name in MODULES:
        lines += _of_module(name)
    return "\n".join(lines).rstrip("\n")
