# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with the body of a leaf, and what lies in its content: files, messages, archives.

Decodes only what has to be looked at whole: text, and what may be an archive.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from defang_worker.mime import sampling
from defang_worker.mime.byte_checks import RegularLines
from defang_worker.mime.contents import (
    as_message,
    begins_cms,
    embedded_files,
    is_called_archive,
    is_called_smime,
    is_mere_text,
    is_message_content,
    is_mislabelled,
    is_opened_by_name,
    is_searched,
    messages_behind,
)
from defang_worker.mime.decode import decode_body
from defang_worker.mime.header_checks import Note
from defang_worker.mime.severities import NO_VIEWS
from defang_worker.mime.shadow import ShadowPart
from defang_worker.mime.structure_checks import outside_texts
from defang_worker.mime.tree import Entity

if TYPE_CHECKING:
    from collections.abc import Iterable

    from defang_worker.mime.archives import Archive, ArchiveKind, Budget
    from defang_worker.mime.base64_faults import Damage

_DEFECT_OF_KIND: Final = {
    "uuencode": "uuencode-in-text",
    "yenc": "binary-in-text",
    "binhex": "binary-in-text",
    "tnef": "tnef",
}
_BASE64_FIRST: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=\r\n")
# Files in files in ...: a limit on the levels.
_MAX_FILES: Final = 1_000
_MAX_LEVELS: Final = 5
# What every second sender writes before the first part.
_USUAL_PREAMBLE_BYTES: Final = 120


ArchiveWalk = Callable[["Entity | ShadowPart", "Archive"], None]
"""Goes through an archive, the content of a part: once, and to its end."""


class Seed(NamedTuple):
    """A content that is a message, or an entity in S/MIME, to be read in every way."""

    content: bytes
    host: Entity
    """The leaf that it was found in."""
    view: str
    """What its parts are shown as."""
    is_message: bool


class BodyChecks:
    """Looks at bodies and contents one after the other, and keeps what was found in them."""

    def __init__(self, note: Note, walk: ArchiveWalk | None = None, budget: Budget | None = None) -> None:
        self._note = note
        self._walk = walk or _go_through
        self._budget = budget
        """What all archives of the message may take together; None if none was met yet."""
        self._is_own_budget = budget is None
        self.shadows: list[ShadowPart] = []
        self.seeds: list[Seed] = []
        self.damaged: dict[Entity, list[Damage]] = {}
        """Leaves whose body can be decoded in several ways, and what is wrong with it."""
        self.regular: list[RegularLines] = []
        """Where large bodies were found to be base64 in lines of one length."""
        self.incomplete: str | None = None

    def entity(self, entity: Entity, encoding: str) -> None:
        """Look at one entity, whose body has this transfer encoding."""
        if entity.children:
            self._outside(entity)
            return
        if entity.is_multipart:
            self._outside(entity)
        if encoding == "base64" and entity.end - entity.body_start > sampling.LARGE_BYTES:
            if not self._is_worth_decoding(entity):
                return
        elif encoding in {"base64", "quoted-printable"}:
            self._encoded(entity, encoding)
        else:
            self._undeclared(entity, encoding)
        self._content(entity, encoding)

    def _is_worth_decoding(self, entity: Entity) -> bool:
        """Note what is wrong with a large body of base64; tell whether its content has to be looked at whole."""
        from defang_worker.mime.damage import irregularities, regular_lines  # noqa: PLC0415  # for large mail

        buffer, start, end = entity.source.buffer, entity.body_start, entity.end
        sample = sampling.Sample()
        lines_end = regular_lines(buffer, start, end, sample)
        found = irregularities(buffer, start, end, lines_end)
        self._damaged(entity, found)
        if lines_end == start:
            return True
        self.regular.append(RegularLines(entity, lines_end))
        if found:
            return True
        sample.take(decode_body(buffer[lines_end:end], "base64"))
        return sample.is_worth_decoding(entity.content_type, entity.filenames)

    def _encoded(self, entity: Entity, encoding: str) -> None:
        """Note what is wrong with an encoded body."""
        from defang_worker.mime.damage import (  # noqa: PLC0415  # for rare mail
            content_of_few_lines,
            first_odd_pair,
            irregularities,
            quoted_printable_damages,
            regular_lines,
        )

        buffer, start, end = entity.source.buffer, entity.body_start, entity.end
        if encoding == "base64":
            content = content_of_few_lines(buffer, start, end)
            if content is not None:
                entity.keep_content(content)
                return
            whole = sampling.Whole()
            lines_end = regular_lines(buffer, start, end, whole)
            found = irregularities(buffer, start, end, lines_end)
            self._damaged(entity, found)
            if whole.pieces and not found:
                entity.keep_content(b"".join([*whole.pieces, decode_body(buffer[lines_end:end], "base64")]))
        elif first_odd_pair(buffer, start, end) >= 0:
            self._damaged(entity, quoted_printable_damages(buffer[start:end]))

    def _damaged(self, entity: Entity, found: list[Damage]) -> None:
        for damage in found:
            self._note(entity, damage.name, entity.body_start + damage.offset, damage.detail)
            self.damaged[entity] = found

    def _undeclared(self, entity: Entity, encoding: str) -> None:
        """Note base64 that no field declares."""
        first = entity.source.buffer[entity.body_start : min(entity.body_start + 64, entity.end)]
        if not first.strip() or not _BASE64_FIRST.issuperset(first) or encoding not in {"7bit", "8bit", "binary"}:
            return
        from defang_worker.mime.damage import looks_like_base64  # noqa: PLC0415  # for rare mail

        body = entity.raw_body
        if looks_like_base64(body):
            self._note(entity, "undeclared-encoding", entity.body_start, "")
            content = decode_body(body, "base64")
            names = entity.filenames
            self._inside(self._add(entity, "undeclared-encoding", names, content, entity.content_type), 0)

    def _outside(self, entity: Entity) -> None:
        from defang_worker.mime.damage import looks_like_base64  # noqa: PLC0415  # for rare mail

        buffer = (entity.inner or entity.source).buffer
        for view, start, end in outside_texts(entity):
            text = buffer[start:end]
            bare = text.strip()
            if not bare or (len(bare) < _USUAL_PREAMBLE_BYTES and b"\n" not in bare and b"MIME" in bare):
                continue
            shadow = self._add(entity, f"{view}-text", (), text, "text/plain")
            if looks_like_base64(text):
                decoded = decode_body(text, "base64")
                self._inside(self._add(entity, f"{view}-text", (), decoded, "application/octet-stream"), 0)
            self._inside(shadow, 0)

    # Contents

    def take_seeds(self) -> list[Seed]:
        """Return the entities found in contents since the last call."""
        seeds, self.seeds = self.seeds, []
        return seeds

    def _content(self, entity: Entity, encoding: str) -> None:
        if entity.body_start >= entity.end:
            return
        if encoding == "uuencode":
            self._files(entity, entity.raw_body, 0, is_text=True)
        content = entity.content
        if not is_mere_text(content, 0, len(content)) or is_opened_by_name(entity.content_type, entity.filenames):
            self._inside(entity, 0)

    def content(self, shadow: ShadowPart) -> None:
        """Look into the content of a part that was explored; if that is a message, its parts were, too."""
        self._inside(shadow, 0, is_explored=True)

    def _inside(self, part: Entity | ShadowPart, level: int, *, is_explored: bool = False) -> None:
        host = part.host if isinstance(part, ShadowPart) else part
        content, content_type = part.content, part.content_type
        if is_message_content(content, content_type, part.filenames):
            self._note(host, "message-in-leaf", host.start, "")
            messages = [] if is_explored else [as_message(content)]
            messages += messages_behind(content)
            self.seeds += (Seed(message, host, "message-in-leaf", is_message=True) for message in messages)
            self._archive(part, host, is_at_start=True)
            return
        is_called_so = is_called_smime(content_type, part.filenames)
        if (is_called_so or begins_cms(content)) and self._smime(part, level, is_called_so=is_called_so):
            return
        has_nul = b"\0" in content[:512]
        self._files(host, content, level, is_text=not has_nul or content_type.startswith("text/"))
        self._archive(part, host)

    def _files(self, host: Entity, content: bytes, level: int, *, is_text: bool) -> None:
        for file in embedded_files(content, is_text=is_text):
            if len(self.shadows) >= _MAX_FILES:
                self.incomplete = "embedded-count"
                return
            self._note(host, _DEFECT_OF_KIND[file.kind], host.start, "")
            shadow = self._add(host, file.kind, file.names, file.content, "application/octet-stream")
            self._inside_file(shadow, level)

    def _inside_file(self, file: ShadowPart, level: int) -> None:
        if level < _MAX_LEVELS:
            self._inside(file, level + 1)
        else:
            self.incomplete = "embedded-levels"

    def _smime(self, part: Entity | ShadowPart, level: int, *, is_called_so: bool) -> bool:
        """Have the content of S/MIME looked at, if it can be; tell whether that is all there is in the part."""
        from defang_worker.mime import smime  # noqa: PLC0415  # for rare mail

        host = part.host if isinstance(part, ShadowPart) else part
        content_type = part.content_type
        found = smime.look_into(
            part.content, self._budget_of_all(), is_called_so=is_called_so, content_type=content_type
        )
        if found.defect:
            self._note(host, found.defect, host.start, found.detail)
        if found.incomplete is not None:
            self._limit(found.incomplete)
        if found.content is None:
            return is_called_so and found.defect != smime.UNREADABLE
        view = "smime" if part.view in NO_VIEWS or not part.is_shadow else part.view
        is_entity = smime.begins_entity(found.content)
        if is_entity or (is_called_so and smime.has_header(found.content)):
            self.seeds.append(Seed(found.content, host, view, is_message=False))
        names = smime.inner_names(part.filenames)
        if not is_entity or any("." in name for name in names):
            file = self._add(host, view, names, found.content, "application/octet-stream")
            if not is_entity:
                self._inside_file(file, level)
        return is_called_so

    def _add(self, host: Entity, view: str, names: Iterable[str], content: bytes, content_type: str) -> ShadowPart:
        shadow = ShadowPart(host=host, view=view, names=tuple(names), content=content, content_type=content_type)
        self.shadows.append(shadow)
        return shadow

    def _archive(self, part: Entity | ShadowPart, host: Entity, *, is_at_start: bool = False) -> None:
        """Look into the content if it is an archive; a zip behind other bytes only unless it has to be at the start."""
        from defang_worker.mime.archives.kinds import archive_kind, kind_at_start  # noqa: PLC0415  # for rare mail

        content = part.content
        kind = kind_at_start(content) if is_at_start else archive_kind(content)
        if kind is not None:
            self._kind(part, host, content, kind, is_called_so=is_called_archive(part.content_type, part.filenames))
        elif is_searched(part.filenames):
            self._archive_behind(part, host)

    def _archive_behind(self, part: Entity | ShadowPart, host: Entity) -> None:
        """Look into a rar or 7z behind other bytes, if its header has the checksum of one."""
        from defang_worker.mime.archives.kinds import kind_at_start, starts_behind  # noqa: PLC0415  # for rare mail

        for start in starts_behind(part.content):
            content = part.content[start:]
            kind = kind_at_start(content)
            if kind is not None and self._kind(part, host, content, kind, is_called_so=False):
                self._note(host, "archive-junk", host.start, "")
                return

    def _kind(
        self, part: Entity | ShadowPart, host: Entity, content: bytes, kind: ArchiveKind, *, is_called_so: bool
    ) -> bool:
        """Look into an archive of this kind, the content of a part or the end of it; tell whether it is one."""
        from defang_worker.mime.archives import Archive, Reason  # noqa: PLC0415  # for archives

        archive = Archive(content, budget=self._budget_of_all(), is_called_so=is_called_so)
        self._walk(part, archive)
        if archive.error is not None and archive.error.reason is Reason.NO_ARCHIVE:
            return False
        for name in archive.defects:
            self._note(host, name, host.start, "")
        if is_mislabelled(kind, part.content_type, part.filenames):
            self._note(host, "archive-mislabelled", host.start, "")
        if archive.error is not None:
            self._limit(archive.error.limit)
        return True

    def _budget_of_all(self) -> Budget:
        from defang_worker.mime.archives.model import ArchiveLimits, Budget  # noqa: PLC0415  # for rare mail

        if self._budget is None:
            self._budget = Budget(ArchiveLimits())
        return self._budget

    def _limit(self, limit: str) -> None:
        """Keep why a content was not seen completely; a password or a method that is wanted hides no other cause."""
        from defang_worker.mime.archives.model import MILD_LIMITS  # noqa: PLC0415  # for rare mail

        if self.incomplete is None or self.incomplete in MILD_LIMITS:
            self.incomplete = limit

    def close(self) -> None:
        """End the processes that read archives, if there are any."""
        if self._budget is not None and self._is_own_budget:
            self._budget.close()


def _go_through(_part: Entity | ShadowPart, archive: Archive) -> None:
    for _ in archive:
        pass
