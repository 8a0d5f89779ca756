# SPDX-License-Identifier: GPL-3.0-or-later
"""The types of files that `filetype.py` tells apart, and those among them that are texts: `text_type(head)`.

A text counts as a script only where its first statement is one of that language and it goes on to use what scripts
use and prose does not: a mail that quotes a program is not one.
"""

import re
from enum import StrEnum
from typing import Final


class FileType(StrEnum):
    """What is told apart, besides the kinds of archives."""

    PE = "pe"
    DOS = "dos"
    ELF = "elf"
    MACH_O = "mach-o"
    JAVA_CLASS = "java-class"
    JAVA_ARCHIVE = "java-archive"
    ANDROID = "android"
    SCRIPT = "script"
    REGISTRY = "registry"
    SHORTCUT = "shortcut"
    HTA = "hta"
    HTML = "html"
    SVG = "svg"
    HELP = "help"
    INSTALLER = "installer"
    OLE = "ole"
    OLE_MACROS = "ole-macros"
    OOXML = "ooxml"
    OOXML_MACROS = "ooxml-macros"
    OPENDOCUMENT = "opendocument"
    OPENDOCUMENT_MACROS = "opendocument-macros"
    ONENOTE = "onenote"
    RTF = "rtf"
    PDF = "pdf"
    POSTSCRIPT = "postscript"
    DISK_IMAGE = "disk-image"
    IMAGE = "image"
    AUDIO = "audio"
    VIDEO = "video"
    UNKNOWN = "unknown"


_UTF16_MARKS: Final = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}
_UTF8_MARK: Final = b"\xef\xbb\xbf"
# What may stand before a document's first element, or a script's first statement.
_BEFORE_ELEMENT: Final = re.compile(
    rb"(?:\s+|<!--.*?-->|<\?xml.*?\?>|<!doctype(?!\s+html).*?>)++", re.DOTALL | re.IGNORECASE
)
_FIRST_ELEMENT: Final = re.compile(rb"<(?:!doctype\s+)?([a-z]+)\b", re.IGNORECASE)
_ELEMENTS: Final = {
    b"html": FileType.HTML, b"head": FileType.HTML, b"body": FileType.HTML, b"script": FileType.HTML,
    b"title": FileType.HTML, b"meta": FileType.HTML, b"table": FileType.HTML, b"iframe": FileType.HTML,
    b"svg": FileType.SVG, b"job": FileType.SCRIPT, b"package": FileType.SCRIPT, b"scriptlet": FileType.SCRIPT,
    b"component": FileType.SCRIPT, b"librarydescription": FileType.SHORTCUT, b"pcsettings": FileType.SHORTCUT,
    b"searchconnectordescription": FileType.SHORTCUT,
}  # fmt: skip
# Other XML has elements called package and component, too.
_SCRIPT_ELEMENT: Final = re.compile(rb"<script\b[^>]{0,200}?\blanguage\s*=", re.IGNORECASE)
_HTA: Final = re.compile(rb"<hta:application\b|\bxmlns:hta\s*=", re.IGNORECASE)
_SECTIONS: Final = re.compile(rb"^\[(?:InternetShortcut|Desktop Entry)(?:\.[AW])?\]", re.IGNORECASE | re.MULTILINE)
_REGISTRY: Final = re.compile(rb"(?:Windows Registry Editor Version|REGEDIT4\b)")
_BATCH: Final = re.compile(
    rb"@?(?:echo\s+off\b|setlocal\s*\r?\n)|@(?:rem|cls|start|cmd|powershell|cd|if|set)\b", re.IGNORECASE
)


def _language(first: bytes, use: bytes, flags: re.RegexFlag) -> tuple[re.Pattern[bytes], re.Pattern[bytes]]:
    """Compile what a script's first statement looks like, and what must stand somewhere in it."""
    return re.compile(first, re.VERBOSE | re.DOTALL | flags), re.compile(use, re.VERBOSE | flags)


# Possessive quantifiers, so that no text makes the search long.
_VISUAL_BASIC: Final = _language(
    rb"""(?: \s+ | '[^\n]*\n | rem\b[^\n]*\n )*+
    (?: option\s+explicit | on\s+error\s+resume\s+next | (?:dim|private|public)\s+\w+ | (?:set|const)\s+\w+\s*=
      | (?:sub|function)\s+\w+ | \w++\s*= | createobject\s*\( | execute )""",
    rb"""\b(?: (?:createobject|getobject|executeglobal|execute)\s*\(\s*[\w"]
      | wscript\.(?:shell|sleep|echo|quit|createobject|scriptfullname) )""",
    re.IGNORECASE,
)
_JSCRIPT: Final = _language(
    rb"""(?: \s+ | //[^\n]*\n | /\*.*?\*/ )*+
    (?: (?:var|let|const)\s+\w+ | function\s*\w*\s*\( | try\s*\{ | (?:if|for|while|eval)\s*\( | [(;]
      | new\s+ActiveXObject      | \w++(?:\.\w++)*+\s*[=(] )""",
    rb"""\bnew\s+ActiveXObject\s*\( | \brequire\s*\(\s*["']child_process
      | \bWScript\s*(?:\.\s*|\[\s*["'])(?:CreateObject|Shell|Sleep|Quit|Echo|ScriptFullName)""",
    re.NOFLAG,
)
_POWERSHELL: Final = _language(
    rb"""(?: \s+ | \#[^\n]*\n | <\#.*?\#> )*+
    (?: param\s*\( | \$[\w:{]+\s*= | function\s+[\w-]+ | iex\b | &\s*\( | \[[\w.]+\]::
      | (?:set|invoke|start|new|add|import|get)-\w+ )""",
    rb"""\b(?: invoke-(?:expression|webrequest|restmethod) | new-object\s | downloadstring | start-process
      | set-executionpolicy | add-type ) | \[(?:system\.)?(?:convert|reflection|io|net|text)[\w.]*+\]::""",
    re.IGNORECASE,
)
_LANGUAGES: Final = (_VISUAL_BASIC, _JSCRIPT, _POWERSHELL)


def text_type(head: bytes) -> FileType:
    """Return the type of a text by its first bytes; unknown if it is plain, or no text."""
    text = _plain_bytes(head)
    if text.startswith((b"#!", b"#@~^")):
        return FileType.SCRIPT
    if b"\0" in text:
        return FileType.UNKNOWN
    text = text.lstrip()
    if text.startswith(b"<"):
        return _markup_type(text)
    if text.startswith((b"[", b";")) and _SECTIONS.search(text):
        return FileType.SHORTCUT
    if _REGISTRY.match(text):
        return FileType.REGISTRY
    if _BATCH.match(text) or any(first.match(text) and use.search(text) for first, use in _LANGUAGES):
        return FileType.SCRIPT
    return FileType.UNKNOWN


def _plain_bytes(head: bytes) -> bytes:
    """Return the text in a charset that has ASCII in it."""
    if (charset := _UTF16_MARKS.get(head[:2])) is not None:
        return head[2:].decode(charset, "replace").encode("utf-8", "replace")
    return head.removeprefix(_UTF8_MARK)


def _markup_type(text: bytes) -> FileType:
    if _HTA.search(text):
        return FileType.HTA
    start = match.end() if (match := _BEFORE_ELEMENT.match(text)) else 0
    element = _FIRST_ELEMENT.match(text, start)
    kind = _ELEMENTS.get(element[1].lower(), FileType.UNKNOWN) if element else FileType.UNKNOWN
    is_sure = kind is not FileType.SCRIPT or _SCRIPT_ELEMENT.search(text)
    return kind if is_sure else FileType.UNKNOWN
