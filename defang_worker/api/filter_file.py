# SPDX-License-Identifier: GPL-3.0-or-later
"""Loads a site's filter file, and refuses one that would not do what its author meant.

The file is a Python module by path, of any name: with one subclass of `Filter`, or with plain functions named as the
callbacks. A misspelt callback would silently let everything pass, so names that look like one are refused.
"""

from __future__ import annotations

import inspect
import os
import sys
from dataclasses import replace
from types import CodeType, ModuleType
from typing import TYPE_CHECKING, Final

from defang_worker.api.hooks import HOOKS, Filter, SiteFilter, describe
from defang_worker.api.settings import Settings
from defang_worker.effects.site import SiteEffects

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from defang_worker.effects.contract import Effects

NO_FILTER: Final = "/dev/null"
"""Given as the filter's path, this means none: every message passes unchanged."""

_MODULE_NAME: Final = "defang_site_filter"
_PREFIXES: Final = ("filter_", "on_")
# MIMEDefang's names for what is called otherwise here.
_RENAMED: Final = {
    "filter": "filter_part",
    "filter_initialize": "on_start",
    "filter_cleanup": "on_stop",
    "filter_validate": "on_validate",
    "filter_unknown_cmd": "filter_unknown_command",
    "filter_create_parser": "Settings(limits=...)",
    "defang_warning": "part.defang(warning=...)",
}


class FilterNotLoaded(Exception):
    """The file is no filter; the text names it, and the line where there is one."""


def load(path: str, effects: Effects | None = None) -> SiteFilter:
    """The filter in that file; raises FilterNotLoaded. Its module code runs, `on_start` does not.

    `effects` is what carries out what the filter wants done outside of working directories: None for the real ones.
    """
    site = _load(path)
    return site if effects is None else replace(site, effects=effects)


def _load(path: str) -> SiteFilter:
    if path == NO_FILTER:
        return SiteFilter(path=path, settings=Settings(), hooks={}, effects=real_effects(Settings()))
    path = os.path.abspath(path)  # noqa: PTH100  # pathlib would leave `..` in
    module = _execute(path)
    classes = _filter_classes(module)
    if not classes:
        _refuse_class_of_another_kind(path, module)
        settings = getattr(module, "settings", Settings())
        _refuse_unknown(path, vars(module))
        return _site_filter(path, settings, {name: vars(module)[name] for name in HOOKS if name in vars(module)})
    if len(classes) > 1:
        names = ", ".join(cls.__name__ for cls in classes)
        raise FilterNotLoaded(f"{path}: one subclass of Filter is wanted, found {names}")
    stray = [name for name in HOOKS if name in vars(module)]
    if stray:
        raise FilterNotLoaded(f"{_place(path, vars(module)[stray[0]])}: {stray[0]} stands outside of the class")
    site = _from_class(path, classes[0])
    if isinstance(vars(module).get("settings"), Settings) and site.settings is Filter.settings:
        raise FilterNotLoaded(f"{path}: settings stands outside of the class, which has none")
    return site


def _refuse_class_of_another_kind(path: str, module: ModuleType) -> None:
    """Refuses a file whose callbacks stand in a class that is no Filter: they would never be called."""
    for name, value in vars(module).items():
        if inspect.isclass(value) and value.__module__ == _MODULE_NAME and any(hook in vars(value) for hook in HOOKS):
            raise FilterNotLoaded(f"{path}: class {name} has callbacks, but is no subclass of Filter")


def _execute(path: str) -> ModuleType:
    """Runs the file. Compiled anew each time: no cache file is left in a directory of configuration."""
    module = ModuleType(_MODULE_NAME)
    module.__file__ = path
    # So that data classes and the like find their module.
    sys.modules[_MODULE_NAME] = module
    # Modules beside the filter can be imported, but hide no other.
    directory = os.path.dirname(path)  # noqa: PTH120
    if directory not in sys.path:
        sys.path.append(directory)
    try:
        exec(_compiled(path), vars(module))  # noqa: S102  # running the site's file is the purpose
    except FilterNotLoaded:
        raise
    except BaseException as fault:
        raise FilterNotLoaded(describe(fault, path) + _missing_import(fault)) from fault
    return module


def _missing_import(fault: BaseException) -> str:
    """What a first filter most often lacks."""
    import defang_worker  # noqa: PLC0415  # it imports this module's neighbours; and only a refused filter gets here

    if isinstance(fault, NameError) and fault.name in defang_worker.__all__:
        return f"; from defang_worker import {fault.name} perhaps?"
    return ""


def _compiled(path: str) -> CodeType:
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            return compile(file.read(), path, "exec", dont_inherit=True)
    except OSError as fault:
        raise FilterNotLoaded(f"{path}: {fault.strerror}") from None
    except (SyntaxError, ValueError) as fault:
        raise FilterNotLoaded(describe(fault, path)) from None


def _filter_classes(module: ModuleType) -> list[type[Filter]]:
    """The subclasses of Filter that the file defines or imports, without those that only serve as a base."""
    found = [
        value
        for value in dict.fromkeys(filter(inspect.isclass, vars(module).values()))
        if issubclass(value, Filter) and value is not Filter
    ]
    return [cls for cls in found if not any(other is not cls and issubclass(other, cls) for other in found)]


def of_class(given: type[Filter] | Filter) -> SiteFilter:
    """The filter that a class makes, or an object of one; raises FilterNotLoaded. For tests of filters."""
    cls = given if isinstance(given, type) else type(given)
    return _from_class(inspect.getsourcefile(cls) or f"<{cls.__name__}>", given)


def _from_class(path: str, given: type[Filter] | Filter) -> SiteFilter:
    cls = given if isinstance(given, type) else type(given)
    _refuse_unknown(path, {name: getattr(cls, name) for name in dir(cls)})
    _refuse_hidden(path, cls)
    try:
        site = given() if isinstance(given, type) else given
    except BaseException as fault:
        raise FilterNotLoaded(describe(fault, path)) from fault
    # Also those that it gave itself, as by assigning a function in its constructor.
    own = getattr(site, "__dict__", {})
    _refuse_unknown(path, own)
    defined = [name for name in HOOKS if name in own or getattr(cls, name) is not getattr(Filter, name)]
    return _site_filter(path, site.settings, {name: getattr(site, name) for name in defined})


def _refuse_hidden(path: str, cls: type[Filter]) -> None:
    """Refuses callbacks of a base class that stands behind Filter, whose empty ones would be called instead."""
    for base in cls.__mro__[cls.__mro__.index(Filter) + 1 :]:
        hidden = next(
            (name for name in HOOKS if name in vars(base) and getattr(cls, name) is getattr(Filter, name)), None
        )
        if hidden:
            place = _place(path, vars(base)[hidden])
            raise FilterNotLoaded(f"{place}: {hidden} is hidden: {base.__name__} is to stand before Filter")


def _site_filter(path: str, settings: object, hooks: dict[str, Callable[..., object]]) -> SiteFilter:
    if not hooks:
        raise FilterNotLoaded(f"{path}: no callback in it; known are {', '.join(HOOKS)}")
    if not isinstance(settings, Settings):
        raise FilterNotLoaded(f"{path}: settings is to be a Settings object, not {type(settings).__name__}")
    for name, hook in hooks.items():
        _check_signature(path, name, hook)
    return SiteFilter(path=path, settings=settings, hooks=hooks, effects=real_effects(settings))


def real_effects(settings: Settings) -> SiteEffects:
    """What carries out wishes on the real world, as these settings have it."""
    return SiteEffects(submit_to=settings.submit_to, state_dir=settings.quarantine_dir)


def _check_signature(path: str, name: str, hook: Callable[..., object]) -> None:
    place = _place(path, hook)
    if inspect.iscoroutinefunction(hook):
        raise FilterNotLoaded(f"{place}: {name} is to be a plain def, not an async one")
    if inspect.isgeneratorfunction(hook) or inspect.isasyncgenfunction(hook):
        raise FilterNotLoaded(f"{place}: {name} is to return its answer; with a yield in it, it would not run")
    if not callable(hook):
        raise FilterNotLoaded(f"{place}: {name} is no function")
    try:
        inspect.signature(hook).bind(*HOOKS[name])
    except ValueError:
        # Of some functions in C the arguments are not told.
        return
    except TypeError:
        words = ["self"] * inspect.ismethod(hook) + list(HOOKS[name])
        raise FilterNotLoaded(f"{place}: {name} is to be defined with ({', '.join(words)})") from None


def _refuse_unknown(path: str, names: Mapping[str, object]) -> None:
    """Refuses functions, and what else can be called, of names that look like callbacks and are none."""
    for name, value in names.items():
        if name in HOOKS or not (name.startswith(_PREFIXES) or name in _RENAMED):
            continue
        if callable(value):
            raise FilterNotLoaded(f"{_place(path, value)}: no callback is named {name}{_suggestion(name)}")


def _suggestion(name: str) -> str:
    meant = _RENAMED.get(name)
    if meant is None:
        # Only a refused filter pays for this import.
        from difflib import get_close_matches  # noqa: PLC0415

        meant = next(iter(get_close_matches(name, HOOKS, cutoff=0.7)), None)
    if meant:
        return f"; {meant} perhaps?"
    return f"; known are {', '.join(HOOKS)}, and a function of your own needs another prefix"


def _place(path: str, hook: object) -> str:
    code = getattr(inspect.unwrap(hook), "__code__", None) if callable(hook) else None
    return f"{code.co_filename}:{code.co_firstlineno}" if code else path
