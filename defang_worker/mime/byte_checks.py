# SPDX-License-Identifier: GPL-3.0-or-later
"""Bytes that have no place in mail: NUL, bare CR and LF, lines that are too long.

Goes over the whole message a few times at the speed of memory; a body that is declared binary may have any bytes.
"""

from collections.abc import Callable
from typing import Final

from defang_worker.mime.header_checks import Note
from defang_worker.mime.headers import Buffer
from defang_worker.mime.line_ends import first_bare_cr, first_double_cr, first_lone_lf, first_long_line
from defang_worker.mime.tree import Entity, Source, Tree

_Search = Callable[[Buffer, int, int], int]
# Bodies to skip; a message with more is searched as if it had none.
_MAX_BINARY: Final = 100


def _first_nul(buffer: Buffer, start: int, end: int) -> int:
    return buffer.find(b"\0", start, end)


def _first_crlf(buffer: Buffer, start: int, end: int) -> int:
    return buffer.find(b"\r\n", start, end)


def check_bytes(tree: Tree, regular: list[Entity], note: Note) -> None:
    """Note the bytes of the message, and of what was decoded as a message, that readers treat differently.

    The bodies of `regular` are known to have no long line.
    """
    for entity in (tree.root, *(host.children[0] for host in tree.decoded if host.children)):
        _check_source(tree, entity, entity.source, regular, note)


def _check_source(tree: Tree, entity: Entity, source: Source, regular: list[Entity], note: Note) -> None:
    size = len(source.buffer)

    def long_line(buffer: Buffer, start: int, end: int) -> int:
        # Regular bodies begin and end with a line, so the line is not in one, or it is whole in what is around.
        for leaf in regular:
            if leaf.source is source and start <= leaf.body_start < end:
                found = first_long_line(buffer, start, leaf.body_start)
                if found >= 0:
                    return found
                start = min(leaf.end, end)
        return first_long_line(buffer, start, end)

    searches: list[tuple[str, _Search]] = [("nul-byte", _first_nul), ("line-too-long", long_line)]
    first_end = source.buffer.find(b"\n")
    if source.buffer.find(b"\r") >= 0:
        is_crlf = first_end > 0 and source.buffer[first_end - 1] == 0x0D
        searches += [
            ("bare-cr", first_bare_cr),
            ("double-cr", first_double_cr),
            ("bare-lf", first_lone_lf if is_crlf else _first_crlf),
        ]
    for name, search in searches:
        at = search(source.buffer, 0, size)
        if at >= 0:
            at = _outside_binary(tree, source, search, at)
        if at >= 0:
            note(entity, name, at, "")


def _outside_binary(tree: Tree, source: Source, search: _Search, at: int) -> int:
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
