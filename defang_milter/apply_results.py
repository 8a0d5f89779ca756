# SPDX-License-Identifier: GPL-3.0-or-later
"""Decoded RESULTS to calls on the milter context, in file order (protocol.md, RESULTS).

The only module that changes a message at the MTA. A change that cannot be made is
`ChangeFailed`: better a temporary failure than a message that left half filtered.
"""

import logging
import os
from dataclasses import dataclass
from typing import Final, assert_never

import milter

from defang_common.wire.header import Header
from defang_common.wire.results import (
    AddHeader,
    AddRecipient,
    Bounce,
    ChangeContentType,
    ChangeHeader,
    ChangeSender,
    DeleteHeader,
    DeleteRecipient,
    Discard,
    Finish,
    InsertHeader,
    Quarantine,
    ReplaceBody,
    Result,
    Results,
    Tempfail,
    show_line,
)
from defang_milter.context import Context, header_text, plain_text, remark_text
from defang_milter.workdir import WorkDir, new_body_chunks

_log: Final = logging.getLogger("defang.milter")

_NO_REASON: Final = b"held by the mail filter"


class ChangeFailed(Exception):
    """The MTA or libmilter refused a change; the message names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """What the front end changes by itself: text of X-Scanned-By, name of the validation header; None for neither."""

    scanned_by: bytes | None
    validation_name: bytes | None


class Changes:
    """Applies the changes of one message."""

    __slots__ = ("_context", "_header", "_log_name", "_new_body", "_workdir")

    def __init__(self, context: Context, *, log_name: str, header: Header, workdir: WorkDir) -> None:
        self._context = context
        self._log_name = log_name
        self._header = header
        self._workdir = workdir
        self._new_body = -1

    def apply(self, results: Results, marks: Marks) -> None:
        """Makes all changes, or raises ChangeFailed; OSError if NEWBODY cannot be read.

        What the filter may have forgotten, such as a NEWBODY that is not there, is found
        before the first change goes out.
        """
        for oddity in results.oddities:
            _log.warning("%s: RESULTS: %s", self._log_name, oddity)
        try:
            if ReplaceBody() in results.changes:
                self._new_body = self._workdir.open_new_body()
            for change in results.changes:
                self._try(change)
        finally:
            if self._new_body >= 0:
                os.close(self._new_body)
        if results.verdict is None:
            self._add_marks(marks)

    def _try(self, change: Result) -> None:
        try:
            self._make(change)
        except milter.error as error:
            raise ChangeFailed(f"{error}: {show_line(change)}") from error
        except UnicodeDecodeError as error:
            raise ChangeFailed(f"not UTF-8: {show_line(change)}") from error

    def _make(self, change: Result) -> None:
        match change:
            case AddHeader() | InsertHeader() | ChangeHeader() | DeleteHeader() | ChangeContentType():
                self._make_in_header(change)
            case ReplaceBody():
                self._replace_body()
            case AddRecipient() | DeleteRecipient() | ChangeSender():
                self._make_in_envelope(change)
            case Quarantine():
                self._context.quarantine(remark_text(change.reason.strip() or _NO_REASON))
            case Bounce() | Tempfail() | Discard() | Finish():
                raise AssertionError(f"not a change: {change}")
            case _:
                assert_never(change)

    def _make_in_header(
        self, change: AddHeader | InsertHeader | ChangeHeader | DeleteHeader | ChangeContentType
    ) -> None:
        if not isinstance(change, ChangeContentType) and not change.name:
            self._ignore(change)
            return
        match change:
            case AddHeader():
                self._context.addheader(plain_text(change.name), header_text(change.value))
            case InsertHeader():
                self._context.addheader(plain_text(change.name), header_text(change.value), change.index)
            case ChangeHeader():
                self._context.chgheader(plain_text(change.name), change.index, header_text(change.value))
            case DeleteHeader():
                self._context.chgheader(plain_text(change.name), change.index, "")
            case ChangeContentType():
                if change.value:
                    self._context.chgheader("Content-Type", 1, header_text(change.value))
                if not self._header.has_mime_version:
                    self._context.chgheader("MIME-Version", 1, "1.0")
            case _:
                assert_never(change)

    def _make_in_envelope(self, change: AddRecipient | DeleteRecipient | ChangeSender) -> None:
        if not change.address:
            self._ignore(change)
            return
        address = plain_text(change.address)
        match change:
            case AddRecipient():
                self._context.addrcpt(address)
            case DeleteRecipient():
                self._context.delrcpt(address)
            case ChangeSender():
                self._context.chgfrom(address)
            case _:
                assert_never(change)

    def _ignore(self, change: Result) -> None:
        _log.warning("%s: RESULTS: ignored, for it names nothing: %s", self._log_name, show_line(change))

    def _replace_body(self) -> None:
        # Sent twice, the second copy would be appended to the first.
        if self._new_body < 0:
            return
        empty = True
        for chunk in new_body_chunks(self._new_body):
            self._context.replacebody(chunk)
            empty = False
        if empty:
            # No packet at all would leave the old body in place.
            self._context.replacebody(b"\n")
        os.close(self._new_body)
        self._new_body = -1

    def _add_marks(self, marks: Marks) -> None:
        header = self._header
        try:
            if marks.scanned_by is not None:
                self._context.addheader("X-Scanned-By", header_text(marks.scanned_by))
        except milter.error as error:
            _log.warning("%s: no X-Scanned-By: %s", self._log_name, error)
        try:
            if header.validated and marks.validation_name is not None:
                self._context.chgheader(plain_text(marks.validation_name), 1, "")
            if header.content_types > 1:
                _log.warning("%s: %d Content-Type headers, only the first stays", self._log_name, header.content_types)
            # From the last, so that the numbers hold whether or not the MTA counts deleted ones.
            for index in range(header.content_types, 1, -1):
                self._context.chgheader("Content-Type", index, "")
        except milter.error as error:
            raise ChangeFailed(f"{error}: deleting a header") from error
