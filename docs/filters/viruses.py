# SPDX-License-Identifier: GPL-3.0-or-later
"""Refuses viruses by ClamAV's daemon; mail that is too large for it passes with a mark, other failures defer it.

Needs `make install EXTRAS=clamav`; `defang-worker features` shows whether clamd answers. An engine by ICAP is asked
at the same time as clamd if it is named in `checks`, too.
"""

from defang_worker import Filter, Message, Settings
from defang_worker.checks import Clamd, VirusResult

MAX_BYTES = 25 * 1024 * 1024
"""The limits of clamd.conf: MaxFileSize, MaxScanSize and StreamMaxLength; and set `AlertExceedsMax yes` there."""


class Viruses(Filter):
    settings = Settings(
        check_budget_s=60,
        checks=(Clamd("/run/clamav/clamd.ctl", timeout_s=45, max_bytes=MAX_BYTES),),
    )

    def filter_begin(self, message: Message) -> None:
        if message.size > MAX_BYTES:
            message.headers.add("X-Virus-Scanned", "no, too large")
            return
        for result in message.run_checks().found:
            if isinstance(result, VirusResult):
                message.log_event("virus", ", ".join(result.names), message.envelope.client_ip)
                message.quarantine(f"virus {', '.join(result.names)}")
                message.reject(f"Virus found: {', '.join(result.names)}")
