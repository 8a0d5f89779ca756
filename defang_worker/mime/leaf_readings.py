# SPDX-License-Identifier: GPL-3.0-or-later
"""The leaves of an exploration: each decoded in every way, and kept if it is new. Used by `explore.py`."""

import hashlib
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from defang_worker.mime.base64_faults import Damage
from defang_worker.mime.contents import as_message, is_message_content
from defang_worker.mime.damage import irregularities, looks_like_base64, other_readings
from defang_worker.mime.decode import decode_body
from defang_worker.mime.filenames import canonical
from defang_worker.mime.headers import Headers
from defang_worker.mime.regions import Container, Region, Room, Text
from defang_worker.mime.shadow import ShadowPart
from defang_worker.mime.tree import Entity, Tree

DECODED: Final = frozenset({"base64", "quoted-printable", "uuencode"})
"""Encodings that change the bytes."""
_USUAL: Final = frozenset({"7bit", "8bit", "binary", "base64", "quoted-printable"})


class Leaf(NamedTuple):
    """A region read as a leaf."""

    region: Region
    header: bytes
    body_start: int
    names: list[str]
    content_type: str
    view: str

    @property
    def body(self) -> bytes:
        """The body, still encoded."""
        return self.region.text.buffer[self.body_start : self.region.end]


class _Key(NamedTuple):
    text: int
    start: int
    end: int
    encoding: str


class LeafReader:
    """Reads leaves, and keeps those that the strict tree does not have."""

    def __init__(self, tree: Tree, damaged: Mapping[Entity, list[Damage]], room: Room) -> None:
        self._tree = tree
        self._damaged = damaged
        self._room = room
        self._keys: dict[_Key, Entity] = {}
        self._known: dict[bytes, set[str]] | None = None
        self._told: set[tuple[int, int, int]] = set()
        self.shadows: list[ShadowPart] = []
        self.open_message: Callable[[bytes, Entity, str, int], None] = lambda *_: None
        """Called with content, host, view and depth of a leaf that is a message."""

    def know(self, leaf: Entity, text: Text) -> None:
        """Take note of a leaf of the strict tree, which lies in `text`."""
        self._keys[_Key(id(text), leaf.body_start, leaf.end, leaf.transfer_encoding)] = leaf

    def read(self, leaf: Leaf, declared: list[str]) -> None:
        """Decode a leaf by each encoding that its fields may mean, and keep what is new."""
        region = leaf.region
        for index, encoding in enumerate(declared):
            primary = self._keys.get(_Key(id(region.text), leaf.body_start, region.end, encoding))
            if primary is not None and _has_names(primary, leaf.names):
                if (faults := self._damaged.get(primary)) is not None:
                    self._damage(leaf, encoding, primary.content, faults)
                continue
            if not self._room.takes_bytes(region.end - leaf.body_start):
                return
            view = leaf.view or ("other-transfer-encoding" if index else "other-names")
            content = decode_body(leaf.body, encoding)
            self._record(leaf, content, view)
            faults = irregularities(leaf.body, 0, region.end - leaf.body_start) if encoding == "base64" else []
            if faults or encoding == "quoted-printable":
                self._damage(leaf, encoding, content, faults)
        if len(declared) > 1 or declared[0] not in _USUAL:
            self._guess(leaf, declared)

    def _damage(self, leaf: Leaf, encoding: str, usual: bytes, faults: list[Damage]) -> None:
        """Keep the other contents that a damaged body may be decoded to."""
        for other in other_readings(leaf.body, encoding, usual, faults):
            if not self._room.takes_bytes(len(other.content)):
                return
            self._record(leaf, other.content, leaf.view or other.view)

    def _guess(self, leaf: Leaf, declared: list[str]) -> None:
        """Read a body whose encoding is in doubt as it stands, and decoded by what it looks like."""
        body = leaf.body
        guesses = ["7bit"] if not DECODED.isdisjoint(declared) else []
        if looks_like_base64(body):
            guesses.append("base64")
        if b"\nbegin " in body or body.startswith(b"begin "):
            guesses.append("uuencode")
        if b"=\n" in body or b"=\r\n" in body or b"=3D" in body:
            guesses.append("quoted-printable")
        for encoding in guesses:
            if encoding not in declared and self._room.takes_bytes(len(body)):
                self._record(leaf, decode_body(body, encoding), leaf.view or f"guessed-{encoding}")

    def _record(self, leaf: Leaf, content: bytes, view: str) -> None:
        """Keep a leaf unless the strict tree, or an earlier view, has the same content with the same names."""
        known = self._known_contents()
        key = hashlib.sha256(content).digest()
        forms = {form for name in leaf.names if (form := canonical(name))}
        if (key in known and forms <= known[key]) or not (forms or content.strip()):
            return
        known.setdefault(key, set()).update(forms)
        host = leaf.region.host(self._tree)
        max_fields = host.source.limits.max_header_fields
        self.shadows.append(
            ShadowPart(
                host=host,
                view=view,
                names=tuple(leaf.names),
                content=content,
                content_type=leaf.content_type,
                headers=Headers(leaf.header, 0, len(leaf.header), max_fields=max_fields),
            )
        )
        self._tell_of(leaf.region.container)
        if is_message_content(content, leaf.content_type, leaf.names):
            self.open_message(as_message(content), host, view, leaf.region.depth + 1)

    def name(self, container: Container) -> None:
        """Keep a container by whose names it goes nowhere else."""
        if container.names and not container.is_known:
            known = {canonical(name) for entity in self._tree.walk() for name in entity.filenames}
            known.update(canonical(name) for shadow in self.shadows for name in shadow.filenames)
            if not {form for name in container.names if (form := canonical(name))} <= known:
                self._tell_of(container)

    def _tell_of(self, container: Container | None) -> None:
        """Keep a container, and those around it, unless they are known; several readings may have led to one."""
        while container is not None and not container.is_known:
            container.is_known = True
            region = container.region
            place = (id(region.text), container.body_start, region.end)
            if place in self._told:
                return
            self._told.add(place)
            host = region.host(self._tree)
            self.shadows.append(
                ShadowPart(
                    host=host,
                    view=region.view or "other-content-type",
                    names=tuple(container.names),
                    content=container.body,
                    content_type=container.content_type,
                    headers=Headers(
                        container.header, 0, len(container.header), max_fields=host.source.limits.max_header_fields
                    ),
                    is_leaf=False,
                )
            )
            container = region.container

    def _known_contents(self) -> dict[bytes, set[str]]:
        if self._known is None:
            self._known = {}
            for leaf in self._tree.leaves():
                forms = self._known.setdefault(hashlib.sha256(leaf.content).digest(), set())
                forms.update(canonical(name) for name in leaf.filenames)
        return self._known


def _has_names(primary: Entity, names: list[str]) -> bool:
    known = {canonical(name) for name in primary.filenames}
    return all(canonical(name) in known for name in names)
