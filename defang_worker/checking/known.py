# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter API as a checker sees it: the members of its classes, and what kind of value each is.

Taken from the classes themselves by their annotations. What is no class of the API, or is not annotated, is unknown,
and nothing is said about unknown values.
"""

from __future__ import annotations

import ast
import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import defang_worker
from defang_worker import Envelope, Headers, Message, Part
from defang_worker.api.hooks import HOOKS, Filter

if TYPE_CHECKING:
    from collections.abc import Callable

CLASSES: Final = {
    name: value for name in defang_worker.__all__ if isinstance(value := getattr(defang_worker, name), type)
}
"""The public classes by name."""

# Set in __init__, where no annotation stands.
_SET_AT_RUN_TIME: Final[dict[tuple[type, str], type]] = {(Message, "envelope"): Envelope, (Message, "headers"): Headers}
_CONTAINERS: Final = frozenset({"tuple", "list", "Iterator", "Iterable", "Sequence"})


@dataclass(frozen=True, slots=True)
class Instance:
    """An object of a class of the API."""

    of: type


@dataclass(frozen=True, slots=True)
class ClassItself:
    """The class, as in `Response.reject(...)`."""

    of: type


@dataclass(frozen=True, slots=True)
class Several:
    """A container or iterator of objects that are alike."""

    of: Value


@dataclass(frozen=True, slots=True)
class Method:
    """A method of an object or class of the API."""

    of: type
    name: str
    function: Callable[..., object]
    takes_self: bool


@dataclass(frozen=True, slots=True)
class Fact:
    """A text that an object of the API has, of which `never` knows what it cannot be."""

    of: type
    name: str

    def never(self, text: str) -> str:
        """Why it is never equal to the text; empty if it may be."""
        if not text.startswith(".") and text:
            return f'has its dot, and is never "{text}"'
        if text != text.lower():
            return f'is in small letters, and never "{text}"'
        if text.count(".") > 1:
            return f'has one dot, and is never "{text}"'
        return ""


Value = Instance | ClassItself | Several | Method | Fact | None
"""What is known of a value; None: nothing."""


def members(cls: type) -> set[str]:
    """The public names that objects of the class have."""
    names = {name for name in dir(cls) if not name.startswith("_")}
    for base in cls.__mro__:
        slots = vars(base).get("__slots__", ())
        names.update(name for name in slots if not name.startswith("_"))
        names.update(name for name in vars(base).get("__annotations__", {}) if not name.startswith("_"))
    return names


def member(cls: type, name: str) -> Value:
    """What is known of one member of the class's objects."""
    if (cls, name) == (Part, "extension"):
        return Fact(cls, name)
    if (cls, name) in _SET_AT_RUN_TIME:
        return Instance(_SET_AT_RUN_TIME[cls, name])
    found = inspect.getattr_static(cls, name, None)
    if isinstance(found, property) and found.fget is not None:
        return of_annotation(found.fget.__annotations__.get("return"))
    if isinstance(found, staticmethod | classmethod):
        return Method(cls, name, found.__func__, takes_self=isinstance(found, classmethod))
    if inspect.isfunction(found):
        return Method(cls, name, found, takes_self=True)
    for base in cls.__mro__:
        if name in vars(base).get("__annotations__", {}):
            return of_annotation(vars(base)["__annotations__"][name])
    return None


def argument(hook: str, position: int) -> Value:
    """What a callback is given at that position."""
    return of_annotation(getattr(Filter, hook).__annotations__.get(HOOKS[hook][position]))


def returned(method: Method) -> Value:
    """What a call of the method gives."""
    return of_annotation(method.function.__annotations__.get("return"))


def of_annotation(annotation: object) -> Value:
    """What an annotation of the API, a string as a rule, says."""
    if isinstance(annotation, type):
        return Instance(annotation) if annotation in CLASSES.values() else None
    if not isinstance(annotation, str):
        return None
    return of_expression(ast.parse(annotation, mode="eval").body, CLASSES)


def of_expression(node: ast.expr, names: dict[str, type]) -> Value:
    """What an annotation says where these names are the API's classes; None beside a class is left out."""
    match node:
        case ast.Constant(value=str(text)):
            try:
                return of_expression(ast.parse(text, mode="eval").body, names)
            except SyntaxError:
                return None
        case ast.Name(id=name):
            return Instance(names[name]) if name in names else None
        case ast.Attribute(value=ast.Name(id="defang_worker"), attr=name):
            return Instance(CLASSES[name]) if name in CLASSES else None
        case ast.BinOp(left=left, op=ast.BitOr(), right=ast.Constant(value=None)):
            return of_expression(left, names)
        case ast.Subscript(value=ast.Name(id=name), slice=inner) if name in _CONTAINERS:
            first = inner.elts[0] if isinstance(inner, ast.Tuple) else inner
            element = of_expression(first, names)
            return Several(element) if element is not None else None
        case _:
            return None
