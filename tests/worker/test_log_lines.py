# SPDX-License-Identifier: GPL-3.0-or-later
"""One record, one line, the queue ID first."""

from __future__ import annotations

import logging
import sys

from defang_worker.log_lines import QueueIdFormatter


def record(text: str, *args: object, with_traceback: bool = False) -> logging.LogRecord:
    exc_info = sys.exc_info() if with_traceback else None
    return logging.LogRecord("defang.worker", logging.INFO, "file.py", 1, text, args, exc_info)


def test_line_begins_with_the_queue_id_of_the_request() -> None:
    formatter = QueueIdFormatter()
    formatter.queue_id = "Q1"
    assert formatter.format(record("found %s", "it")) == "Q1: found it"
    formatter.queue_id = ""
    assert formatter.format(record("between requests")) == "between requests"


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
