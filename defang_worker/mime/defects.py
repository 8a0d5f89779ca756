# SPDX-License-Identifier: GPL-3.0-or-later
"""Named defects: what is malformed or ambiguous about a message, and how bad that is.

The names are a closed set. Numbers H01 to Z09 are those of the constructs; severities may be corrected later,
by what the readings of a message really show (see `views.py`).
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Final, NamedTuple, Self


class Severity(IntEnum):
    """How far readers of mail disagree."""

    INFO = 0
    """Legal, but content may hide there."""
    LOW = 1
    """Against the standard, though readers mostly agree."""
    MEDIUM = 2
    """Readers differ about a name or a content."""
    HIGH = 3
    """Readers differ about which parts exist, or the bytes serve no honest purpose."""


class Construct(NamedTuple):
    """A row of the table of defects."""

    number: str
    severity: Severity


_INFO, _LOW, _MEDIUM, _HIGH = Severity

DEFECTS: Final[dict[str, Construct]] = {
    # Repeated or damaged fields
    "duplicate-content-type": Construct("H01", _HIGH),
    "duplicate-transfer-encoding": Construct("H02", _HIGH),
    "duplicate-disposition": Construct("H03", _HIGH),
    "duplicate-parameter": Construct("H04", _HIGH),
    "conflicting-names": Construct("H05", _MEDIUM),
    "space-before-colon": Construct("H06", _MEDIUM),
    "comment-in-mime-field": Construct("H07", _MEDIUM),
    "parameter-separator": Construct("H08", _MEDIUM),
    "space-around-equals": Construct("H09", _MEDIUM),
    "unbalanced-quote": Construct("H10", _MEDIUM),
    "encoded-word-in-parameter": Construct("H11", _LOW),
    "bad-continuation": Construct("H12", _MEDIUM),
    "bad-parameter-charset": Construct("H13", _MEDIUM),
    "raw-8bit-parameter": Construct("H14", _LOW),
    "odd-folding": Construct("H15", _MEDIUM),
    "header-body-separation": Construct("H16", _HIGH),
    "mime-version": Construct("H17", _LOW),
    "bad-content-type": Construct("H18", _MEDIUM),
    "bad-disposition": Construct("H19", _LOW),
    "odd-quoting": Construct("H20", _MEDIUM),
    # Boundaries
    "boundary-unquoted-special": Construct("B01", _MEDIUM),
    "boundary-odd-quoting": Construct("B02", _MEDIUM),
    "boundary-empty": Construct("B03", _HIGH),
    "duplicate-boundary": Construct("B04", _HIGH),
    "boundary-prefix": Construct("B05", _LOW),
    "boundary-too-long": Construct("B06", _LOW),
    "delimiter-trailing-text": Construct("B07", _MEDIUM),
    "missing-terminator": Construct("B08", _LOW),
    "content-in-preamble": Construct("B09", _MEDIUM),
    "content-in-epilogue": Construct("B10", _MEDIUM),
    "boundary-reused": Construct("B11", _HIGH),
    "boundary-missing": Construct("B12", _HIGH),
    "boundary-encoded": Construct("B13", _MEDIUM),
    "bad-close-delimiter": Construct("B14", _MEDIUM),
    "boundary-case": Construct("B15", _MEDIUM),
    "boundary-whitespace": Construct("B16", _MEDIUM),
    "delimiter-in-header": Construct("B17", _MEDIUM),
    "text-outside-parts": Construct("B18", _INFO),
    # Transfer encodings
    "base64-stray-characters": Construct("E01", _MEDIUM),
    "base64-inner-padding": Construct("E02", _HIGH),
    "base64-bad-length": Construct("E03", _LOW),
    "base64-trailing-data": Construct("E04", _MEDIUM),
    "base64-odd-lines": Construct("E05", _LOW),
    "transfer-encoding-spelling": Construct("E06", _MEDIUM),
    "transfer-encoding-unknown": Construct("E07", _MEDIUM),
    "damaged-quoted-printable": Construct("E08", _MEDIUM),
    "uuencode-in-text": Construct("E09", _INFO),
    "transfer-encoding-on-multipart": Construct("E10", _HIGH),
    "transfer-encoding-on-message": Construct("E11", _MEDIUM),
    "binary-in-text": Construct("E12", _INFO),
    "undeclared-encoding": Construct("E13", _LOW),
    # Line ends and bytes
    "bare-cr": Construct("L01", _HIGH),
    "bare-lf": Construct("L02", _MEDIUM),
    "nul-byte": Construct("L03", _HIGH),
    "line-too-long": Construct("L04", _LOW),
    "bom-before-header": Construct("L05", _HIGH),
    "junk-before-header": Construct("L06", _MEDIUM),
    "odd-whitespace": Construct("L07", _MEDIUM),
    "double-cr": Construct("L08", _MEDIUM),
    # Content types
    "message-partial": Construct("T01", _HIGH),
    "message-external-body": Construct("T02", _MEDIUM),
    "nested-message": Construct("T03", _INFO),
    "message-in-leaf": Construct("T04", _LOW),
    "unknown-multipart": Construct("T05", _LOW),
    "tnef": Construct("T06", _INFO),
    "text-with-filename": Construct("T07", _INFO),
    "boundary-on-leaf": Construct("T08", _MEDIUM),
    "nesting-too-deep": Construct("T09", _MEDIUM),
    "digest-default": Construct("T10", _INFO),
    "smime-content": Construct("T11", _INFO),
    "smime-encrypted": Construct("T12", _INFO),
    "smime-unreadable": Construct("T13", _MEDIUM),
    # File names
    "name-trailing-junk": Construct("N01", _LOW),
    "name-bidi-override": Construct("N02", _HIGH),
    "name-double-extension": Construct("N03", _INFO),
    "name-path-separator": Construct("N04", _MEDIUM),
    "name-control-character": Construct("N05", _HIGH),
    "name-stream-or-clsid": Construct("N06", _MEDIUM),
    "name-confusable": Construct("N07", _MEDIUM),
    "name-elsewhere": Construct("N08", _INFO),
    "name-too-long": Construct("N09", _LOW),
    # Archives
    "archive-member": Construct("Z01", _INFO),
    "archive-nested": Construct("Z02", _INFO),
    "archive-encrypted": Construct("Z03", _MEDIUM),
    "archive-mislabelled": Construct("Z04", _LOW),
    "archive-name-mismatch": Construct("Z05", _HIGH),
    "archive-junk": Construct("Z06", _MEDIUM),
    "archive-truncated": Construct("Z07", _MEDIUM),
    "archive-odd-member-name": Construct("Z08", _MEDIUM),
    "archive-other": Construct("Z09", _INFO),
}
"""Name to number and severity."""


@dataclass(frozen=True, slots=True)
class Defect:
    """One defect at one place."""

    name: str
    """One of `DEFECTS`."""
    severity: Severity
    """The table's, unless the readings of the message say otherwise."""
    part: str
    """The number of the part, "1.2"; empty for the message."""
    offset: int
    """In the raw message; of what was decoded first, where the encoded part begins."""
    detail: str = ""
    """Short, printable ASCII, made by us: never bytes of the sender."""

    @classmethod
    def of(cls, name: str, part: str = "", offset: int = 0, detail: str = "") -> Self:
        """Return the defect with the severity of the table."""
        return cls(name, DEFECTS[name].severity, part, offset, detail)

    def with_severity(self, severity: Severity) -> Self:
        """Return the same defect with another severity."""
        return self if severity == self.severity else replace(self, severity=severity)


def worst_severity(defects: Iterable[Defect]) -> Severity:
    """Return the highest severity among `defects`, INFO if there are none."""
    return max((defect.severity for defect in defects), default=Severity.INFO)
