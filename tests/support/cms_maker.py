# SPDX-License-Identifier: GPL-3.0-or-later
"""Cryptographic Message Syntax, written from its elements: signed without a key, compressed, or in name only."""

import zlib
from collections.abc import Callable

PKCS7 = bytes.fromhex("2a864886f70d0107")
SMIME = bytes.fromhex("2a864886f70d01091001")
DATA, SIGNED, ENVELOPED, DIGESTED, ENCRYPTED = (PKCS7 + bytes([number]) for number in (1, 2, 3, 5, 6))
AUTHENTICATED, COMPRESSED, AUTH_ENVELOPED = (SMIME + bytes([number]) for number in (2, 9, 23))
IDENTIFIER, STRING, PIECES, SEQUENCE, SET, EXPLICIT_0 = 0x06, 0x04, 0x24, 0x30, 0x31, 0xA0
VERSION = bytes.fromhex("020101")


def element(tag: int, *contents: bytes) -> bytes:
    """Return an element with its length, as DER has it."""
    content = b"".join(contents)
    if len(content) < 0x80:
        return bytes([tag, len(content)]) + content
    length = len(content).to_bytes((len(content).bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 + len(length)]) + length + content


def streamed(tag: int, *contents: bytes) -> bytes:
    """Return an element that ends with a mark, as BER allows."""
    return bytes([tag, 0x80]) + b"".join(contents) + b"\0\0"


def in_pieces(content: bytes, size: int, write: Callable[..., bytes] = element) -> bytes:
    """Return a string in pieces of some bytes each."""
    pieces = [element(STRING, content[at : at + size]) for at in range(0, len(content), size)]
    return write(PIECES, *pieces)


def cms(kind: bytes, content: bytes) -> bytes:
    """Return the outermost layer of this kind."""
    return element(SEQUENCE, element(IDENTIFIER, kind), element(EXPLICIT_0, content))


def encapsulated(string: bytes | None, inner: bytes = DATA) -> bytes:
    """Return a content with its type."""
    explicit = () if string is None else (element(EXPLICIT_0, string),)
    return element(SEQUENCE, element(IDENTIFIER, inner), *explicit)


def signed_data(string: bytes | None, inner: bytes = DATA) -> bytes:
    """Return what stands in a signed layer, without signers."""
    return element(SEQUENCE, VERSION, element(SET), encapsulated(string, inner), element(SET))


def signed(content: bytes | None, inner: bytes = DATA) -> bytes:
    """Return a signed layer."""
    return cms(SIGNED, signed_data(None if content is None else element(STRING, content), inner))


def compressed_data(packed: bytes, inner: bytes = DATA) -> bytes:
    """Return what stands in a compressed layer."""
    algorithm = element(SEQUENCE, element(IDENTIFIER, SMIME[:-1] + b"\x03\x08"))
    return element(SEQUENCE, VERSION, algorithm, encapsulated(element(STRING, packed), inner))


def compressed(content: bytes, inner: bytes = DATA) -> bytes:
    """Return a compressed layer (RFC 3274)."""
    return cms(COMPRESSED, compressed_data(zlib.compress(content), inner))


def secret(kind: bytes = ENVELOPED) -> bytes:
    """Return a layer that nobody has a key for."""
    hidden = element(SEQUENCE, element(IDENTIFIER, DATA), element(SEQUENCE), element(0x80, b"\x17" * 40))
    return cms(kind, element(SEQUENCE, VERSION, element(SET), hidden))
