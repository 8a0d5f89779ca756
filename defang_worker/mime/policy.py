# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of a message that can be read in several ways: a table from severity to action, and such tables.

Decides only; `defang_worker/api/ambiguity.py` carries out. A site takes a table by name or makes its own `Policy`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from defang_worker.mime.defects import Defect, Severity


class Action(IntEnum):
    """What is done, the milder first."""

    DELIVER = 0
    """Nothing: the filter has seen the names and contents of all readings."""
    REBUILD = 1
    """Write the message anew, so that one reading is left; refuse it if that cannot be."""
    QUARANTINE = 2
    """Have the mail server hold the message, rebuilt."""
    REFUSE = 3
    """554 5.6.0 at the end of the SMTP dialogue, for a bounce later would hit somebody else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """One action for each severity; the severities are those that the differences between the readings show."""

    low: Action = Action.DELIVER
    """For messages whose worst defect is low."""
    medium: Action = Action.REBUILD
    """For those where it is medium."""
    high: Action = Action.REFUSE
    """For those where it is high."""
    incomplete: Action = Action.REFUSE
    """For what could not be looked through within the limits."""
    encrypted: Action = Action.DELIVER
    """For archives whose content needs a password; their names are known to the filter."""
    unreadable: Action = Action.DELIVER
    """For archives of kinds, or packed by methods, that cannot be looked into, though nothing is wrong with them."""
    log_from: Severity = Severity.LOW
    """The least severity of which a line in the log tells."""


DEFAULT: Final = Policy()
STRICT: Final = Policy(low=Action.REBUILD, medium=Action.REFUSE, encrypted=Action.REFUSE, unreadable=Action.REFUSE)
LENIENT: Final = Policy(low=Action.DELIVER, medium=Action.DELIVER, high=Action.QUARANTINE, incomplete=Action.DELIVER)
LOG_ONLY: Final = Policy(low=Action.DELIVER, medium=Action.DELIVER, high=Action.DELIVER, incomplete=Action.DELIVER)
# Odd mail of honest senders is not lost on the first day, as the filter has seen all its readings anyway; what nobody
# has looked through is another matter.
OBSERVE: Final = Policy(low=Action.DELIVER, medium=Action.DELIVER, high=Action.DELIVER)
PRESETS: Final = {
    "observe": OBSERVE,
    "log-only": LOG_ONLY,
    "lenient": LENIENT,
    "default": DEFAULT,
    "strict": STRICT,
}
"""By the names that a filter's settings may use; the mildest to look at first."""
NOT_NAMED: Final = "observe"
"""For a filter that names none."""

_OF_CONTENTS: Final = ("archive-", "smime-")


def named(policy: str | Policy) -> Policy:
    """Return the policy of that name; raises ValueError for an unknown one."""
    if isinstance(policy, Policy):
        return policy
    try:
        return PRESETS[policy]
    except KeyError:
        raise ValueError(f"no policy is named {policy!r}; there are {', '.join(PRESETS)}") from None


def decide(policy: Policy, defects: Iterable[Defect], incomplete: str | None) -> Action:
    """Return what to do with a message of these defects, the severest that any of them asks for.

    `incomplete` is the examination's: None, or what kept it from seeing all.
    """
    actions = {Severity.INFO: Action.DELIVER, Severity.LOW: policy.low}
    actions |= {Severity.MEDIUM: policy.medium, Severity.HIGH: policy.high}
    wanted = [Action.DELIVER]
    for defect in defects:
        action = actions[defect.severity]
        if defect.name == "archive-encrypted":
            action = policy.encrypted
        elif action is Action.REBUILD and defect.name.startswith(_OF_CONTENTS):
            action = Action.DELIVER  # a rebuild leaves contents as they are
        wanted.append(action)
    if incomplete == "archive-encrypted":
        wanted.append(policy.encrypted)
    elif incomplete == "archive-unreadable":
        wanted.append(policy.unreadable)
    elif incomplete is not None:
        wanted.append(policy.incomplete)
    return max(wanted)
