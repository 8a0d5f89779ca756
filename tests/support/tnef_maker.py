# SPDX-License-Identifier: GPL-3.0-or-later
"""Pieces of a winmail.dat (TNEF): attributes, and the properties within one."""

from __future__ import annotations

import struct

START = b"\x78\x9f\x3e\x22\x01\x00"
MESSAGE, ATTACHMENT = 1, 2
RENDERING, TITLE, DATA, PROPERTIES = 0x9002, 0x8010, 0x800F, 0x9005
STRING, UNICODE, OBJECT, BINARY = 0x1E, 0x1F, 0x0D, 0x102


def attribute(level: int, name: int, value: bytes) -> bytes:
    return struct.pack("<BHHI", level, name, 6, len(value)) + value + struct.pack("<H", sum(value) & 0xFFFF)


def properties(*values: tuple[int, int, bytes], names: bytes = b"") -> bytes:
    encoded = [struct.pack("<I", len(values))]
    for number, kind, value in values:
        encoded.append(struct.pack("<HH", kind, number) + names)
        if kind in {STRING, UNICODE, OBJECT, BINARY}:
            encoded.append(struct.pack("<II", 1, len(value)) + value + bytes(-len(value) % 4))
        else:
            encoded.append(value)
    return b"".join(encoded)


def attachment(content: bytes = b"words", title: bytes = b"BLOCKED~1.EXE\0", *more: tuple[int, bytes]) -> bytes:
    attributes = [(RENDERING, bytes(14)), (TITLE, title), (DATA, content), *more]
    return b"".join(attribute(ATTACHMENT, name, value) for name, value in attributes)
