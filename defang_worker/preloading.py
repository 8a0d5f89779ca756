# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules for what a filter does with some messages, loaded by a template for all of its workers.

A filter pays for nothing that it does not use, so most verbs load what they need when they are called: in each worker,
while a message waits. Here the filter's file tells by its words what that may be. What is named in other modules of the
site only, is loaded when it is needed, as in a worker that is started as a program.
"""

from __future__ import annotations

import contextlib
import re
from importlib import import_module
from typing import Final

_WORD: Final = re.compile(rb"\w+")

_MAIL: Final = (".api.copies", ".api.notices", ".effects.submission")
_COPIES: Final = (*_MAIL, ".effects.ledger")
_ADDITIONS: Final = (".api.additions", ".mime.uris")
_LINES: Final = (".effects.lines",)

MODULES: Final[dict[bytes, tuple[str, ...]]] = {
    b"quarantine": (".api.quarantine", ".effects.store", *_MAIL),
    b"notify_sender": _MAIL,
    b"notify_recipients": _MAIL,
    b"notify_admin": _MAIL,
    b"send": _MAIL,
    b"resend": _COPIES,
    b"stream": _COPIES,
    b"stream_by_domain": _COPIES,
    b"stream_by_recipient": _COPIES,
    b"received_header": (".api.copies",),
    b"replace_with_url": (".api.publishing", ".effects.store"),
    b"filter_through": (".api.external",),
    b"append_text": _ADDITIONS,
    b"append_html": _ADDITIONS,
    b"remove_redundant_html": _ADDITIONS,
    b"strip_tracking_params": _ADDITIONS,
    b"inline_warnings": _ADDITIONS,
    b"replace_with": (".mime.header_edit",),
    b"signature_forecast": (".api.forecast",),
    b"as_delivered": (".api.delivery",),
    b"detected_type": (".mime.filetype",),
    b"log_event": (".api.event_lines", *_LINES),
    b"record_log": (".api.record", *_LINES),
    b"add_relay_header": (".relay_header",),
    b"relay_key_file": (".relay_header", ".effects.secret"),
    # The codec is for host names.
    b"run_checks": (".api.run_checks", "encodings.idna"),
    b"add_authentication_results": (".api.authentication",),
    b"own_authentication_results": (".api.authentication",),
    b"state": ("msgpack",),
    b"session_state": ("msgpack",),
}
"""By members of `Message`, `Part`, `Connection`, `Envelope` and `Settings`: what they load."""


def load_for(path: str) -> None:
    """Loads what the filter in that file may need; nothing for a file that cannot be read any more."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            words = set(_WORD.findall(file.read()))
    except OSError:
        return
    for word in MODULES.keys() & words:
        for module in MODULES[word]:
            # An extra that is not installed: the verb will say so when it is called.
            with contextlib.suppress(ImportError):
                import_module(module, __package__)
