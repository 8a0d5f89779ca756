# SPDX-License-Identifier: GPL-3.0-or-later
"""One connection of the MTA as it hangs on its milter context, and what can be wrong with it."""

import logging
from dataclasses import dataclass, field
from typing import Final

from defang_common.wire.errors import WireError
from defang_common.wire.state import Carried
from defang_milter.apply_results import ChangeFailed
from defang_milter.context import Context
from defang_milter.mux_client import MuxUnavailable
from defang_milter.transaction import Connection, Transaction
from defang_milter.workdir import WorkDir

_log: Final = logging.getLogger("defang.milter")

# The MTAs' own word, for which people search their logs.
NO_MESSAGE: Final = "NOQUEUE"


class Fault(Exception):
    """Why a message cannot be accepted; the message is for the log."""


class RememberedFault(Fault):
    """What an earlier callback has logged but could not answer."""


# Failures with a plain cause outside; anything else is a mistake of ours, and the log gets its traceback.
_EXPECTED: Final = (OSError, WireError, MuxUnavailable, ChangeFailed, Fault)


@dataclass(slots=True, kw_only=True, eq=False)
class Session:
    """One connection with the message in work on it.

    `fault` makes every message a temporary failure. `owes_helo_check` if the filter could not
    be asked about the HELO when it came.
    """

    connection: Connection
    transaction: Transaction | None = None
    workdir: WorkDir | None = None
    fault: str | None = None
    owes_helo_check: bool = False
    carried: Carried = field(default_factory=Carried)
    """What the filter keeps from callback to callback."""

    @property
    def log_name(self) -> str:
        """What the log calls the message in work, or that there is none."""
        return NO_MESSAGE if self.transaction is None else self.transaction.log_name

    def message(self) -> tuple[Transaction, WorkDir]:
        """The message in work; raises Fault if there is none, or if something went wrong with it before."""
        if self.transaction is None or self.workdir is None:
            raise Fault("no message is in work")
        if self.transaction.fault is not None:
            raise RememberedFault(self.transaction.fault)
        return self.transaction, self.workdir

    def remember(self, cause: str) -> None:
        """Keeps a fault for the next callback that can answer."""
        if self.transaction is not None:
            self.transaction.fault = self.transaction.fault or cause
        else:
            self.fault = self.fault or cause


def session_of(context: Context) -> Session:
    """The context's session; raises Fault if there is none, or if it must not send mail."""
    session: Session | None = context.getpriv()
    if session is None:
        raise Fault("libmilter did not announce this connection")
    if session.fault is not None:
        raise RememberedFault(session.fault)
    return session


def cause_of(error: BaseException) -> str:
    """The error in words for a log line."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def log_fault(session: Session | None, where: str, error: BaseException) -> None:
    """Logs an error with queue ID and cause, unless that was done before; with its traceback if it is no usual one."""
    if isinstance(error, RememberedFault):
        return
    name = NO_MESSAGE if session is None else session.log_name
    expected = isinstance(error, _EXPECTED)
    _log.error("%s: %s: %s", name, where, cause_of(error), exc_info=None if expected else error)
