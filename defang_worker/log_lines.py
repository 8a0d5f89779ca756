# SPDX-License-Identifier: GPL-3.0-or-later
"""The worker's log: lines on standard error, which the multiplexor passes on to the system log.

One record is one line, tracebacks too, and begins with the queue ID of the request being served, whoever logs it: the
worker, the filter, or a library that the filter uses.
"""

from __future__ import annotations

import logging
import sys

_CONTROLS = dict.fromkeys((*range(32), 127), " ")


class QueueIdFormatter(logging.Formatter):
    """Formats records; `queue_id` is the request's, empty between requests."""

    def __init__(self) -> None:
        super().__init__()
        self.queue_id = ""

    def format(self, record: logging.LogRecord) -> str:
        """The record's one line."""
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        line = " | ".join(filter(None, text.split("\n"))).translate(_CONTROLS)
        return f"{self.queue_id}: {line}" if self.queue_id else line


def configure() -> QueueIdFormatter:
    """Sends all log records to standard error; the formatter is given back so that the loop can set the queue ID."""
    formatter = QueueIdFormatter()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    # A broken pipe on standard error is no reason to write another traceback there.
    logging.raiseExceptions = False
    return formatter
