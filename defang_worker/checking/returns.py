# SPDX-License-Identifier: GPL-3.0-or-later
"""What callbacks return: literals that can be no answer, such as those of MIMEDefang's filters.

Each of them would be a temporary failure of all mail that comes by. Nothing is said about what is no literal. Pure;
called by `rules`.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Final

from defang_worker.api.hooks import HOOKS, Filter

if TYPE_CHECKING:
    from collections.abc import Iterator

Function = ast.FunctionDef | ast.AsyncFunctionDef

# What to write instead, by the first word: the words of MIMEDefang's filters, the numbers of its older ones, and what
# comes to mind in Python.
_INSTEAD: Final = {
    "Response": {
        **dict.fromkeys(("CONTINUE", "OK", "1", "True"), "None"),
        **dict.fromkeys(("REJECT", "0", "False"), "Response.reject({})"),
        **dict.fromkeys(("TEMPFAIL", "-1"), "Response.tempfail({})"),
        "DISCARD": "Response.discard()",
        **dict.fromkeys(("ACCEPT_AND_NO_MORE_FILTERING", "ACCEPT"), "Response.accept_all()"),
    },
    "Lookup": {
        "OK": "Lookup.found({})",
        "NOTFOUND": "Lookup.not_found({})",
        "TEMP": "Lookup.temporary({})",
        "TIMEOUT": "Lookup.timeout({})",
        "PERM": "Lookup.permanent({})",
    },
    "str": {"ok": "{}", "error:": "raise CommandFailed({})"},
}
_ELSE: Final = {"Response": "a Response or None", "Lookup": "a Lookup", "str": "a text or None"}
# The order of the fields behind the word (docs/from-mimedefang.md, Callbacks).
_FIELDS: Final = ("{}", "code={}", "dsn={}", "delay_s={}")
_Truth = ast.Compare | ast.UnaryOp
_Collection = ast.Tuple | ast.List | ast.Set | ast.Dict | ast.ListComp | ast.SetComp | ast.DictComp


def wrong_returns(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and text for each `return` of a callback that can be no answer."""
    for function in (node for node in ast.walk(tree) if isinstance(node, Function) and node.name in HOOKS):
        wanted = getattr(Filter, function.name).__annotations__["return"].removesuffix(" | None")
        for node in _returned(function.body) if wanted in _INSTEAD else ():
            for value in _values(node):
                if _is_wrong(value, wanted):
                    written, instead = ast.unparse(value), _instead(value, wanted)
                    yield node.lineno, f"{function.name} returns {written:.60}, which is no answer: {instead}"


def _returned(body: list[ast.stmt]) -> Iterator[ast.expr]:
    """What the function itself returns, not those within it."""
    waiting: list[ast.AST] = list(body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Return) and node.value is not None:
            yield node.value
        elif not isinstance(node, Function | ast.ClassDef | ast.Lambda):
            waiting += ast.iter_child_nodes(node)


def _values(node: ast.expr) -> Iterator[ast.expr]:
    """What the expression may be, as far as it says so."""
    match node:
        case ast.IfExp(body=one, orelse=other):
            yield from _values(one)
            yield from _values(other)
        case ast.BoolOp(values=[*_, last]) | ast.NamedExpr(value=last):
            yield from _values(last)
        case _:
            yield node


def _is_wrong(node: ast.expr, wanted: str) -> bool:
    match node:
        case ast.Constant(value=None):
            return wanted == "Lookup"
        case ast.Constant(value=str()) | ast.JoinedStr():
            return wanted != "str"
        case ast.Attribute(value=ast.Name(id="Verdict" | "LookupStatus")):
            return True
        # The method itself, not what it makes.
        case ast.Attribute(value=ast.Name(id="Response" | "Lookup")) | ast.Name(id="Response" | "Lookup"):
            return True
        case _:
            return isinstance(node, ast.Constant | _Truth | _Collection)


def _instead(node: ast.expr, wanted: str) -> str:
    first, fields = node, list[ast.expr]()
    if isinstance(node, ast.Tuple) and node.elts:
        first, *fields = node.elts
    match first:
        case ast.Constant(value=str(word)) | ast.Attribute(value=ast.Name(id="Verdict"), attr=word):
            pass
        case _:
            word = ast.unparse(first)
    known = _INSTEAD[wanted].get(word)
    if known is None:
        return f"return {_ELSE[wanted]}"
    given = ", ".join(shape.format(ast.unparse(one)) for shape, one in zip(_FIELDS, fields, strict=False))
    return known.format(given) if known.startswith("raise") else f"return {known.format(given)}"
