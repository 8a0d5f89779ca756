# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules for a filter's source: names exist, calls fit, verbs are used where they have an effect.

Pure: source text in, findings out.
"""

from __future__ import annotations

import ast
import inspect
import re
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final

from defang_worker import Envelope, Message
from defang_worker.api.hooks import HOOKS
from defang_worker.api.stages import VERBS, Stage
from defang_worker.checking import former_names, known
from defang_worker.checking.findings import Finding, Kind
from defang_worker.checking.returns import wrong_returns
from defang_worker.checking.source import FunctionUses, Use, functions

if TYPE_CHECKING:
    from collections.abc import Iterator

_STAGES: Final = {stage.value: stage for stage in Stage}


def check_source(file: str, text: str) -> list[Finding]:
    """What is wrong with the source, in the order of its lines; raises SyntaxError for what is no Python."""
    tree = ast.parse(text, file)
    found = functions(tree)
    named = [*_hidden_callbacks(tree), *former_names.calls_of_them(tree)]
    findings = [Finding(file=file, line=line, kind=Kind.NAME, text=told) for line, told in named]
    findings += [
        Finding(file=file, line=line, kind=kind, text=told)
        for function in found
        for use in function.uses
        for line, kind, told in _of_use(use)
    ]
    findings += [
        Finding(file=file, line=one.line, kind=Kind.VALUE, text=f"{one.fact.of.__name__}.{one.fact.name} {never}")
        for function in found
        for one in function.comparisons
        if (never := one.fact.never(one.text))
    ]
    findings += [Finding(file=file, line=line, kind=Kind.VALUE, text=told) for line, told in wrong_returns(tree)]
    findings += [
        Finding(file=file, line=use.line, kind=Kind.STAGE, text=told)
        for function, stages in _reached(found)
        for use in function.uses
        for told in _out_of_stage(use, stages)
    ]
    return sorted(set(findings), key=lambda finding: (finding.line, finding.text))


def _hidden_callbacks(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Callbacks that are defined twice: Python takes the last one without a word."""
    for body in (node.body for node in ast.walk(tree) if isinstance(node, ast.Module | ast.ClassDef)):
        lines: dict[str, int] = {}
        for node in body:
            if isinstance(node, ast.FunctionDef) and node.name in HOOKS:
                if node.name in lines:
                    yield node.lineno, f"{node.name} is defined again; that of line {lines[node.name]} is never called"
                lines[node.name] = node.lineno


def verbs(text: str) -> set[str]:
    """The verbs that the source calls, such as "Part.drop"."""
    return {verb for function in functions(ast.parse(text)) for use in function.uses if (verb := _verb(use))}


def _of_use(use: Use) -> Iterator[tuple[int, Kind, str]]:
    owner = use.owner.__name__
    names = known.members(use.owner)
    if use.name not in names and not use.name.startswith("__"):
        yield use.line, Kind.NAME, f"{owner} has no member {use.name}{_perhaps(use.name, names)}"
    elif use.is_assigned:
        # Most raise; the few that do not would change what we keep of the message, and not the message.
        yield use.line, Kind.NAME, f"{owner}.{use.name} is not to be assigned to"
    if use.call is not None and use.method is not None:
        for kind, wrong in _misfits(use, use.call, use.method):
            yield use.line, kind, f"{owner}.{use.name}: {wrong}"


def _perhaps(name: str, names: set[str]) -> str:
    """What may have been meant."""
    if name in former_names.NAMES:
        return f"; here it is {former_names.NAMES[name]}"
    meant = get_close_matches(name, names, n=1)
    return f"; {meant[0]} perhaps?" if meant else ""


def _misfits(use: Use, call: ast.Call, method: known.Method) -> Iterator[tuple[Kind, str]]:
    """Why a method does not take the arguments of its call; nothing if it does, or if that cannot be told."""
    if any(isinstance(arg, ast.Starred) for arg in call.args) or any(word.arg is None for word in call.keywords):
        return
    given = [*([None] * method.takes_self), *call.args]
    signature = inspect.signature(method.function)
    try:
        bound = signature.bind(*given, **{word.arg: word.value for word in call.keywords if word.arg})
    except TypeError as error:
        yield Kind.CALL, str(error)
        return
    for name, node in bound.arguments.items():
        text = use.texts.get(node) if isinstance(node, ast.expr) else None
        if text is not None and "re.Pattern" in str(signature.parameters[name].annotation):
            try:
                re.compile(text, re.IGNORECASE)
            except re.error as error:
                yield Kind.VALUE, f"the pattern {text!r} is none: {error}"


def _reached(found: list[FunctionUses]) -> Iterator[tuple[FunctionUses, list[Stage]]]:
    """Each function with the callbacks that it is, or is called from."""
    by_name: dict[str, list[FunctionUses]] = {}
    for function in found:
        by_name.setdefault(function.name, []).append(function)
    stages: dict[int, list[Stage]] = {id(function): [] for function in found}
    for name in (name for name in HOOKS if name in _STAGES):
        waiting, seen = list(by_name.get(name, [])), set[int]()
        while waiting:
            function = waiting.pop()
            if id(function) in seen:
                continue
            seen.add(id(function))
            stages[id(function)].append(_STAGES[name])
            waiting += [one for called in function.calls if called not in _STAGES for one in by_name.get(called, [])]
    return ((function, stages[id(function)]) for function in found)


def _out_of_stage(use: Use, stages: list[Stage]) -> Iterator[str]:
    verb = _verb(use)
    if verb is None:
        return
    for stage in stages:
        if stage not in VERBS[verb]:
            allowed = ", ".join(one.value for one in Stage if one in VERBS[verb])
            yield f"{verb} has no effect in {stage.value}, only in {allowed}"


def _verb(use: Use) -> str | None:
    """The verb of the table of stages that is called, if it is one."""
    if use.call is None:
        return None
    verb = f"{use.owner.__name__}.{use.name}"
    if verb not in VERBS and use.owner is Message:
        verb = f"{Envelope.__name__}.{use.name}"
    return verb if verb in VERBS else None
