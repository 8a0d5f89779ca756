# SPDX-License-Identifier: GPL-3.0-or-later
"""One record, one line, the queue ID first."""

from __future__ import annotations

import logging
import sys

import pytest

from defang_common.wire import severity
from defang_worker.log_lines import QueueIdFormatter


def record(text: str, *args: object, with_traceback: bool = False, level: int = logging.INFO) -> logging.LogRecord:
    exc_info = sys.exc_info() if with_traceback else None
    return logging.LogRecord("defang.worker", level, "file.py", 1, text, args, exc_info)


def test_line_begins_with_the_queue_id_of_the_request() -> None:
    formatter = QueueIdFormatter()
    formatter.queue_id = "Q1"
    assert formatter.format(record("found %s", "it")) == "Q1: found it"
    formatter.queue_id = ""
    assert formatter.format(record("between requests")) == "between requests"


@pytest.mark.parametrize(
    ("level", "mark"),
    [(logging.INFO, ""), (logging.WARNING, "<4>"), (logging.ERROR, "<3>"), (logging.CRITICAL, "<2>")],
)
def test_multiplexor_is_told_how_grave_a_line_is_and_nobody_else(level: int, mark: str) -> None:
    formatter = QueueIdFormatter()
    formatter.queue_id = "Q1"
    assert formatter.format(record("found it", level=level)) == "Q1: found it"
    formatter.marks_levels = True
    line = formatter.format(record("found it", level=level))
    assert line == f"{mark}Q1: found it"
    assert severity.split(line) == (logging.getLevelName(level), "Q1: found it")


def test_text_of_several_lines_is_one_line_without_control_characters() -> None:
    assert QueueIdFormatter().format(record("one\n\ntwo\tx\x1b[31m\r")) == "one | two x [31m "


def test_traceback_is_in_the_line() -> None:
    line = ""
    try:
        int("wrong")
    except ValueError:
        line = QueueIdFormatter().format(record("failed", with_traceback=True))
    assert line.startswith("failed | Traceback (most recent call last): | ")
    assert line.endswith("ValueError: invalid literal for int() with base 10: 'wrong'")
    assert "\n" not in line
