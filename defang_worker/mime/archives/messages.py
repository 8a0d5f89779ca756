# SPDX-License-Identifier: GPL-3.0-or-later
"""What messages in archives hold: the parts of an .eml, the files in winmail.dat and S/MIME, as members.

A mail client opens such a file from within the archive, and shows what is attached. All readings of it count, as of
the message that came. Archives that are attached there are left to `walk.py`, which has the limits for them.
"""

from collections.abc import Iterator
from typing import Final
from urllib.parse import quote

from defang_worker.mime.archives.kinds import ArchiveKind
from defang_worker.mime.archives.model import HEAD_BYTES, ArchiveError, ArchiveLimitError, Budget, Member, Reason
from defang_worker.mime.contents import (
    OLE_MAGIC,
    TNEF_MAGIC,
    as_message,
    begins_cms,
    is_called_message,
    is_called_smime,
    is_message_content,
    messages_behind,
)
from defang_worker.mime.parse import parse
from defang_worker.mime.shadow import ShadowPart
from defang_worker.mime.tree import Entity, Tree

# A file as the only part of a message: so it is looked into like an attachment.
_ATTACHED: Final = (
    b"MIME-Version: 1.0\nContent-Type: application/octet-stream\nContent-Transfer-Encoding: binary\n"
    b"Content-Disposition: attachment; filename*=utf-8''%b\n\n"
)
_MAX_NAME_CHARACTERS: Final = 200
_DAMAGED: Final = "smime-unreadable"


def holds_parts(head: bytes, names: tuple[str, ...]) -> bool:
    """Tell by its first bytes and its names whether a file is a message, or another one with parts in it."""
    return (
        is_message_content(head, "", names)
        # of which the first field that is one may stand further behind
        or (len(head) >= HEAD_BYTES and is_called_message(names) and not head.startswith(OLE_MAGIC))
        or head.startswith(TNEF_MAGIC)
        or begins_cms(head)
        or is_called_smime("", names)
    )


class MessageReader:
    """Goes through the parts of a file, the containers that have names included; then raises if there may be more."""

    def __init__(self, data: bytes, names: tuple[str, ...], budget: Budget) -> None:
        self._data = data
        self._names = names
        self._budget = budget

    def __iter__(self) -> Iterator[Member]:
        data = self._data
        if not is_message_content(data, "", self._names):
            name = self._names[0].rpartition("/")[2] if self._names else ""
            attached = _ATTACHED % quote(name[-_MAX_NAME_CHARACTERS:], errors="replace").encode("ascii") + data
            yield from self._parts(parse(attached), is_file=True)
            return
        yield from self._parts(parse(as_message(data)))
        for message in messages_behind(data):
            yield from self._parts(parse(message))

    def _parts(self, tree: Tree, *, is_file: bool = False) -> Iterator[Member]:
        # Which itself looks into archives, but for those in messages.
        from defang_worker.mime.views import examine  # noqa: PLC0415

        examination = examine(tree, lambda _part, _archive: None, self._budget)
        parts: list[Entity | ShadowPart] = [] if is_file else [*tree.walk()]
        for part in (*parts, *examination.shadows):
            if part.is_leaf or part.filenames:
                self._budget.take_member()
                yield self._member(part)
        if examination.incomplete == _DAMAGED:
            raise ArchiveError("S/MIME in it is damaged")
        if examination.incomplete is not None:
            raise ArchiveLimitError(f"a message in it goes beyond a limit: {examination.incomplete}", Reason.DEPTH)

    def _member(self, part: Entity | ShadowPart) -> Member:
        is_leaf = part.is_leaf
        packed = part.end - part.body_start if isinstance(part, Entity) else None
        return Member(
            kind=ArchiveKind.MESSAGE,
            names=part.filenames,
            # What is in a container are members themselves.
            unpack=(lambda size: part.content[:size]) if is_leaf else (lambda _size: b""),
            budget=self._budget,
            size=None if is_leaf else 0,
            packed_size=packed if is_leaf else 0,
        )
