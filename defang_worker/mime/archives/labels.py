# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether an archive goes by the name and the type of one: `is_mislabelled`."""

import re
from collections.abc import Iterable
from typing import Final

from defang_worker.mime.archives.kinds import ArchiveKind
from defang_worker.mime.filenames import extension

# Many formats are zips: office documents, programs, books, maps, models, themes, signed documents.
_ZIP_FORMATS: Final = (
    ".zip .zipx .docx .docm .dotx .dotm .xlsx .xlsm .xlsb .xltx .xltm .xlam .pptx .pptm .potx .potm .ppsx .ppsm .ppam "
    ".sldx .thmx .vsdx .vsdm .vssx .vstx .odt .ods .odp .odg .odf .odb .odc .odi .odm .ott .ots .otp .otg .sxw .sxc "
    ".sxi .oxt .pages .numbers .key .jar .war .ear .aar .apk .apks .xapk .aab .ipa .xpi .crx .nbm .whl .egg .nupkg "
    ".snupkg .vsix .appx .appxbundle .msix .msixbundle .xap .epub .ibooks .cbz .kmz .3mf .amf .usdz .fcstd .sketch "
    ".fig .xd .kra .ora .gbr .mscz .mxl .sb2 .sb3 .ggb .mmap .xmind .pbix .pbit .twbx .tbx .dwfx .xps .oxps .idml .air "
    ".wsz .wmz .emz .asice .asics .sce .bdoc .adoc .edoc .mcz .hwpx .f3d .qgz .lpk .pk3 .love .cdr"
)
_EXTENSIONS: Final = {
    ArchiveKind.ZIP: frozenset(_ZIP_FORMATS.split()),
    ArchiveKind.TAR: frozenset({".tar", ".gem", ".ova", ".unitypackage", ".ustar", ".cbt"}),
    ArchiveKind.GZIP: frozenset(
        {".gz", ".gzip", ".tgz", ".taz", ".svgz", ".emz", ".wmz", ".adz", ".z", ".dia", ".gnucash", ".blend", ".cpgz"}
    ),
    ArchiveKind.BZIP2: frozenset({".bz2", ".bz", ".tbz", ".tbz2", ".tb2"}),
    ArchiveKind.XZ: frozenset({".xz", ".txz"}),
    ArchiveKind.LZMA: frozenset({".lzma", ".tlz"}),
    ArchiveKind.ZSTD: frozenset({".zst", ".tzst", ".zstd"}),
    ArchiveKind.LZ4: frozenset({".lz4"}),
    ArchiveKind.LZIP: frozenset({".lz", ".tlz"}),
    ArchiveKind.COMPRESS: frozenset({".z", ".taz"}),
    ArchiveKind.SEVEN_ZIP: frozenset({".7z", ".cb7"}),
    ArchiveKind.CAB: frozenset({".cab", ".msu", ".onepkg", ".gadget"}),
    ArchiveKind.ISO: frozenset({".iso", ".img", ".udf", ".cdr"}),
    ArchiveKind.LHA: frozenset({".lzh", ".lha"}),
    ArchiveKind.AR: frozenset({".a", ".ar", ".deb", ".lib", ".udeb"}),
    ArchiveKind.CPIO: frozenset({".cpio"}),
    ArchiveKind.XAR: frozenset({".xar", ".pkg", ".safariextz"}),
    ArchiveKind.ACE: frozenset({".ace"}),
    ArchiveKind.ARJ: frozenset({".arj"}),
}
# The volumes of a split archive are numbered.
_RAR_EXTENSIONS: Final = frozenset({".rar", ".rev", ".cbr", *(f".r{number:02}" for number in range(100))})
# A dot in a name is not always that of an extension.
_PLAUSIBLE: Final = re.compile(r"\.[a-z0-9_+-]{1,12}")
_PLAIN_TYPES: Final = ("text/", "image/", "audio/", "video/", "application/pdf", "application/postscript")
# Of these families, but zips or compressed by nature.
_PACKED_TYPES: Final = frozenset(
    {"image/openraster", "image/svg+xml", "image/svg+xml-compressed", "image/x-emf", "image/x-wmf"}
)


def is_mislabelled(kind: ArchiveKind, filenames: Iterable[str], content_type: str) -> bool:
    """Tell whether a part that is such an archive has a name that says otherwise, or a type of plain content.

    Without a name, or with one without extension, the type alone counts.
    """
    fitting = _RAR_EXTENSIONS if kind is ArchiveKind.RAR else _EXTENSIONS[kind]
    extensions = {found for found in map(extension, filenames) if _PLAUSIBLE.fullmatch(found)}
    # A volume of a split archive: papers.zip.001.
    if any(not found[1:].isdigit() and found not in fitting for found in extensions):
        return True
    return content_type.startswith(_PLAIN_TYPES) and content_type not in _PACKED_TYPES


def unpacked_name(kind: ArchiveKind, filename: str) -> str:
    """Return the name that unpackers give to the content of a compressed file of this name; empty if they have none."""
    stem, _, last = filename.rstrip(". ").rpartition(".")
    last = last.lower()
    if not stem or f".{last}" not in _EXTENSIONS[kind]:
        return ""
    return f"{stem}.tar" if last.startswith("t") else stem
