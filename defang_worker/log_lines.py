# SPDX-License-Identifier: GPL-3.0-or-later
"""The worker's log: lines on standard error, which the multiplexor passes on to the system log.

One record is one line, tracebacks too, and begins with the queue ID of the request being served, whoever logs it: the
worker, the filter, or a library that the filter uses. Before it a server tells the multiplexor how grave it is.
"""

from __future__ import annotations

import logging
import sys

from defang_common.wire import severity

_CONTROLS = dict.fromkeys((*range(32), 127), " ")


class QueueIdFormatter(logging.Formatter):
    """Formats records; `queue_id` is the request's, empty between requests.

    `marks_levels` is for those who write to a multiplexor.
    """

    def __init__(self) -> None:
        super().__init__()
        self.queue_id = ""
        self.marks_levels = False

    def format(self, record: logging.LogRecord) -> str:
        """The record's one line."""
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        line = " | ".join(filter(None, text.split("\n"))).translate(_CONTROLS)
        if self.queue_id:
            line = f"{self.queue_id}: {line}"
        return severity.mark_of(record.levelname) + line if self.marks_levels else line


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
