# SPDX-License-Identifier: GPL-3.0-or-later
"""Mail as programs write it, made by the standard library: its leaves, byte for byte, and not a word of complaint.

`test_email_agreement.py` holds the shape of the tree to the email package's; this file holds what a filter and a
scanner are shown of a whole message, defects and other views included.
"""

from __future__ import annotations

import email.message
import email.policy
from email.message import EmailMessage
from email.utils import format_datetime
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from defang_worker.mime import parse
from defang_worker.mime.defects import Severity
from defang_worker.mime.views import examine

if TYPE_CHECKING:
    from datetime import datetime

POLICIES = {
    "lines of LF": email.policy.default,
    "lines of CRLF": email.policy.SMTP,
    "8 bits": email.policy.SMTP.clone(cte_type="8bit"),
    "UTF-8 fields": email.policy.SMTPUTF8,
    "long lines": email.policy.SMTP.clone(max_line_length=200),
}
LINES = st.lists(
    st.one_of(
        st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=90),
        st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Cf", "Zl", "Zp", "Zs"]), max_size=40),
        st.sampled_from(
            ["", "--", "-- ", "From here", ".", "=", "=3D", "begin 644 steps from here", "> quoted", "--b"]
        ),
    ),
    max_size=6,
).map(lambda lines: "\n".join([*lines, ""]))
STEMS = st.text("abcXYZ 0123-_()'+,ößé日本", min_size=1, max_size=40).map(str.strip).filter(bool)
NAMES = st.builds(lambda stem, suffix: stem + suffix, STEMS, st.sampled_from([".pdf", ".docx", ".txt", ".jpg"]))
# Contents that look like something else are not this test's affair.
# Without what begins a uuencoded file, be it of one byte: that is a file within.
CONTENTS = st.binary(max_size=300).map(lambda content: b"%PDF-1.7\n" + content.replace(b"begin", b""))
SUBTYPES = st.sampled_from(
    [("application", "pdf"), ("application", "octet-stream"), ("image", "png"), ("audio", "mpeg")]
)
HEADERS = st.text('abc ÄÖß,;"()日本?=_-', max_size=80).map(str.strip)


@st.composite
def messages(draw: st.DrawFn, depth: int = 0) -> EmailMessage:
    message = EmailMessage(policy=email.policy.default)
    message["Subject"] = draw(HEADERS)
    message["From"] = "Ann Änderung <ann@sender.example>"
    message["To"] = "desk@gateway.example"
    message["Date"] = draw(st.datetimes().map(_date))
    encodings = st.sampled_from([None, "base64", "quoted-printable"])
    message.set_content(draw(LINES), cte=draw(encodings))
    if draw(st.booleans()):
        message.add_alternative(f"<p>{draw(LINES)}</p>", subtype="html", cte=draw(encodings))
    for _ in range(draw(st.integers(0, 2))):
        maintype, subtype = draw(SUBTYPES)
        message.add_attachment(draw(CONTENTS), maintype=maintype, subtype=subtype, filename=draw(NAMES))
    if draw(st.booleans()):
        message.add_attachment(draw(LINES), subtype="csv", filename=draw(NAMES), cte=draw(encodings))
    if depth < 2 and draw(st.integers(0, 3)) == 0:
        message.add_attachment(draw(messages(depth + 1)))
    return message


def _date(when: datetime) -> str:
    return format_datetime(when)


def leaves(message: email.message.Message) -> list[tuple[str, str, bytes]]:
    """Type, name and decoded content of each leaf."""
    found: list[tuple[str, str, bytes]] = []
    for part in message.walk():
        if not part.is_multipart():
            content = part.get_payload(decode=True)
            assert isinstance(content, bytes)
            found.append((part.get_content_type(), part.get_filename() or "", content))
    return found


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
@settings(max_examples=40)
@given(message=messages())
def test_a_filter_sees_the_leaves_that_the_email_package_sees(
    message: EmailMessage, policy: email.policy.EmailPolicy
) -> None:
    raw = message.as_bytes(policy=policy)
    tree = parse(raw)
    expected = leaves(email.message_from_bytes(raw, policy=email.policy.default))
    assert [(leaf.content_type, leaf.filename, leaf.content) for leaf in tree.leaves()] == expected


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
@settings(max_examples=40)
@given(message=messages())
def test_well_formed_mail_has_no_defect_and_one_view(message: EmailMessage, policy: email.policy.EmailPolicy) -> None:
    examination = examine(parse(message.as_bytes(policy=policy)))
    # Whether the mail came with SMTPUTF8, which alone allows it, no message tells.
    allowed = {"raw-8bit-parameter"} if policy.utf8 else set()
    assert {defect.name for defect in examination.defects if defect.severity > Severity.INFO} <= allowed
    assert (examination.shadows, examination.view_count, examination.incomplete) == ((), 1, None)
