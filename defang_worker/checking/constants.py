# SPDX-License-Identifier: GPL-3.0-or-later
"""Texts that stand in a filter's source: literals, and names at its top that are given one value and no other."""

from __future__ import annotations

import ast
from collections import Counter
from typing import Final

_CONTAINERS: Final = frozenset({"frozenset", "list", "set", "tuple"})


class Constants:
    """The constant texts of one file."""

    def __init__(self, tree: ast.Module) -> None:
        bound = Counter(
            node.arg if isinstance(node, ast.arg) else node.id
            for node in ast.walk(tree)
            if isinstance(node, ast.arg) or (isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load))
        )
        self._values: dict[str, ast.expr] = {}
        for statement in tree.body:
            match statement:
                case ast.Assign(targets=[ast.Name(id=name)], value=value) if bound[name] == 1:
                    self._values[name] = value
                case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value) if bound[name] == 1:
                    self._values[name] = value
                case _:
                    pass

    def text(self, node: ast.expr) -> str | None:
        """The text that the expression is; None if it is none, or that cannot be told."""
        match node:
            case ast.Constant(value=str(text)):
                return text
            case ast.Name(id=name) if isinstance(value := self._values.get(name), ast.Constant):
                return self.text(value)
            case _:
                return None

    def texts(self, node: ast.expr) -> list[str]:
        """The texts in a tuple, list or set, as far as they can be told."""
        match node:
            case ast.Name(id=name) if isinstance(
                value := self._values.get(name), ast.Tuple | ast.List | ast.Set | ast.Call
            ):
                return self.texts(value)
            case ast.Tuple(elts=elements) | ast.List(elts=elements) | ast.Set(elts=elements):
                return [text for one in elements if (text := self.text(one)) is not None]
            case ast.Call(func=ast.Name(id=name), args=[one]) if name in _CONTAINERS:
                return self.texts(one)
            case _:
                return []
