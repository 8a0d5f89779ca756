# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists in the DNS, asked when a client connects, and what the DNS says of the sender.

Needs `make install EXTRAS=spf`, and `defang-milter -r -s`. All questions of a callback are under way at once. Lists
have terms of use: most want a resolver of one's own, and some an account.
"""

from defang_worker import Connection, Envelope, Filter, Response
from defang_worker.checks import DnsList, ReverseName, SenderMx, Spf, Zone


class Site(Filter):
    # An allowlist has the last word. A list that is down is no reason to refuse or defer anybody.
    allowed = DnsList("list.dnswl.org", name="allowlist", on_failure="ignore")
    blocked = DnsList(
        [Zone("zen.spamhaus.org", codes=("127.0.0.2/31", "127.0.0.4/30")), "bl.spamcop.net"],
        name="blocklist",
        on_failure="ignore",
    )
    reverse = ReverseName(on_failure="ignore")
    sender_mx = SenderMx()
    spf = Spf()

    def filter_relay(self, connection: Connection) -> Response | None:
        results = connection.run_checks(self.allowed, self.blocked, self.reverse)
        if results[self.allowed].is_found:
            return None
        if results[self.blocked].is_found:
            return Response.reject(f"{connection.ip} is listed at {', '.join(results[self.blocked].zones)}")
        connection.state["has_no_name"] = results[self.reverse].is_found
        return None

    def filter_sender(self, envelope: Envelope) -> Response | None:
        results = envelope.run_checks(self.sender_mx, self.spf)
        if results[self.sender_mx].is_found:
            return Response.reject(f"No answer can be sent to you: {results[self.sender_mx].detail}")
        if results[self.spf].word == "fail":
            return Response.reject(f"{envelope.sender.domain} does not send mail from {envelope.client_ip} (SPF)")
        if results[self.spf].word != "pass" and envelope.session_state.get("has_no_name"):
            return Response.tempfail("Your host has no name", dsn="4.7.25")
        return None
