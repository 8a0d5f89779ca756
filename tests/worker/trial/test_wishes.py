# SPDX-License-Identifier: GPL-3.0-or-later
"""A trial asks the mail server for the very changes that the front end asks for."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import assert_never

from hypothesis import given
from hypothesis import strategies as st

from defang_common.wire import results
from defang_common.wire.header import Header
from defang_milter.apply_results import Changes, Marks
from defang_milter.workdir import WorkDir
from defang_worker.trial import mta_message as mta
from defang_worker.trial.wishes import wishes
from tests.milter.conftest import Call, FakeContext

NAMES = st.sampled_from([b"Subject", b"X-New", b"Content-Type", b""])
VALUES = st.sampled_from([b"one", b"two", b""])
ADDRESSES = st.sampled_from([b"<a@example.com>", b"<b@example.com>", b""])
NUMBERS = st.integers(min_value=1, max_value=3)
LINES = st.lists(
    st.one_of(
        st.builds(results.AddHeader, name=NAMES, value=VALUES),
        st.builds(results.InsertHeader, name=NAMES, index=st.integers(0, 3), value=VALUES),
        st.builds(results.ChangeHeader, name=NAMES, index=NUMBERS, value=VALUES),
        st.builds(results.DeleteHeader, name=NAMES, index=NUMBERS),
        st.builds(results.ChangeContentType, value=VALUES),
        st.builds(results.AddRecipient, address=ADDRESSES),
        st.builds(results.DeleteRecipient, address=ADDRESSES),
        st.builds(results.ChangeSender, address=ADDRESSES),
        st.builds(results.Quarantine, reason=VALUES),
        st.just(results.ReplaceBody()),
    ),
    max_size=6,
)


def _as_call(change: mta.Change) -> Call:
    """The call on the milter context by which a front end makes the change."""
    match change:
        case mta.AddHeader(name=name, value=value):
            return ("addheader", name.decode(), value.decode())
        case mta.InsertHeader(index=index, name=name, value=value):
            return ("insheader", index, name.decode(), value.decode())
        case mta.ChangeHeader(index=index, name=name, value=value):
            return ("chgheader", name.decode(), index, value.decode())
        case mta.AddRecipient(address=address):
            return ("addrcpt", address.decode())
        case mta.DeleteRecipient(address=address):
            return ("delrcpt", address.decode())
        case mta.ChangeSender(address=address):
            return ("chgfrom", address.decode())
        case mta.ReplaceBody(body=body):
            return ("replacebody", body)
        case mta.Quarantine(reason=reason):
            return ("quarantine", reason.decode())
        case _:
            assert_never(change)


@given(lines=LINES, fields=st.lists(st.sampled_from([b"Content-Type", b"MIME-Version", b"Subject"]), max_size=4))
def test_mail_server_is_asked_for_what_the_front_end_asks_for(lines: list[results.Result], fields: list[bytes]) -> None:
    header = Header(None)
    for name in fields:
        header.add(name, b"text/plain")
    context = FakeContext()
    told = results.decode(b"".join(map(results.encode_line, [*lines, results.Finish()])))
    with tempfile.TemporaryDirectory() as spool:
        workdir = WorkDir(f"{spool}/mdefang-Q1", reopen=False)
        Path(workdir.path, "NEWBODY").write_bytes(b"new\n")
        changes = Changes(context, log_name="Q1", header=header, workdir=workdir)
        changes.apply(told, Marks(scanned_by=None, validation_name=None))
    assert list(map(_as_call, wishes(told.changes, header, b"new\n"))) == context.calls
