# SPDX-License-Identifier: GPL-3.0-or-later
"""A gateway refuses recipients that the servers behind it do not know, instead of sending bounces later.

Needs `defang-milter -t`. Each domain has its servers, of which the first that answers decides; none of them may be one
that takes everything. If none answers, mail waits at its senders. All workers remember for a while what a server said.
"""

from defang_worker import Envelope, Filter, Recipient, Response
from defang_worker.checks import CallAhead, CallMemory, Outcome

SERVERS = {
    "example.org": ["mail1.internal.example.org", "mail2.internal.example.org"],
    "example.com": ["[2001:db8::25]:2525"],
}


def servers_of(recipient: Recipient) -> list[str]:
    """None for a domain that is not behind this gateway: whether it may be mailed to, the mail server says."""
    return SERVERS.get(recipient.address.domain, [])


class Gateway(Filter):
    memory = CallMemory("/var/spool/MIMEDefang/calls.sqlite")
    # With the null sender an answer holds for all senders. With "must" the certificates have to be right.
    ahead = CallAhead(servers_of, sender="<>", tls="may", memory=memory)

    def on_stop(self) -> None:
        self.memory.close()

    def filter_recipient(self, envelope: Envelope, recipient: Recipient) -> Response | None:
        result = envelope.run_checks(self.ahead)[self.ahead]
        if result.outcome is Outcome.NOT_FOUND:
            return Response.reject(result.text, code=result.code, dsn=result.dsn)
        return None
