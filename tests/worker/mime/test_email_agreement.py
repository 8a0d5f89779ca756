# SPDX-License-Identifier: GPL-3.0-or-later
"""On well-formed mail the tree is the one that the standard library's email package sees."""

import email
import email.generator
import email.policy
from email.message import EmailMessage
from email.mime.application import MIMEApplication
from email.mime.base import MIMEBase
from email.mime.message import MIMEMessage
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defang_worker.mime import Entity, parse

WORDS = st.text(st.characters(min_codepoint=32, max_codepoint=0x17F, exclude_characters="\x7f"), max_size=60)
NAMES = st.text("abcÄöß .-_()'", min_size=1, max_size=30).filter(lambda name: name.strip() == name)


@st.composite
def leaf(draw: st.DrawFn) -> MIMEBase:
    part: MIMEBase
    if draw(st.booleans()):
        lines = draw(st.lists(WORDS, max_size=5))
        part = MIMEText("\n".join(lines), draw(st.sampled_from(["plain", "html"])), "utf-8")
    else:
        part = MIMEApplication(draw(st.binary(max_size=120)))
    if draw(st.booleans()):
        part.add_header("Content-Disposition", "attachment", filename=("utf-8", "", draw(NAMES)))
    return part


def container(children: st.SearchStrategy[MIMEBase]) -> st.SearchStrategy[MIMEBase]:
    multipart = st.builds(
        lambda kind, parts: MIMEMultipart(kind, None, parts),
        st.sampled_from(["mixed", "alternative", "related"]),
        st.lists(children, min_size=1, max_size=4),
    )
    return st.one_of(multipart, children.map(MIMEMessage))


MESSAGES = st.recursive(leaf(), container, max_leaves=8)


def flat(message: email.message.Message, depth: int = 0) -> list[tuple[int, str, bytes | None]]:
    """Depth, type, and for leaves the decoded content of each part."""
    if not message.is_multipart():
        payload = message.get_payload(decode=True)
        assert isinstance(payload, bytes)
        return [(depth, message.get_content_type(), payload)]
    entries: list[tuple[int, str, bytes | None]] = [(depth, message.get_content_type(), None)]
    for part in message.get_payload():
        assert isinstance(part, email.message.Message)
        entries += flat(part, depth + 1)
    return entries


def flat_tree(entity: Entity, depth: int = 0) -> list[tuple[int, str, bytes | None]]:
    entries = [(depth, entity.content_type, None if entity.children else entity.content)]
    for child in entity.children:
        entries += flat_tree(child, depth + 1)
    return entries


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@given(message=MESSAGES)
def test_same_parts_and_same_content(message: MIMEBase, line_end: str) -> None:
    raw = message.as_bytes(policy=message.policy.clone(linesep=line_end))
    assert flat_tree(parse(raw).root) == flat(email.message_from_bytes(raw))


@given(message=MESSAGES)
def test_same_file_names(message: MIMEBase) -> None:
    raw = message.as_bytes()
    expected = [part.get_filename() or "" for part in email.message_from_bytes(raw).walk()]
    assert [entity.filename for entity in parse(raw).walk()] == expected


def test_a_usual_message() -> None:
    message = EmailMessage(policy=email.policy.SMTP)
    message["Subject"] = "Plan für morgen"
    message.set_content("Guten Morgen,\n\nanbei der Plan.\n" * 3)
    message.add_alternative("<p>Guten Morgen, anbei der Plan.</p>\n", subtype="html")
    message.add_attachment(bytes(range(256)), maintype="application", subtype="pdf", filename="Plan für morgen.pdf")
    raw = message.as_bytes()
    tree = parse(raw)
    assert flat_tree(tree.root) == flat(email.message_from_bytes(raw, policy=email.policy.default))
    assert [leaf.filename for leaf in tree.leaves()] == ["", "", "Plan für morgen.pdf"]
