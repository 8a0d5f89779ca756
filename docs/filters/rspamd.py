# SPDX-License-Identifier: GPL-3.0-or-later
"""rspamd decides, and what it decides is done: refusals, deferrals, header fields, as its own milter would.

Its normal worker listens on port 11333, or on a unix socket. What authenticated users send is judged by settings of
its own (rspamd's settings module, with the ID "outbound"), and does not wait if rspamd is down, but is marked.
"""

from defang_worker import Filter, Message
from defang_worker.checks import Rspamd


class RspamdDecides(Filter):
    inbound = Rspamd("127.0.0.1:11333")
    outbound = Rspamd("127.0.0.1:11333", name="outbound", fields={"Settings-ID": "outbound"}, on_failure="mark")

    def filter_end(self, message: Message) -> None:
        if message.is_rejected:
            return
        is_ours = "auth_authen" in message.envelope.macros
        check = self.outbound if is_ours else self.inbound
        result = message.run_checks(check)[check]
        message.add_spam_score_header(result)
        result.apply(message)
