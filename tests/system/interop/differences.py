# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a chain with a program of ours tells the MTA something else than the all-original one, and why.

Each entry stands under its name in protocol.md, "Differences from MIMEDefang". An entry says with which of our programs
and for which transactions it holds, and makes what ours has to tell out of what the original told: no entry hides more
than it names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from defang_worker.trial.mta_message import ChangeHeader
from tests.support.daemons import Chain, Origin
from tests.system.interop.messages import Transaction
from tests.system.interop.rewrites import (
    MILTER_FAULT,
    TYPE_CHANGE,
    USUAL_REFUSAL,
    WORKER_FAULT,
    Rewrite,
    accepted,
    added_if_missing,
    both,
    deferred_early,
    divided_reply,
    emptied,
    in_any_order,
    named_as_it_came,
    renamed,
    second_mark_in_its_own_case,
    still_multipart,
    text_instead_of_nothing,
    types_last_first,
    with_each_change,
    with_each_leaf,
    with_header,
    with_reply,
    without_change,
    without_refused_header,
)
from tests.system.interop.told import Told


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One intended difference.

    It holds where `holds` says so, for the named transactions. `expected` makes ours out of the original's;
    `common_form` is put over both, for what may stand in another order. With `original_errs` the original does not do
    what the filter said.
    """

    name: str
    reason: str
    holds: Callable[[Chain], bool]
    transactions: frozenset[str]
    expected: Rewrite | None = None
    common_form: Rewrite | None = None
    original_errs: bool = False


def our_milter(chain: Chain) -> bool:
    return chain.milter is Origin.OURS


def our_worker(chain: Chain) -> bool:
    return chain.worker is Origin.OURS


def our_milter_or_worker(chain: Chain) -> bool:
    return our_milter(chain) or our_worker(chain)


def our_milter_with_their_worker(chain: Chain) -> bool:
    return our_milter(chain) and not our_worker(chain)


_COLLAPSED = frozenset({"nested-message-dropped", "part-dropped-at-odd-boundary", "part-of-large-body-dropped"})
_STILL_MIXED = frozenset(
    {
        "part-kept-with-warning",
        "part-dropped",
        "part-dropped-with-warning",
        "part-replaced",
        "two-parts-dropped-with-warnings",
        "container-dropped",
        "nested-part-dropped",
        "nested-message-replaced",
        "edits-and-part-dropped",
    }
)
_WARNED = frozenset(
    {
        "part-kept-with-warning",
        "part-dropped-with-warning",
        "two-parts-dropped-with-warnings",
        "only-part-kept-with-warning",
    }
)
_REPLACED = frozenset({"part-replaced", "nested-message-replaced", "only-part-replaced"})
_DYING_SCANS = frozenset({"begin-dies", "part-dies", "end-dies", "wrapup-dies"})
_DYING_CHECKS = frozenset({"helo-die", "mail-die", "rcpt-die"})

# In the order in which they are applied.
DIFFERENCES: tuple[Difference, ...] = (
    Difference(
        name="empty-new-body",
        reason="An empty NEWBODY empties the body; the original sends none, and so delivers what the filter dropped.",
        holds=our_milter_with_their_worker,
        transactions=frozenset({"all-parts-dropped"}),
        expected=emptied,
        original_errs=True,
    ),
    Difference(
        name="text-instead-of-nothing",
        reason="A multipart must have a part (RFC 2046 section 5.1.1): a sentence stands in for all that were dropped.",
        holds=our_worker,
        transactions=frozenset({"all-parts-dropped"}),
        expected=both(emptied, text_instead_of_nothing),
        original_errs=True,
    ),
    Difference(
        name="multipart-stays",
        reason="A multipart with one part left stays one, so that this part keeps its own bytes and header fields.",
        holds=our_worker,
        transactions=_COLLAPSED,
        expected=still_multipart,
    ),
    Difference(
        name="content-type-kept",
        reason="Content-Type is changed at the MTA only if it is another one: a DKIM signature may cover it.",
        holds=our_worker,
        transactions=_STILL_MIXED | _COLLAPSED | {"all-parts-dropped"},
        expected=without_change(TYPE_CHANGE),
    ),
    Difference(
        name="warning-name",
        reason="There is one part with warnings, so its file name has no number.",
        holds=our_worker,
        transactions=_WARNED,
        expected=with_each_leaf(renamed("warning1.txt", "warning.txt")),
    ),
    Difference(
        name="replacement-without-name",
        reason="A part's replacement is text to read, not a file to save, unless the filter gives it a name.",
        holds=our_worker,
        transactions=_REPLACED,
        expected=both(
            with_each_leaf(renamed("warning1.txt", "")),
            with_header(b"Content-Disposition", b"inline"),
        ),
    ),
    Difference(
        name="replacement-with-charset",
        reason="A text part that is made here tells its charset.",
        holds=our_worker,
        transactions=frozenset({"only-part-replaced"}),
        expected=with_header(b"Content-Type", b"text/plain; charset=us-ascii"),
    ),
    Difference(
        name="no-needless-deletion",
        reason="A header field that the message does not have is not deleted at the MTA.",
        holds=our_worker,
        transactions=frozenset({"only-part-kept-with-warning"}),
        expected=without_change(ChangeHeader(index=1, name=b"Content-Transfer-Encoding", value=b"")),
    ),
    Difference(
        name="header-text-encoded",
        reason="Text other than ASCII in a header field that the filter makes becomes encoded words (RFC 2047).",
        holds=our_worker,
        transactions=frozenset({"header-added-with-odd-bytes"}),
        expected=with_header(b"X-New", b'100% "quoted" it\'s \\ %41 =?utf-8?b?Y2Fmw6k=?='),
    ),
    Difference(
        name="header-name-as-it-came",
        reason="A changed or deleted header field is named as the message writes it, not as the filter does.",
        holds=our_worker,
        transactions=frozenset({"second-header-changed", "header-deleted", "all-headers-deleted"}),
        expected=both(with_each_change(named_as_it_came), second_mark_in_its_own_case),
    ),
    Difference(
        name="missing-header-added",
        reason="To change a header field that is not there adds it, and is told to the MTA as that.",
        holds=our_worker,
        transactions=frozenset({"missing-header-changed"}),
        expected=with_each_change(added_if_missing),
    ),
    Difference(
        name="header-edits-together",
        reason="Header edits are seen by later reads and go out once, as the difference to what came: same result.",
        holds=our_worker,
        transactions=frozenset({"edits-in-order"}),
        common_form=in_any_order,
    ),
    Difference(
        name="surplus-content-type",
        reason="Surplus Content-Type fields are deleted from the last to the second: Postfix counts anew after each.",
        holds=our_milter,
        transactions=frozenset({"second-content-type"}),
        expected=types_last_first,
    ),
    Difference(
        name="unknown-8bit",
        reason="pymilter's setters take text as UTF-8: other bytes go out as encoded words of an unknown charset.",
        holds=our_milter,
        transactions=frozenset({"header-added-in-latin-1"}),
        expected=with_header(b"X-New", b"=?unknown-8bit?B?Y2Fm6Q==?="),
    ),
    Difference(
        name="long-reply-line",
        reason="A line of a reply that libmilter would refuse is divided; the original's reply is lost.",
        holds=our_milter,
        transactions=frozenset({"rejects-with-overlong-line"}),
        expected=divided_reply,
        original_errs=True,
    ),
    Difference(
        name="usual-text",
        reason="A refusal without a text has a usual one; the original's client reads a question mark.",
        holds=our_worker,
        transactions=frozenset({"helo-wordless", "mail-wordless", "rcpt-wordless"}),
        expected=with_reply(USUAL_REFUSAL, code=554, dsn=b"5.7.1"),
    ),
    Difference(
        name="passed-checks-record",
        reason="What a check wants changed counts only if it lets the recipient pass.",
        holds=our_worker,
        transactions=frozenset({"header-from-refusing-recipient-hook"}),
        expected=without_refused_header,
        original_errs=True,
    ),
    Difference(
        name="faults-defer",
        reason="A filter that fails costs the worker not its life, and the reply of a check has code and text.",
        holds=our_worker,
        transactions=_DYING_CHECKS,
        expected=with_reply(WORKER_FAULT),
    ),
    Difference(
        name="worded-failures",
        reason="When the rest of the filter fails, the SMTP reply says so instead of leaving the words to the MTA.",
        holds=our_milter,
        transactions=_DYING_SCANS,
        expected=with_reply(MILTER_FAULT),
    ),
    Difference(
        name="worded-failures",
        reason="As above; a worker of ours has given words to a failed check itself.",
        holds=our_milter_with_their_worker,
        transactions=_DYING_CHECKS | {"connect-die"},
        expected=with_reply(MILTER_FAULT),
    ),
    Difference(
        name="no-discard-early",
        reason="Before MAIL there is no message to discard, and MTAs take that answer for a fault: temporary failure.",
        holds=our_worker,
        transactions=frozenset({"connect-discard", "helo-discard"}),
        expected=deferred_early,
    ),
    Difference(
        name="unknown-helo",
        reason="An empty HELO is written as UNKNOWN in requests; the original's worker takes the next word for it.",
        holds=our_milter,
        transactions=frozenset({"empty-helo"}),
        expected=accepted,
        original_errs=True,
    ),
    Difference(
        name="single-blanks",
        reason="Requests are split at single blanks, so that an empty word is one and shifts no other.",
        holds=our_worker,
        transactions=frozenset({"empty-helo"}),
        expected=accepted,
        original_errs=True,
    ),
)


def concerning(chain: Chain, transaction: Transaction) -> list[Difference]:
    """The differences that hold for that chain with that transaction."""
    return [entry for entry in DIFFERENCES if transaction.name in entry.transactions and entry.holds(chain)]


def expected(reference: Told, chain: Chain, transaction: Transaction, *, leave_out: Difference | None = None) -> Told:
    """What that chain has to tell where the original told `reference`."""
    entries = [entry for entry in concerning(chain, transaction) if entry is not leave_out]
    for entry in entries:
        if entry.expected is not None:
            reference = entry.expected(reference)
    for entry in entries:
        if entry.common_form is not None:
            reference = entry.common_form(reference)
    return reference


def common_form(told: Told, chain: Chain, transaction: Transaction) -> Told:
    """What was told, without the order that need not agree."""
    for entry in concerning(chain, transaction):
        if entry.common_form is not None:
            told = entry.common_form(told)
    return told
