# SPDX-License-Identifier: GPL-3.0-or-later
"""RESULTS to what a front end asks of the mail server, in its order (protocol.md, RESULTS).

Pure. A test holds this to what `defang-milter` asks of libmilter for the same lines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from defang_common.wire import results
from defang_worker.trial import mta_message as mta

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from defang_common.wire.header import Header
    from defang_common.wire.results import Result


def wishes(lines: Iterable[Result], header: Header, new_body: bytes) -> list[mta.Change]:
    """What the mail server is asked for; `new_body` is NEWBODY, empty if there is none."""
    out: list[mta.Change] = []
    for line in lines:
        if not isinstance(line, results.ReplaceBody):
            out += _of_line(line, header)
        elif not any(isinstance(one, mta.ReplaceBody) for one in out):
            out.append(mta.ReplaceBody(body=new_body or b"\n"))
    # A front end gives only the first Content-Type to the filter, and so delivers no other.
    out += [mta.ChangeHeader(index=nth, name=b"Content-Type", value=b"") for nth in range(header.content_types, 1, -1)]
    return out


def _of_line(line: Result, header: Header) -> Iterator[mta.Change]:
    match line:
        case results.ChangeContentType(value=value):
            if value:
                yield mta.ChangeHeader(index=1, name=b"Content-Type", value=value)
            if not header.has_mime_version:
                yield mta.ChangeHeader(index=1, name=b"MIME-Version", value=b"1.0")
        case (
            results.AddRecipient(address=b"") | results.DeleteRecipient(address=b"") | results.ChangeSender(address=b"")
        ):
            return
        case results.AddRecipient(address=address):
            yield mta.AddRecipient(address=address)
        case results.DeleteRecipient(address=address):
            yield mta.DeleteRecipient(address=address)
        case results.ChangeSender(address=address):
            yield mta.ChangeSender(address=address)
        case results.Quarantine(reason=reason):
            yield mta.Quarantine(reason=reason.strip() or b"held by the mail filter")
        case results.AddHeader() | results.InsertHeader() | results.ChangeHeader() | results.DeleteHeader():
            if line.name:
                yield _of_field(line)
        case results.ReplaceBody() | results.Bounce() | results.Tempfail() | results.Discard() | results.Finish():
            raise AssertionError(f"handled elsewhere: {line}")
        case _:
            assert_never(line)


def _of_field(
    line: results.AddHeader | results.InsertHeader | results.ChangeHeader | results.DeleteHeader,
) -> mta.Change:
    match line:
        case results.AddHeader(name=name, value=value):
            return mta.AddHeader(name=name, value=value)
        case results.InsertHeader(name=name, index=index, value=value):
            return mta.InsertHeader(index=index, name=name, value=value)
        case results.ChangeHeader(name=name, index=index, value=value):
            return mta.ChangeHeader(index=index, name=name, value=value)
        case results.DeleteHeader(name=name, index=index):
            return mta.ChangeHeader(index=index, name=name, value=b"")
        case _:
            assert_never(line)
