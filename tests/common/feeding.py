# SPDX-License-Identifier: GPL-3.0-or-later
"""The same bytes in several pieces: whole, byte by byte, and with the beginning of something else behind them."""

from __future__ import annotations

from collections.abc import Iterator

from defang_common.wire.lines import LineBuffer


def lines_of(pieces: Iterator[bytes] | list[bytes], limit_bytes: int) -> list[bytes]:
    """What a LineBuffer hands out, asked after each piece."""
    buffer = LineBuffer(limit_bytes)
    lines = []
    for piece in pieces:
        buffer.feed(piece)
        while (line := buffer.next_line()) is not None:
            lines.append(line)
    return lines


def in_three_ways(data: bytes, limit_bytes: int) -> list[list[bytes]]:
    """The whole lines of `data`, as read whole, byte by byte, and with a tail that is no whole line."""
    return [
        lines_of([data], limit_bytes),
        lines_of([data[at : at + 1] for at in range(len(data))], limit_bytes),
        lines_of([data + b"tai", b"l"], limit_bytes),
    ]


def line_in_three_ways(data: bytes, limit_bytes: int) -> list[bytes]:
    """The one line of `data`, read in each of the three ways."""
    return [line for (line,) in in_three_ways(data, limit_bytes)]
