# SPDX-License-Identifier: GPL-3.0-or-later
"""Small archives of all kinds for tests, made by libraries where there are any, else byte by byte, uncompressed."""

import base64
import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Mapping

import libarchive

Files = Mapping[str, bytes]
# Of 7-Zip, password "words": `blocked.exe` with "plain words" in it.
ENCRYPTED_7Z = base64.b64decode(
    "N3q8ryccAAQKLZHWhQAAAAAAAAAUAAAAAAAAAIbrBdBqwKMMURsfx48O3HOK4OSgAQBwAQQGAAEJEAoBtaSb6wAHCwEAAiQG8QcBElMPhjgZ"
    "AFS+AFVtyTAXFPiaiiEhARgBAAwPCwAICgGJ8rixAAAFAREZAGIAbABvAGMAawBlAGQALgBlAHgAZQAAABQKAQBw+Rqr3HrdARUGAQAggICB"
    "AAAAFwYQAQl1AAcLAQABISEBGAxxAAA="
)
# The same, its list of names encrypted, too.
CLOSED_7Z = base64.b64decode(
    "N3q8ryccAASmce+kkAAAAAAAAAApAAAAAAAAANvYdMSkALMMMKI5Y05OFE1L6Gc3gF8/2hPEHeN4bopnbccx2UXhHweG0Yt+9c2ajLyT5Qax"
    "s+eVGIAP1tkTOfbWnyaanPd0zi2CfSy+qq7vz8KPxYUJ9yKiWRBCsVqxbRdm4zp4K2FuPUdigmSsRm+cGNBc7ZLKIIUAvWJ2HDMb4AiRrUbU"
    "POoZo0LlhsTKUK4I9Q4XBhABCYCAAAcLAQABJAbxBwESUw8VQpiz7lmgd+2IZ3+cMgB6DHEAAA=="
)


def zipped(files: Files, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()


def tarred(files: Files, mode: str = "w", form: int = tarfile.PAX_FORMAT) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode, format=form) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def by_libarchive(files: Files, form: str, compression: str | None = None) -> bytes:
    made = bytearray()

    def write(data: bytes) -> int:
        made.extend(data)
        return len(data)

    with libarchive.custom_writer(write, form, compression) as archive:
        for name, content in files.items():
            archive.add_file_from_memory(name, len(content), content)
    return bytes(made)


def rar5(files: Files) -> bytes:
    blocks = [b"Rar!\x1a\x07\x01\x00", _rar5_block(b"\x01\x00\x00")]
    for name, content in files.items():
        crc = struct.pack("<I", zlib.crc32(content))
        size = _vint(len(content))
        fields = b"\x02\x02" + size + b"\x04" + size + b"\x20" + crc + b"\x00\x00" + _vint(len(name)) + name.encode()
        blocks.append(_rar5_block(fields) + content)
    return b"".join([*blocks, _rar5_block(b"\x05\x00\x00")])


def rar4(files: Files) -> bytes:
    blocks = [b"Rar!\x1a\x07\x00", _rar4_block(0x73, 0, bytes(6))]
    for name, content in files.items():
        size = len(content)
        fields = struct.pack("<IIBIIBBHI", size, size, 0, zlib.crc32(content), 0, 20, 0x30, len(name), 0x20)
        blocks.append(_rar4_block(0x74, 0x8000, fields + name.encode()) + content)
    return b"".join([*blocks, _rar4_block(0x7B, 0x4000, b"")])


def cabinet(files: Files) -> bytes:
    content = b"".join(files.values())
    entries, at = b"", 0
    for name, data in files.items():
        entries += struct.pack("<IIHHHH", len(data), at, 0, 0, 0, 0x20) + name.encode() + b"\0"
        at += len(data)
    files_at, data_at = 36 + 8, 36 + 8 + len(entries)
    total = data_at + 8 + len(content)
    header = struct.pack("<4s5I2B5H", b"MSCF", 0, total, 0, files_at, 0, 3, 1, 1, len(files), 0, 0, 0)
    folder = struct.pack("<IHH", data_at, 1, 0)
    return header + folder + entries + struct.pack("<IHH", 0, len(content), len(content)) + content


def _vint(number: int) -> bytes:
    groups = []
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*groups, number])


def _rar5_block(fields: bytes) -> bytes:
    block = _vint(len(fields)) + fields
    return struct.pack("<I", zlib.crc32(block)) + block


def _rar4_block(kind: int, flags: int, fields: bytes) -> bytes:
    block = struct.pack("<BHH", kind, flags, 7 + len(fields)) + fields
    return struct.pack("<H", zlib.crc32(block) & 0xFFFF) + block
