# SPDX-License-Identifier: GPL-3.0-or-later
"""The site's policy for malformed and ambiguous mail, carried out: refusal, rebuild, log line, header field.

`scan.py` calls `judge` when the filter has seen the message, so that the filter's own reasons come first and what it
dropped counts no longer, and `tell` when the body is final. Ordinary mail leaves both at the first question.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from defang_worker.mime.defects import Severity
from defang_worker.mime.filenames import canonical
from defang_worker.mime.policy import Action, decide
from defang_worker.mime.results_header import FIELD_NAME, result_items, results_value
from defang_worker.mime.shadow import ShadowPart

if TYPE_CHECKING:
    from defang_worker.api.message import Message
    from defang_worker.api.settings import Settings
    from defang_worker.mime.defects import Defect
    from defang_worker.mime.views import Examination

_log: Final = logging.getLogger("defang.worker")

REPLY: Final = "This message is malformed, mail programs would show different things"
REPLY_UNEXAMINED: Final = "This message cannot be looked through completely, a file in it may be damaged or too large"
# More names in a warning, or in the log, serve nobody.
_MAX_NAMES: Final = 10


def judge(message: Message, settings: Settings) -> None:
    """Refuses the message, or sees to its rebuild, if the policy asks for that."""
    examination = message.examination
    if message.is_rejected or (examination.worst is Severity.INFO and examination.incomplete is None):
        return
    defects, incomplete = _left(message, examination)
    match decide(settings.policy, defects, incomplete):
        case Action.REFUSE:
            _log.warning("message refused: %s", _summary(message, examination, "none"))
            is_malformed = decide(settings.policy, defects, None) is Action.REFUSE
            message.reject(REPLY if is_malformed else REPLY_UNEXAMINED, dsn="5.6.0")
        case Action.QUARANTINE:
            message.body.one_reading = True
            message.mta_quarantine(f"malformed: {defects[0].name}" if defects else "not completely examined")
        case Action.REBUILD:
            message.body.one_reading = True
        case Action.DELIVER:
            pass


def _left(message: Message, examination: Examination) -> tuple[list[Defect], str | None]:
    """The defects that are not in parts which the filter removed, and what is left unexamined."""
    gone = message.body.gone_numbers
    if not gone:
        return list(examination.defects), examination.incomplete
    left = [defect for defect in examination.defects if not _is_in(defect.part, gone)]
    incomplete = examination.incomplete
    if incomplete is not None and incomplete.startswith(("archive-", "smime-")):
        kind = incomplete.partition("-")[0]
        incomplete = incomplete if any(defect.name.startswith(f"{kind}-") for defect in left) else None
    return left, incomplete


def _is_in(number: str, containers: set[str]) -> bool:
    return any(not one or number == one or number.startswith(f"{one}.") for one in containers)


def warn_of_removed(message: Message) -> None:
    """Tells the readers which files a rebuild takes away because only some programs would show them."""
    known = {canonical(name) for part in message.walk() for name in part.filenames}
    names: dict[str, str] = {}
    for part in message.shadow_parts:
        if isinstance(part.entity, ShadowPart) and part.entity.stays_inside:
            continue
        # What the filter dropped it has told about itself.
        if not (part.is_kept or part.is_dropped or part.replacement) and part.filename:
            form = canonical(part.filename)
            if form and form not in known:
                names.setdefault(form, form)
    for name in list(names)[:_MAX_NAMES]:
        message.warn(f"The file {name}, which only some mail programs would have shown, was removed.")


def tell(message: Message, settings: Settings, *, is_rewritten: bool) -> None:
    """Writes the line in the log and the header field, if there is something to tell."""
    examination = message.examination
    has_field = bool(settings.results_authserv_id)
    if has_field:
        message.headers.delete_all(FIELD_NAME)  # whoever claims to have looked, it was not us
    if message.is_rejected or (examination.worst < Severity.LOW and examination.incomplete is None):
        return
    action = _action(message, is_rewritten=is_rewritten)
    if examination.worst >= settings.policy.log_from or examination.incomplete is not None:
        _log.info("malformed message: %s", _summary(message, examination, action))
    if has_field:
        message.headers.insert(FIELD_NAME, results_value(settings.results_authserv_id, examination, action))


def _action(message: Message, *, is_rewritten: bool) -> str:
    if message.is_quarantined:
        return "quarantined"
    if any(part.is_dropped for part in message.shadow_parts):
        return "removed"
    return "rebuilt" if is_rewritten and message.body.one_reading else "none"


def _summary(message: Message, examination: Examination, action: str) -> str:
    items = result_items(examination, action)
    if examination.incomplete is not None:
        items.insert(1, f"limit={examination.incomplete}")
    names = list(dict.fromkeys(name for part in message.shadow_parts for name in part.filenames))[:_MAX_NAMES]
    if names:
        items.append(f"names={names!a}")
    return "; ".join(items)
