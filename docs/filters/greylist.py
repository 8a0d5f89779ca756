# SPDX-License-Identifier: GPL-3.0-or-later
"""Greylisting: who comes for the first time is asked to come again, which senders of spam rarely do (RFC 6647).

Needs `defang-milter -t`. All workers of this host share what is known, in a small database. Whoever sends more than
the rate allows has to wait, too.
"""

from defang_worker import Envelope, Filter, Message, Recipient, Response
from defang_worker.checks import Greylist, RateLimit, SqliteStore

DATABASE = "/var/spool/MIMEDefang/greylist.sqlite"
NETWORKS_OF_OURS = ["10.0.0.0/8", "fd00::/8"]


class Site(Filter):
    store = SqliteStore(DATABASE)
    # If the database cannot be used, mail passes: it is marked, and the log says why.
    greylist = Greylist(store, wait_s=300, allow=NETWORKS_OF_OURS, on_failure="mark")
    rate = RateLimit(store, by="client", limit=200, per_s=3600, on_failure="ignore")

    def on_stop(self) -> None:
        self.store.close()

    def filter_recipient(self, envelope: Envelope, recipient: Recipient) -> Response | None:
        results = envelope.run_checks(self.greylist, self.rate)
        if results[self.greylist].is_found:
            return Response.greylist()
        if results[self.rate].is_found:
            return Response.tempfail("Too many mails, please try again later")
        envelope.state["known_s"] = round(results[self.greylist].known_s)
        return None

    def filter_wrapup(self, message: Message) -> None:
        # Another process may serve this callback: the state went along with the message.
        if message.state.get("known_s"):
            message.headers.add("X-Greylist", f"known for {message.state['known_s']} seconds")
