# SPDX-License-Identifier: GPL-3.0-or-later
"""Shows what `gather` found, as lines or as JSON. Called by the command line; the value is the exit status."""

from __future__ import annotations

import json
import platform
import sys
from typing import TYPE_CHECKING

from defang_common import __version__
from defang_worker.features.gather import gather

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from defang_worker.api.hooks import SiteFilter
    from defang_worker.checks.check import Feature
    from defang_worker.features.gather import Features, Package

__all__ = ["run"]


def run(site: SiteFilter, *, as_json: bool) -> int:
    """Shows the features: 0 if all services of the filter's checks answer, else 1."""
    features = gather(site)
    if as_json:
        versions = {"defang": __version__, "python": platform.python_version(), "filter": site.path}
        sys.stdout.write(json.dumps(versions | features.as_json()) + "\n")
    else:
        sys.stdout.write("".join(f"{line}\n" for line in _lines(site, features)))
    return 0 if features.is_complete else 1


def _lines(site: SiteFilter, features: Features) -> Iterator[str]:
    yield f"Defang {__version__}, Python {platform.python_version()}, filter {site.path}"
    yield from _section("Checks of the filter", map(_feature, features.checks))
    yield from _section("Also on this host", map(_feature, features.others))
    yield from _section("Python packages", map(_package, features.packages))


def _section(heading: str, rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield ""
    yield f"{heading}:"
    table = list(rows)
    if not table:
        yield "  none"
        return
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        yield "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _feature(feature: Feature) -> Sequence[str]:
    if feature.is_reachable is False:
        state = f"NOT REACHABLE: {feature.detail}"
    else:
        state = feature.version or ("there" if feature.is_reachable else "-")
    return feature.name, feature.kind, feature.address, state


def _package(package: Package) -> Sequence[str]:
    missing = (
        f"not installed, comes with EXTRAS={package.extra} (docs/install.md)" if package.extra else "not installed"
    )
    return package.name, package.version or missing
