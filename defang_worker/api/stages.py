# SPDX-License-Identifier: GPL-3.0-or-later
"""What may be done when: the stages of a mail, and one table of every verb with the stages it has an effect in.

Verbs ask the `Guard` of their transaction, which `scan.py` and `answer.py` move from stage to stage. A call that comes
too early or too late, or on an object kept from an earlier callback, raises `WrongStage` under test (`strict`), and in
service is logged and ignored: mail is not deferred for a wish that cannot be granted.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_log: Final = logging.getLogger("defang.worker")


class Stage(StrEnum):
    """A stage is the callback that runs in it; the value is the callback's name."""

    RELAY = "filter_relay"
    HELO = "filter_helo"
    SENDER = "filter_sender"
    RECIPIENT = "filter_recipient"
    BEGIN = "filter_begin"
    PART = "filter_part"
    MULTIPART = "filter_multipart"
    END = "filter_end"
    WRAPUP = "filter_wrapup"
    OVER = "after the callback it was made for"
    """Objects that a filter keeps are for looking at only."""


_CONNECTION: Final = frozenset({Stage.RELAY, Stage.HELO})
_ENVELOPE: Final = frozenset({Stage.SENDER, Stage.RECIPIENT})
_BODY: Final = frozenset({Stage.BEGIN, Stage.PART, Stage.MULTIPART, Stage.END})
_SCAN: Final = _BODY | {Stage.WRAPUP}

VERBS: Final[dict[str, frozenset[Stage]]] = {
    "Response.reject": _CONNECTION | _ENVELOPE | _SCAN,
    "Response.tempfail": _CONNECTION | _ENVELOPE | _SCAN,
    "Response.discard": _ENVELOPE | _SCAN,
    "Response.accept_all": _CONNECTION | _ENVELOPE,
    "Envelope.add_recipient": _ENVELOPE | _SCAN,
    "Envelope.delete_recipient": _ENVELOPE | _SCAN,
    "Envelope.set_sender": _ENVELOPE | _SCAN,
    "Headers.add": _ENVELOPE | _SCAN,
    "Headers.insert": _ENVELOPE | _SCAN,
    "Headers.replace": _SCAN,
    "Headers.delete": _SCAN,
    "Headers.delete_all": _SCAN,
    "Headers.delete_if": _SCAN,
    "Message.reject": _SCAN,
    "Message.tempfail": _SCAN,
    "Message.discard": _SCAN,
    "Message.mta_quarantine": _SCAN,
    "Message.add_relay_header": _SCAN,
    "Message.add_spam_score_header": _SCAN,
    "Message.add_authentication_results": _SCAN,
    "Message.own_authentication_results": _SCAN,
    "Message.quarantine": _SCAN,
    "Message.notify_sender": _SCAN,
    "Message.notify_recipients": _SCAN,
    "Message.notify_admin": _SCAN,
    "Message.send": _SCAN,
    "Message.resend": _SCAN,
    "Message.stream_by_domain": _BODY,
    "Message.stream_by_recipient": _BODY,
    "Message.stream": _BODY,
    "Message.log_event": _SCAN,
    "Message.warn": _BODY,
    "Message.add_part": _BODY,
    "Message.append_text": _BODY,
    "Message.append_html": _BODY,
    "Message.remove_redundant_html": _BODY,
    "Message.strip_tracking_params": _BODY,
    "Message.add_entity": _BODY,
    "Message.replace_with": _BODY,
    "Message.rebuild": _BODY,
    "Part.keep": _BODY,
    "Part.drop": _BODY,
    "Part.quarantine": _BODY,
    "Part.replace": _BODY,
    "Part.replace_with_url": _BODY,
    "Part.defang": _BODY,
    "Part.filter_through": _BODY,
    "Part.append_text": _BODY,
    "Part.append_html": _BODY,
}
"""Each verb with the stages in which it has an effect; of a response those in which it may be returned."""


class WrongStage(Exception):
    """A verb was called in a stage in which it has no effect; raised under test only."""

    __slots__ = ("allowed", "stage", "verb")

    def __init__(self, verb: str, stage: Stage) -> None:
        self.verb = verb
        """As in the manual's table, such as "Part.drop"."""
        self.stage = stage.value
        """The callback that it was called in."""
        self.allowed = tuple(one.value for one in Stage if one in VERBS[verb])
        """The callbacks in which it has an effect."""
        super().__init__(f"{verb} has no effect {_within(stage)}, only in {', '.join(self.allowed)}")


def _within(stage: Stage) -> str:
    return stage.value if stage is Stage.OVER else f"in {stage.value}"


class _Mode:
    is_strict = False


@contextmanager
def strict() -> Iterator[None]:
    """While inside, a call in the wrong stage raises `WrongStage`; for the tools by which filters are tried."""
    before, _Mode.is_strict = _Mode.is_strict, True
    try:
        yield
    finally:
        _Mode.is_strict = before


class Guard:
    """Where one transaction is; None outside of any callback, where nothing is refused."""

    __slots__ = ("stage",)

    def __init__(self, stage: Stage | None = None) -> None:
        self.stage = stage

    def allows(self, verb: str) -> bool:
        """Whether the verb has an effect now; if not the log says so, or under test `WrongStage` is raised."""
        if self.stage is None or self.stage in VERBS[verb]:
            return True
        fault = WrongStage(verb, self.stage)
        if _Mode.is_strict:
            raise fault
        _log.warning("ignored: %s", fault)
        return False
