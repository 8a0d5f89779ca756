# SPDX-License-Identifier: GPL-3.0-or-later
"""MIME-Ambiguity-Results: what a receiver found, told to the systems behind it, in the manner of RFC 8601.

    field  = authserv-id *( ";" item )
    item   = "result=" ( "none" / "noted" / "ambiguous" / "incomplete" ) / "severity=" ( "info" / "low" / "medium" /
             "high" ) / "views=" 1*3DIGIT / "action=" ( "none" / "rebuilt" / "removed" / "quarantined" ) /
             "defect=" name SP "part=" 1*( DIGIT / "." )      ; at most 20, the worst first; part 0 is the message

Nothing that a sender chose goes into it. The log line has the same items.
"""

from typing import Final

from defang_worker.mime.defects import Severity
from defang_worker.mime.views import Examination

FIELD_NAME: Final = "MIME-Ambiguity-Results"

_MAX_DEFECTS: Final = 20
_MAX_VIEWS: Final = 999


def result_items(examination: Examination, action: str) -> list[str]:
    """Return the items for what was found and done."""
    worst = examination.worst
    if examination.incomplete is not None:
        result = "incomplete"
    elif worst is Severity.INFO:
        result = "none"
    else:
        result = "noted" if worst is Severity.LOW else "ambiguous"
    items = [f"result={result}", f"severity={worst.name.lower()}", f"views={min(examination.view_count, _MAX_VIEWS)}"]
    items.append(f"action={action}")
    told = dict.fromkeys(
        f"defect={defect.name} part={defect.part or '0'}"
        for defect in examination.defects
        if defect.severity > Severity.INFO
    )
    return items + list(told)[:_MAX_DEFECTS]


def results_value(authserv_id: str, examination: Examination, action: str) -> str:
    """Return the value of the field, folded; `authserv_id` names the host that speaks (RFC 8601 section 2.5)."""
    items = result_items(examination, action)
    return ";\n ".join([f"{authserv_id}; " + "; ".join(items[:4]), *items[4:]])
