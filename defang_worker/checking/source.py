# SPDX-License-Identifier: GPL-3.0-or-later
"""A filter's source, walked function by function: which members of the API it uses, and how it calls them.

What a value is follows from callbacks' arguments, annotations and simple assignments. A name that is given values of
two kinds is unknown, so that only what is surely wrong is told.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from defang_worker.api.hooks import HOOKS
from defang_worker.checking import known
from defang_worker.checking.constants import Constants
from defang_worker.checking.known import ClassItself, Fact, Instance, Method, Several, Value

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_API: Final = "defang_worker"
# Of a text that is in small letters and has no blanks.
_CHANGE_NO_FACT: Final = frozenset({"lower", "casefold", "strip"})

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """A member of the API that is named at some place; `call` is the call of it, if it is one."""

    owner: type
    name: str
    line: int
    is_assigned: bool = False
    call: ast.Call | None = None
    method: Method | None = None
    texts: Mapping[ast.expr, str] = field(default_factory=dict)
    """Arguments of the call that are constant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A fact that is compared with a constant."""

    fact: Fact
    text: str
    line: int


@dataclass(slots=True, kw_only=True)
class FunctionUses:
    """What one function of the filter uses: members of the API, and other functions of the filter by name."""

    name: str
    uses: list[Use] = field(default_factory=list)
    comparisons: list[Comparison] = field(default_factory=list)
    calls: set[str] = field(default_factory=set)


def functions(tree: ast.Module) -> list[FunctionUses]:
    """All functions of the file, methods too."""
    names, constants = _imported(tree), Constants(tree)
    return [_Walk(names, constants).function(node) for node in ast.walk(tree) if isinstance(node, Function)]


def _imported(tree: ast.Module) -> dict[str, type]:
    """The API's classes by the names that the file gives them."""
    names: dict[str, type] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == _API:
            for alias in node.names:
                if alias.name == "*":
                    names |= known.CLASSES
                elif alias.name in known.CLASSES:
                    names[alias.asname or alias.name] = known.CLASSES[alias.name]
    return names


class _Walk(ast.NodeVisitor):
    """Goes through one function in the order of its text."""

    def __init__(self, names: dict[str, type], constants: Constants) -> None:
        self._names = names
        self._constants = constants
        self._values: dict[str, Value] = {}
        self._found = FunctionUses(name="")
        self._called: set[ast.expr] = set()

    def function(self, node: Function) -> FunctionUses:
        self._found = FunctionUses(name=node.name)
        given = [*node.args.posonlyargs, *node.args.args]
        if given and given[0].arg == "self":
            given = given[1:]
        for position, arg in enumerate(given):
            if arg.annotation is not None:
                self._values[arg.arg] = known.of_expression(arg.annotation, self._names)
            elif node.name in HOOKS and position < len(HOOKS[node.name]):
                self._values[arg.arg] = known.argument(node.name, position)
        for arg in node.args.kwonlyargs:
            if arg.annotation is not None:
                self._values[arg.arg] = known.of_expression(arg.annotation, self._names)
        for name in self._of_two_kinds(node):
            self._values[name] = None
        for statement in node.body:
            self.visit(statement)
        return self._found

    def _of_two_kinds(self, node: Function) -> Iterator[str]:
        """The names that are bound more than once in the function, arguments counted."""
        seen = {arg.arg for arg in ast.walk(node.args) if isinstance(arg, ast.arg)}
        for inner in ast.walk(node):
            if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
                if inner.id in seen:
                    yield inner.id
                seen.add(inner.id)

    # Statements and expressions that give names their values

    def visit_Assign(self, node: ast.Assign) -> None:  # ast's way of naming
        self.generic_visit(node)
        for target in node.targets:
            self._bind(target, self._value(node.value))

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self.generic_visit(node)
        self._bind(node.target, known.of_expression(node.annotation, self._names))

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self.generic_visit(node)
        self._bind(node.target, self._value(node.value))

    def visit_For(self, node: ast.For) -> None:
        self._bind(node.target, self._element(node.iter))
        self.generic_visit(node)

    def visit_ListComp(self, node: ast.ListComp) -> None:
        self._comprehension(node.generators, node)

    def visit_SetComp(self, node: ast.SetComp) -> None:
        self._comprehension(node.generators, node)

    def visit_DictComp(self, node: ast.DictComp) -> None:
        self._comprehension(node.generators, node)

    def visit_GeneratorExp(self, node: ast.GeneratorExp) -> None:
        self._comprehension(node.generators, node)

    def _comprehension(self, generators: list[ast.comprehension], node: ast.expr) -> None:
        for generator in generators:
            self._bind(generator.target, self._element(generator.iter))
        self.generic_visit(node)

    def _bind(self, target: ast.expr, value: Value) -> None:
        # A name that is already there as None has values of two kinds.
        if isinstance(target, ast.Name) and not (target.id in self._values and self._values[target.id] is None):
            self._values[target.id] = value

    def _element(self, node: ast.expr) -> Value:
        value = self._value(node)
        return value.of if isinstance(value, Several) else None

    # Functions within are walked on their own

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        """Left to `functions`."""

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        """Left to `functions`."""

    def visit_Lambda(self, node: ast.Lambda) -> None:
        """Its arguments hide names of the function; what they are is not known."""

    # Uses

    def visit_Call(self, node: ast.Call) -> None:
        match node.func:
            case ast.Name(id=name) | ast.Attribute(value=ast.Name(id="self"), attr=name):
                self._found.calls.add(name)
            case _:
                pass
        method = self._value(node.func)
        if isinstance(method, Method):
            given = [*node.args, *(word.value for word in node.keywords)]
            texts = {one: text for one in given if (text := self._constants.text(one)) is not None}
            self._found.uses.append(
                Use(owner=method.of, name=method.name, line=node.lineno, call=node, method=method, texts=texts)
            )
            self._called.add(node.func)
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        operands = [node.left, *node.comparators]
        for left, operator, right in zip(operands, node.ops, operands[1:], strict=False):
            match operator:
                case ast.Eq() | ast.NotEq():
                    self._compared(left, [self._constants.text(right)], node.lineno)
                    self._compared(right, [self._constants.text(left)], node.lineno)
                case ast.In() | ast.NotIn():
                    self._compared(left, self._constants.texts(right), node.lineno)
                case _:
                    pass
        self.generic_visit(node)

    def visit_Match(self, node: ast.Match) -> None:
        for case in node.cases:
            for pattern in ast.walk(case.pattern):
                if isinstance(pattern, ast.MatchValue):
                    self._compared(node.subject, [self._constants.text(pattern.value)], pattern.lineno)
        self.generic_visit(node)

    def _compared(self, node: ast.expr, texts: Iterable[str | None], line: int) -> None:
        fact = self._value(node)
        if isinstance(fact, Fact):
            told = [Comparison(fact=fact, text=text, line=line) for text in texts if text is not None]
            self._found.comparisons += told

    def visit_Attribute(self, node: ast.Attribute) -> None:
        owner = self._value(node.value)
        if isinstance(owner, Instance | ClassItself) and node not in self._called:
            is_assigned = not isinstance(node.ctx, ast.Load)
            self._found.uses.append(Use(owner=owner.of, name=node.attr, line=node.lineno, is_assigned=is_assigned))
        self.generic_visit(node)

    def _value(self, node: ast.expr) -> Value:
        match node:
            case ast.Name(id=name) if name in self._values:
                return self._values[name]
            case ast.Name(id=name):
                return ClassItself(self._names[name]) if name in self._names else None
            case ast.Attribute(value=ast.Name(id="defang_worker"), attr=name):
                return ClassItself(known.CLASSES[name]) if name in known.CLASSES else None
            case ast.Attribute(value=inner, attr=name):
                owner = self._value(inner)
                return known.member(owner.of, name) if isinstance(owner, Instance | ClassItself) else None
            case ast.Call(func=func):
                return self._returned(func)
            case ast.Subscript(value=inner, slice=index) if not isinstance(index, ast.Slice):
                return self._element(inner)
            case ast.NamedExpr(value=inner):
                return self._value(inner)
            case _:
                return None

    def _returned(self, func: ast.expr) -> Value:
        if isinstance(func, ast.Attribute) and func.attr in _CHANGE_NO_FACT:
            fact = self._value(func.value)
            if isinstance(fact, Fact):
                return fact
        match self._value(func):
            case Method() as method:
                return known.returned(method)
            case ClassItself(of=cls):
                return Instance(cls)
            case _:
                return None
