# SPDX-License-Identifier: GPL-3.0-or-later
"""The files and directories that a filter's settings name: whether they are there, and can be used.

Only those count that the filter sets itself, or that a verb in its source needs: no site has to have a quarantine.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from defang_worker.api.settings import Settings
from defang_worker.checking.findings import Finding, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

_DEFAULTS: Final = Settings()


def check_settings(file: str, settings: Settings, verbs: set[str]) -> Iterator[Finding]:
    """What is wrong with the places, for the user that this process runs as."""
    calls = {verb.rpartition(".")[2] for verb in verbs}
    for told in _wrong(settings, calls):
        yield Finding(file=file, line=0, kind=Kind.SETTING, text=told)


def _wrong(settings: Settings, calls: set[str]) -> Iterator[str]:
    quarantines = any("quarantine" in call and call != "mta_quarantine" for call in calls)
    notifies = any("notify" in call or "send" in call or "stream" in call for call in calls)
    if quarantines or settings.quarantine_dir != _DEFAULTS.quarantine_dir:
        yield from _directory("quarantine_dir", settings.quarantine_dir)
    mails = notifies or settings.quarantine_report or settings.submit_to != _DEFAULTS.submit_to
    if mails and settings.submit_to.startswith("/") and not os.access(settings.submit_to, os.X_OK):
        yield f"submit_to: {settings.submit_to} is no program that can be run"
    if settings.relay_key_file and not os.access(settings.relay_key_file, os.R_OK):
        yield f"relay_key_file: {settings.relay_key_file} cannot be read"
    for name in ("event_log", "record_log"):
        yield from _log_file(name, getattr(settings, name))


def _log_file(name: str, target: str) -> Iterator[str]:
    """Files are made when they are first written."""
    if target.startswith("/"):
        path = target if os.path.exists(target) else os.path.dirname(target)  # noqa: PTH110, PTH120
        if not os.access(path, os.W_OK):
            yield f"{name}: {target} cannot be written"


def _directory(name: str, path: str) -> Iterator[str]:
    if not os.path.isdir(path):  # noqa: PTH112  # settings are text
        yield f"{name}: {path} is no directory"
    elif not os.access(path, os.W_OK | os.X_OK):
        yield f"{name}: {path} cannot be written"
