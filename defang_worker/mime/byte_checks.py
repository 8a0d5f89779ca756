# SPDX-License-Identifier: GPL-3.0-or-later
"""Bytes that have no place in mail: NUL, bare CR and LF, lines that are too long.

Goes over the whole message a few times at the speed of memory; a body that is declared binary may have any bytes.
"""

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from defang_worker.mime.header_checks import Note
from defang_worker.mime.headers import Buffer
from defang_worker.mime.line_ends import first_bare_cr, first_double_cr, first_lone_lf, first_long_line
from defang_worker.mime.tree import Entity, Source, Tree

Search = Callable[[Buffer, int, int], int]
"""Takes a buffer, start and end; returns where something is found first, or -1."""
# Bodies to skip; a message with more is searched as if it had none.
_MAX_BINARY: Final = 100


def _first_nul(buffer: Buffer, start: int, end: int) -> int:
    return buffer.find(b"\0", start, end)


def _first_cr(buffer: Buffer, start: int, end: int) -> int:
    return buffer.find(b"\r", start, end)


def _first_crlf(buffer: Buffer, start: int, end: int) -> int:
    return buffer.find(b"\r\n", start, end)


class RegularLines(NamedTuple):
    """Lines of base64 from the start of a leaf's body on, of one length and with the line end of the first."""

    leaf: Entity
    end: int
    """After the last line."""

    @property
    def is_crlf(self) -> bool:
        """Whether the lines end in CR LF; in LF alone if not."""
        return self.leaf.source.buffer[self.end - 2 : self.end] == b"\r\n"


def check_bytes(tree: Tree, regular: list[RegularLines], note: Note) -> None:
    """Note the bytes of the message, and of what was decoded as a message, that readers treat differently.

    In the lines of `regular` there are none.
    """
    for entity in (tree.root, *(host.children[0] for host in tree.decoded if host.children)):
        lines = [one for one in regular if one.leaf.source is entity.source]
        for name, search in _searches(entity.source.buffer, lines):
            at = search(entity.source.buffer, 0, len(entity.source.buffer))
            if at >= 0:
                at = _outside_binary(tree, entity.source, search, at)
            if at >= 0:
                note(entity, name, at, "")


def _searches(buffer: Buffer, regular: list[RegularLines]) -> Iterator[tuple[str, Search]]:
    yield "nul-byte", passing_over(regular, _first_nul)
    yield "line-too-long", passing_over(regular, first_long_line)
    if passing_over([lines for lines in regular if not lines.is_crlf], _first_cr)(buffer, 0, len(buffer)) < 0:
        return
    yield "bare-cr", passing_over(regular, first_bare_cr)
    yield "double-cr", passing_over(regular, first_double_cr)
    first_end = buffer.find(b"\n")
    is_crlf = first_end > 0 and buffer[first_end - 1] == 0x0D
    alike = [lines for lines in regular if lines.is_crlf == is_crlf]
    yield "bare-lf", passing_over(alike, first_lone_lf if is_crlf else _first_crlf)


def passing_over(regular: list[RegularLines], search: Search) -> Search:
    """Return a search that passes over these lines of one buffer; what it looks for begins and ends within lines."""
    if not regular:
        return search

    def passing(buffer: Buffer, start: int, end: int) -> int:
        for lines in regular:
            if start <= lines.leaf.body_start < end:
                found = search(buffer, start, lines.leaf.body_start)
                if found >= 0:
                    return found
                start = min(lines.end, end)
        return search(buffer, start, end)

    return passing


def _outside_binary(tree: Tree, source: Source, search: Search, at: int) -> int:
    """Return the first hit that is in no body declared binary, or -1."""
    bodies = [
        (leaf.body_start, leaf.end)
        for leaf in tree.leaves()
        if leaf.source is source and leaf.transfer_encoding == "binary"
    ]
    if not bodies or len(bodies) > _MAX_BINARY:
        return at
    start = 0
    for body_start, body_end in [*bodies, (len(source.buffer), 0)]:
        hit = search(source.buffer, start, body_start)
        if hit >= 0:
            return hit
        start = body_end
    return -1
