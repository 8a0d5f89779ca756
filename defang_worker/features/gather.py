# SPDX-License-Identifier: GPL-3.0-or-later
"""What is there: the checks of a filter, scanners of this host that it does not use, and Python packages.

Asks every service for its version, each within a few seconds, and no mail is shown to any.
"""

from __future__ import annotations

import os
import re
import shutil
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any, Final

from defang_worker.checks import Check, CommandScanner, Rspamd
from defang_worker.checks.budget import Deadline
from defang_worker.checks.viruses.presets import PRESETS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from defang_worker.api.hooks import SiteFilter
    from defang_worker.checks.check import Feature

__all__ = ["Features", "Package", "checks_of", "gather"]

# A service that is well tells its version at once; clamscan reads no database for it.
_TIMEOUT_S: Final = 5.0
# Where Debian's clamd listens.
_CLAMD_SOCKET: Final = "/run/clamav/clamd.ctl"
_REQUIREMENT: Final = re.compile(r"([A-Za-z0-9._-]+)[^;]*(?:;.*\bextra == \"([\w-]+)\")?")
# Of those who work on Defang.
_NO_FEATURES: Final = frozenset({"dev", "fuzz"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A package of Python that Defang uses, or can use."""

    name: str
    version: str
    """Empty if it is not installed."""
    extra: str
    """What it is for, as in `make install EXTRAS=...`; empty for one that is always needed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """All that was found."""

    checks: tuple[Feature, ...]
    others: tuple[Feature, ...]
    packages: tuple[Package, ...]

    @property
    def is_complete(self) -> bool:
        """Whether all services of the filter's checks answer."""
        return all(feature.is_reachable is not False for feature in self.checks)

    def as_json(self) -> dict[str, Any]:
        """The same in plain values."""
        return asdict(self)


def gather(site: SiteFilter) -> Features:
    """Looks for all of it."""
    checks = checks_of(site)
    used = [feature for check in checks for feature in check.features(Deadline.after(_TIMEOUT_S))]
    known = {feature.address for feature in used}
    others = [
        feature
        for check in _usual_scanners()
        for feature in check.features(Deadline.after(_TIMEOUT_S))
        if feature.address not in known
    ]
    others += [feature for feature in _usual_spam_checks() if feature.address not in known]
    return Features(checks=tuple(used), others=tuple(others), packages=tuple(_packages()))


def checks_of(site: SiteFilter) -> list[Check[Any, Any]]:
    """The checks in the filter's settings, and in attributes of its class or object, or of its file."""
    found: dict[int, Check[Any, Any]] = {id(check): check for check in site.settings.checks}
    for hook in site.hooks.values():
        owner = getattr(hook, "__self__", None)
        places = [getattr(hook, "__globals__", {})]
        if owner is not None:
            places = [*map(vars, reversed(type(owner).__mro__)), getattr(owner, "__dict__", {})]
            places.append(getattr(getattr(hook, "__func__", None), "__globals__", {}))
        for place in places:
            found |= {id(value): value for value in tuple(place.values()) if isinstance(value, Check)}
    return list(found.values())


def _usual_scanners() -> Iterator[Check[Any, Any]]:
    if os.path.exists(_CLAMD_SOCKET):  # noqa: PTH110  # a socket
        with suppress(ImportError):  # its extra is not installed, which the list of packages tells
            from defang_worker.checks import Clamd  # noqa: PLC0415

            yield Clamd(_CLAMD_SOCKET)
    for name, preset in PRESETS.items():
        if shutil.which(preset.argv[0]):
            yield CommandScanner.preset(name)


def _usual_spam_checks() -> Iterator[Feature]:
    """Those that answer where their packages have them listen; of the others nobody can say that they are there."""
    checks: list[Check[Any, Any]] = [Rspamd()]
    with suppress(ImportError):  # its extra is not installed
        from defang_worker.checks import Spamd  # noqa: PLC0415

        checks.append(Spamd())
    for check in checks:
        yield from (one for one in check.features(Deadline.after(_TIMEOUT_S)) if one.is_reachable)


def _packages() -> Iterator[Package]:
    for requirement in metadata.requires("defang") or ():
        match = _REQUIREMENT.match(requirement)
        if match is None or (match[2] or "") in _NO_FEATURES:
            continue
        try:
            version = metadata.version(match[1])
        except metadata.PackageNotFoundError:
            version = ""
        yield Package(name=match[1], version=version, extra=match[2] or "")
