# SPDX-License-Identifier: GPL-3.0-or-later
"""Headers of the usual form, which nearly all parts of nearly all mail have: proven to be so and read in one go.

Such a header is printable ASCII; each line is a field or goes on with one; its MIME fields are there once at most, and
keep to a grammar that every reader knows. So there is one reading of it, and nothing for `header_checks.py` to say:
what is here must imply that, and only that. Any other header is read by `opening.py` and checked field by field.
"""

import re
from functools import lru_cache
from typing import Final, NamedTuple

from defang_worker.mime.filenames import all_names
from defang_worker.mime.name_checks import name_findings
from defang_worker.mime.opening import MESSAGES, Opening

# Possessive repeats of single characters only: see headers.py.
_BLOCK: Final = re.compile(rb"(?:[A-Za-z0-9][A-Za-z0-9-]*+:[\t -~]*+\r?\n(?:[ \t]++[!-~][\t -~]*+\r?\n)*)*")
_FIELD: Final = re.compile(
    rb"\n(content-(?:type|transfer-encoding|disposition|location)|mime-version):([^\n]*+(?:\n[ \t][^\n]*+)*)"
)
_FOLD: Final = rb"[ \t]*(?:\r?\n[ \t]+)?"
_TOKEN: Final = rb"[A-Za-z0-9!#$&^_.+-]+"
_PARAMETERS: Final = rb"(?:[ \t]*;" + _FOLD + rb'[A-Za-z-]+=(?:"[ !#-\[\]-~]+"|' + _TOKEN + rb"))*[ \t]*;?[ \t\r]*"
_TYPE: Final = re.compile(_FOLD + rb"(" + _TOKEN + rb"/" + _TOKEN + rb")" + _PARAMETERS)
_DISPOSITION: Final = re.compile(_FOLD + rb"(attachment|inline)" + _PARAMETERS, re.IGNORECASE)
_PARAMETER: Final = re.compile(rb";[ \t\r\n]*([A-Za-z-]+)=(?:\"([^\"]*)\"|(" + _TOKEN + rb"))")
_ENCODINGS: Final = {name.encode(): name for name in ("7bit", "8bit", "binary", "base64", "quoted-printable")}
# RFC 2046 section 5.1.1.
_MAX_BOUNDARY_BYTES: Final = 70
# Which is canonical but for capitals, and of which there is nothing to find out.
_PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9_()+@,&-]+(?: [A-Za-z0-9_()+@,&-]+)*(?:\.[A-Za-z0-9]+)?")
_SHORT_NAME_CHARACTERS: Final = 60
# Headers of parts come again, in one message and the next; few of those are longer. The message's own never does.
_REMEMBERED_BYTES: Final = 256
_REMEMBERED: Final = 256


class UsualHeader(NamedTuple):
    """What a header of the usual form says."""

    opening: Opening
    disposition: str = ""
    charset: str = "us-ascii"
    filenames: tuple[str, ...] = ()
    has_fields: bool = False
    """Whether there is a Content-Type, Content-Transfer-Encoding or Content-Disposition."""
    has_version: bool = False
    """Whether there is a MIME-Version."""


def usual_header(header: bytes) -> UsualHeader | None:
    """Return what `header` says, or None if it is not of the usual form."""
    return _remembered(header) if len(header) <= _REMEMBERED_BYTES else _read(header)


def _read(header: bytes) -> UsualHeader | None:
    if _BLOCK.fullmatch(header) is None:
        return None
    header = b"\n" + header  # so that every field follows a line end
    values: dict[bytes, bytes] = {}
    for match in _FIELD.finditer(header.lower()):
        if match[1] in values:
            return None
        values[match[1]] = header[match.start(2) : match.end(2)]
    version = values.pop(b"mime-version", None)
    if (version is not None and version.strip(b" \t\r") != b"1.0") or b"content-location" in values:
        return None
    return _read_fields(values, has_version=version is not None)


_remembered: Final = lru_cache(maxsize=_REMEMBERED)(_read)


def _read_fields(values: dict[bytes, bytes], *, has_version: bool) -> UsualHeader | None:
    """Return what the fields say, by name in small letters, if each is of the usual form."""
    encoding = _ENCODINGS.get(values.get(b"content-transfer-encoding", b"7bit").strip(b" \t\r").lower())
    type_field = _read_field(_TYPE, values.get(b"content-type"))
    disposition_field = _read_field(_DISPOSITION, values.get(b"content-disposition"))
    if encoding is None or type_field is None or disposition_field is None:
        return None
    content_type, parameters = type_field
    opening = _opening(content_type, parameters.get("boundary"), encoding)
    filenames = _filenames(disposition_field[1], parameters)
    if opening is None or filenames is None:
        return None
    charset = parameters.get("charset", "us-ascii").lower()
    return UsualHeader(opening, disposition_field[0], charset, filenames, bool(values), has_version)


def _read_field(form: re.Pattern[bytes], value: bytes | None) -> tuple[str, dict[str, str]] | None:
    """Return a field's own value in small letters, and its parameters; all empty if there is no field."""
    if value is None:
        return "", {}
    match = form.fullmatch(value)
    if match is None or b"=?" in value:
        return None
    parameters: dict[str, str] = {}
    if match.end(1) < len(value):
        for name, quoted, token in _PARAMETER.findall(value, match.end(1)):
            key, text = name.lower().decode("ascii"), (quoted or token).decode("ascii")
            if key in parameters or text[0] == "'":
                return None
            parameters[key] = text
    return match[1].lower().decode("ascii"), parameters


def _opening(content_type: str, boundary: str | None, encoding: str) -> Opening | None:
    if not content_type:
        return Opening(encoding=encoding)
    if content_type.startswith("multipart/"):
        if boundary is None or len(boundary) > _MAX_BOUNDARY_BYTES or boundary != boundary.strip(" "):
            return None
        return Opening(content_type, boundary.encode("ascii"), is_message=False, encoding=encoding)
    if boundary is not None or content_type == "message/partial":
        return None
    return Opening(content_type, None, content_type in MESSAGES, encoding)


def _filenames(of_disposition: dict[str, str], of_type: dict[str, str]) -> tuple[str, ...] | None:
    """Return the one name of a part, and its canonical form if that differs; None if there is something about it."""
    name = (
        of_disposition.get("filename") or of_type.get("name") or of_disposition.get("name") or of_type.get("filename")
    )
    if name is None:
        return ()
    for fields in (of_disposition, of_type):
        if fields.get("filename", name) != name or fields.get("name", name) != name:
            return None
    if _PLAIN_NAME.fullmatch(name) and len(name) <= _SHORT_NAME_CHARACTERS:
        return (name,)
    names = all_names((name,))
    return None if not names or any(True for one in names for _ in name_findings(one)) else names
