# SPDX-License-Identifier: GPL-3.0-or-later
"""SpamAssassin as a classic site has it: spam gets the header X-Spam-Score with a star for each point, and the report.

Needs `make install EXTRAS=spamassassin` and a spamd. Messages of 100 KB and more are not shown to it; if it is down,
mail waits at its senders. Readers sort by `X-Spam-Score` containing `(*****`.
"""

from defang_worker import Filter, Message
from defang_worker.checks import Spamd


class SpamAssassin(Filter):
    spamd = Spamd("127.0.0.1:783", max_bytes=100 * 1024 - 1)
    reject_at: float | None = 15.0  # twice or three times what counts as spam; None for never

    def filter_end(self, message: Message) -> None:
        if message.is_rejected:
            return
        result = message.run_checks(self.spamd)[self.spamd]
        message.add_spam_score_header(result)
        if result.score is None or not result.is_found:
            return
        message.log_event("spam", result.score, message.envelope.client_ip)
        if self.reject_at is not None and result.score >= self.reject_at:
            message.reject(f"This looks like spam ({result.score:.1f} points)")
        else:
            message.add_part("text/plain", f"{result.report}\n", filename="SpamAssassinReport.txt")
