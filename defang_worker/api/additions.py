# SPDX-License-Identifier: GPL-3.0-or-later
"""What `Message` and `Part` do to text parts: texts and HTML added, warnings put in, HTML that says the
same removed, web addresses shortened.

Loaded when a filter first asks for it. Attachments, signed and encrypted parts are left alone.
"""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Final

from defang_worker.mime.boilerplate import TextEdit
from defang_worker.mime.protected import is_protected
from defang_worker.mime.shadow import ShadowPart

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from defang_worker.api.message import Message
    from defang_worker.api.part import Part

_RULER: Final = "=" * 75


def to_part(part: Part, text: str, *, is_html: bool = False, prepend: bool = False) -> bool:
    """Adds to one text part; False if that cannot be done faithfully, or not at all."""
    edit = _edit_of(part)
    if edit is None:
        return False
    new = edit.with_html(text, at_start=prepend) if is_html else edit.with_text(text, at_start=prepend)
    if new is not None:
        part.put(new)
    return new is not None


def _edit_of(part: Part) -> TextEdit | None:
    """What edits a text part; None for parts that cannot be edited."""
    entity, before = part.shown, part.entity
    if isinstance(entity, ShadowPart) or isinstance(before, ShadowPart):
        return None
    if not entity.is_leaf or part.is_dropped or part.is_protected:
        return None
    message = part.message
    return TextEdit(entity, message.newline, eight_bit=message.takes_eight_bit, content_only=before.is_message_root)


def to_message(message: Message, text: str, *, is_html: bool = False, everywhere: bool, prepend: bool) -> int:
    """Adds to the first text part that takes it, or to every one, those of attached messages too; how many it were."""
    done = 0
    for part in _texts(message, "text/html" if is_html else "text/plain", everywhere=everywhere):
        done += to_part(part, text, is_html=is_html, prepend=prepend)
        if done and not everywhere:
            break
    return done


def warnings(message: Message, intro: str, told: list[str]) -> bool:
    """Puts the warnings into the first text and the first HTML that is shown; False if there is neither."""
    text = "\n".join([intro, *told]) if intro else "\n".join(told)
    added = to_message(message, f"{_RULER}\n{text}", everywhere=False, prepend=False)
    block = f"<hr>\n<pre>\n{html.escape(text)}\n</pre>"
    added += to_message(message, block, is_html=True, everywhere=False, prepend=False)
    return added > 0


def remove_redundant_html(message: Message) -> bool:
    """Drops the HTML of each multipart/alternative that has plain text too; whether there was any."""
    removed = False
    for container in _editable(message, everywhere=True):
        if container.content_type != "multipart/alternative":
            continue
        children = [child for child in container.children if not child.is_dropped]
        if any(child.content_type == "text/plain" for child in children):
            for child in children:
                if child.content_type == "text/html":
                    child.drop()
                    removed = True
    return removed


def strip_tracking(message: Message, names: Sequence[str]) -> int:
    """Takes the parameters of these names out of the web addresses in all texts; how many addresses it changed."""
    from defang_worker.mime.uris import Stripper  # noqa: PLC0415  # few filters ask for it

    changed = 0
    for content_type, is_html in (("text/plain", False), ("text/html", True)):
        for part in _texts(message, content_type, everywhere=True):
            stripper = Stripper(names)
            if (edit := _edit_of(part)) is not None:
                new = edit.with_edit(stripper.html if is_html else stripper.text)
                if new is not None:
                    part.put(new)
                    changed += stripper.changed
    return changed


def _texts(message: Message, content_type: str, *, everywhere: bool) -> Iterator[Part]:
    for part in _editable(message, everywhere=everywhere):
        is_shown = part.disposition != "attachment" and not part.filename
        if part.is_leaf and part.content_type == content_type and is_shown:
            yield part


def _editable(message: Message, *, everywhere: bool) -> Iterator[Part]:
    """All parts but those in signed and encrypted ones, and in attached messages unless `everywhere`."""
    waiting = [message.root]
    while waiting:
        part = waiting.pop()
        entity = part.entity
        if part.is_dropped or isinstance(entity, ShadowPart) or (is_protected(entity) and part.replacement is None):
            continue
        yield part
        if part.is_multipart or everywhere:
            waiting.extend(reversed(part.children))
