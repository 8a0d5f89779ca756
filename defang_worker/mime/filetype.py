# SPDX-License-Identifier: GPL-3.0-or-later
"""What a file is by its content, whatever it is called: `detected_type(data)`.

For rules about dangerous classes: programs, scripts, documents with macros, shortcuts, images of disks, archives.
Magic numbers decide where there are any (`texttype.py` looks at texts). The first bytes are enough for most;
macros, and a zip behind something unknown, are looked for in all of it.
"""

import re
from typing import Final

from defang_worker.mime.archives.kinds import ArchiveKind, archive_kind, kind_at_start
from defang_worker.mime.texttype import FileType, text_type
from defang_worker.mime.tree import KIB, MIB

__all__ = ["FileType", "detected_type"]


HEAD_BYTES: Final = 34 * KIB
_MAGICS: Final = {
    b"\x7fELF": FileType.ELF,
    b"\xfe\xed\xfa\xce": FileType.MACH_O,
    b"\xfe\xed\xfa\xcf": FileType.MACH_O,
    b"\xce\xfa\xed\xfe": FileType.MACH_O,
    b"\xcf\xfa\xed\xfe": FileType.MACH_O,
    b"\xca\xfe\xba\xbf": FileType.MACH_O,
    # A ShellLinkHeader: its size, and the first half of its class identifier ([MS-SHLLINK] 2.1).
    b"\x4c\0\0\0\x01\x14\x02\0\0\0\0\0\xc0\0\0\0\0\0\0\x46": FileType.SHORTCUT,
    b"ITSF": FileType.HELP,
    b"?_\x03\0": FileType.HELP,
    # The header's file type identifier ([MS-ONESTORE] 2.3.1).
    b"\xe4\x52\x5c\x7b\x8c\xd8\xa7\x4d\xae\xb1\x53\x78\xd0\x29\x96\xd3": FileType.ONENOTE,
    b"{\\rt": FileType.RTF,
    b"%PDF-": FileType.PDF,
    b"%!PS": FileType.POSTSCRIPT,
    b"\xc5\xd0\xd3\xc6": FileType.POSTSCRIPT,
    b"vhdxfile": FileType.DISK_IMAGE,
    b"conectix": FileType.DISK_IMAGE,
    b"KDMV": FileType.DISK_IMAGE,
    b"QFI\xfb": FileType.DISK_IMAGE,
    b"MSWIM\0\0\0": FileType.DISK_IMAGE,
    b"\xff\xd8\xff": FileType.IMAGE,
    b"\x89PNG\r\n\x1a\n": FileType.IMAGE,
    b"GIF87a": FileType.IMAGE,
    b"GIF89a": FileType.IMAGE,
    b"II*\0": FileType.IMAGE,
    b"MM\0*": FileType.IMAGE,
    b"8BPS": FileType.IMAGE,
    b"\0\0\x01\0": FileType.IMAGE,
    b"OggS": FileType.AUDIO,
    b"fLaC": FileType.AUDIO,
    b"ID3": FileType.AUDIO,
    b"\x1a\x45\xdf\xa3": FileType.VIDEO,
    b"\0\0\x01\xba": FileType.VIDEO,
}
_FIRST_BYTES: Final = tuple(_MAGICS)
_OLE_MAGIC: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_DOS_MAGICS: Final = (b"MZ", b"ZM")
# The new header of a Windows program, macros, or the directory of a zip may be far behind.
_NEED_MORE: Final = frozenset({FileType.UNKNOWN, FileType.DOS, ArchiveKind.ZIP})
_RIFF_FORMS: Final = {
    b"WEBP": FileType.IMAGE,
    b"ACON": FileType.IMAGE,
    b"WAVE": FileType.AUDIO,
    b"AVI ": FileType.VIDEO,
}
_STILL_BRANDS: Final = (b"heic", b"heix", b"mif1", b"msf1", b"avif", b"avis")
_BITMAP_HEADER_BYTES: Final = frozenset({12, 40, 52, 56, 64, 108, 124})
# Class versions begin at 45; no universal binary has as many architectures.
_MAX_ARCHITECTURES: Final = 30
# Names of storages in OLE files are UTF-16.
_OLE_MACROS: Final = re.compile(
    b"|".join(
        (
            re.escape("_VBA_PROJECT".encode("utf-16-le")),
            # Excel's sheets of the older macro language (BoundSheet8, [MS-XLS] 2.4.28): a macro sheet by its type.
            rb"\x85\0[\x09-\x47]\0.{4}[\0-\x02]\x01[\x01-\x1f][\0\x01][\x20-\x7e]",
            # PowerPoint, which packs the storage ([MS-PPT] 2.4.10): an atom that says whether there are macros.
            rb"\x1f\0\xff\x03\x14\0\0\0\x02\0\0\x04\x0c\0\0\0.{4}\x01\0\0\0",
        )
    ),
    re.DOTALL,
)
# The class identifiers of Windows Installer's packages, patches and transforms.
_INSTALLER_CLASS: Final = re.compile(rb"[\x82\x84\x86]\x10\x0c\0\0\0\0\0\xc0\0\0\0\0\0\0\x46")
_OOXML_TYPES: Final = "[content_types].xml"
_OOXML_MACRO_PART: Final = re.compile(r"(?:^|/)(?:vbaproject\.bin|macrosheets/.*|vbadata\.xml)$")
_OOXML_MACRO_TYPE: Final = re.compile(rb"vbaProject|macrosheet", re.IGNORECASE)


def detected_type(data: bytes) -> str:
    """Return what the file is: a word of `FileType` or of `ArchiveKind`; "unknown" for plain text and all else."""
    kind = type_at_start(data[:HEAD_BYTES])
    if kind is not None:
        return kind
    if data.startswith(_OLE_MAGIC):
        return _ole_type(data)
    if data.startswith(_DOS_MAGICS):
        return _program_type(data)
    if data[-512:-504] == b"conectix":
        return FileType.DISK_IMAGE
    return _zip_type(data) if archive_kind(data) is ArchiveKind.ZIP else FileType.UNKNOWN


def type_at_start(head: bytes) -> str | None:
    """Return what a file is that begins with these `HEAD_BYTES`; None if more of it must be seen."""
    kind: str = _by_magic(head)
    if kind is FileType.UNKNOWN:
        kind = kind_at_start(head) or text_type(head)
    return None if kind in _NEED_MORE else kind


def _by_magic(data: bytes) -> FileType:
    """Return the type of a file that its first bytes tell, archives and OLE left out."""
    if data.startswith(_FIRST_BYTES):
        return next(kind for magic, kind in _MAGICS.items() if data.startswith(magic))
    match data[:2]:
        case b"MZ" | b"ZM":
            return _program_type(data)
        case b"\xca\xfe" if data[2:4] == b"\xba\xbe":
            count = int.from_bytes(data[4:8], "big")
            return FileType.MACH_O if 0 < count < _MAX_ARCHITECTURES else FileType.JAVA_CLASS
        case b"RI" if data.startswith(b"RIFF"):
            return _RIFF_FORMS.get(data[8:12], FileType.UNKNOWN)
        case b"BM" if int.from_bytes(data[14:18], "little") in _BITMAP_HEADER_BYTES:
            return FileType.IMAGE
        case b"\xff\xfb" | b"\xff\xf3" | b"\xff\xf2" | b"\xff\xf1" | b"\xff\xf9":
            return FileType.AUDIO
    if data[4:8] == b"ftyp":
        brand = data[8:12]
        return FileType.IMAGE if brand in _STILL_BRANDS else FileType.AUDIO if brand == b"M4A " else FileType.VIDEO
    return FileType.DISK_IMAGE if _is_disk(data) else FileType.UNKNOWN


def _is_disk(data: bytes) -> bool:
    """Tell whether it begins with a boot sector of FAT or NTFS."""
    return data[510:512] == b"\x55\xaa" and data[0] in b"\xeb\xe9" and data[11:13] == b"\0\x02"


def _program_type(data: bytes) -> FileType:
    """Return the type of what begins as a program of DOS or Windows; two letters alone may be a text's."""
    new_header_at = int.from_bytes(data[60:64], "little")
    if data[new_header_at : new_header_at + 4] == b"PE\0\0":
        return FileType.PE
    return FileType.DOS if b"\0" in data[2:64] else FileType.UNKNOWN


def _ole_type(data: bytes) -> FileType:
    if _OLE_MACROS.search(data):
        return FileType.OLE_MACROS
    return FileType.INSTALLER if _INSTALLER_CLASS.search(data) else FileType.OLE


def _zip_type(data: bytes) -> str:
    """Return what kind of file a zip is, by the names in all its directories; damaged ones count as well."""
    from defang_worker.mime.archives.model import ArchiveError, ArchiveLimits, Budget  # noqa: PLC0415 (for zips only)
    from defang_worker.mime.archives.zip import ZipReader  # noqa: PLC0415

    reader = ZipReader(data, Budget(ArchiveLimits(max_expanded_bytes=MIB)))
    members = {name.replace("\\", "/").lower(): member for member in reader.members for name in member.names}

    def content(name: str) -> bytes:
        try:
            return members[name].read() if name in members else b""
        except ArchiveError:
            return b""

    if _OOXML_TYPES in members:
        has_part = any(map(_OOXML_MACRO_PART.search, members))
        # A part may have any name: its type counts.
        has_macros = has_part or _OOXML_MACRO_TYPE.search(content(_OOXML_TYPES)) is not None
        return FileType.OOXML_MACROS if has_macros else FileType.OOXML
    if content("mimetype").startswith((b"application/vnd.oasis.opendocument", b"application/vnd.sun.xml")):
        has_macros = any(name.startswith(("basic/", "scripts/")) for name in members)
        return FileType.OPENDOCUMENT_MACROS if has_macros else FileType.OPENDOCUMENT
    if "androidmanifest.xml" in members:
        return FileType.ANDROID
    if "meta-inf/manifest.mf" in members or any(name.endswith(".class") for name in members):
        return FileType.JAVA_ARCHIVE
    return ArchiveKind.ZIP
