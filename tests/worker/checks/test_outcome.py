# SPDX-License-Identifier: GPL-3.0-or-later
"""What a result of a check looks like in a message's record, whatever members its kind has."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import Enum
from ipaddress import IPv4Address
from pathlib import Path
from types import MappingProxyType

from defang_worker.checks import CheckResult, Outcome


class Colour(Enum):
    RED = "red"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    path: Path
    colour: Colour = Colour.RED
    notes: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxResult(CheckResult):
    findings: tuple[Finding, ...] = ()
    first: Finding | None = None
    by_address: Mapping[IPv4Address, Finding] = field(default_factory=dict)
    seen: date | None = None
    words: frozenset[str] = frozenset()
    share: float = 0.5
    inner: CheckResult | None = None


def told(**members: object) -> dict[str, object]:
    result = SandboxResult(check="sandbox", outcome=Outcome.FOUND, **members)  # type: ignore[arg-type]
    record: dict[str, object] = json.loads(json.dumps(result.as_record(), allow_nan=False))
    return record


def test_members_of_any_kind_stand_in_the_record() -> None:
    finding = Finding(path=Path("/a"), notes=(b"caf\xc3\xa9", b"\xff"))
    shown = {"path": "/a", "colour": "red", "notes": ["café", "\udcff"]}
    record = told(
        findings=(finding,),
        first=finding,
        by_address=MappingProxyType({IPv4Address("192.0.2.1"): finding}),
        seen=date(2026, 1, 31),
        words=frozenset({"b", "a"}),
        share=float("inf"),
        inner=CheckResult(check="other", outcome=Outcome.UNKNOWN, detail="down"),
    )
    assert record == {
        "check": "sandbox",
        "outcome": "found",
        "findings": [shown],
        "first": shown,
        "by_address": {"192.0.2.1": shown},
        "seen": "2026-01-31",
        "words": ["a", "b"],
        "share": "inf",
        "inner": {"check": "other", "outcome": "unknown", "detail": "down", "elapsed_ms": 0.0},
        "elapsed_ms": 0.0,
    }


def test_members_that_say_nothing_do_not() -> None:
    assert set(told()) == {"check", "outcome", "share", "elapsed_ms"}
