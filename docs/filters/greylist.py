# SPDX-License-Identifier: GPL-3.0-or-later
"""Greylisting: who comes for the first time is asked to come again, which senders of spam rarely do (RFC 6647).

Needs `defang-milter -t`. What is known stands in a small database of the filter's own, which all workers of this host
share. It knows networks, not addresses, for large senders try again from a neighbour.
"""

import ipaddress
import sqlite3
import time

from defang_worker import Envelope, Filter, Message, Recipient, Response

WAIT_S = 300  # come again after five minutes
FORGET_S = 36 * 86400  # longer than a month, for newsletters
BUSY_S = 5.0  # how long to wait while another worker writes


class Greylist(Filter):
    database_file = "/var/spool/MIMEDefang/greylist.sqlite"

    def on_start(self) -> None:
        self.database = sqlite3.connect(self.database_file, timeout=BUSY_S, isolation_level=None)
        self.database.execute("CREATE TABLE IF NOT EXISTS seen (triplet TEXT PRIMARY KEY, first REAL, last REAL)")

    def on_stop(self) -> None:
        self.database.close()

    def now(self) -> float:
        return time.time()

    def filter_recipient(self, envelope: Envelope, recipient: Recipient) -> Response | None:
        address = ipaddress.ip_address(envelope.client_ip or "127.0.0.1")  # no address: a local program
        if address.is_loopback:
            return None
        network = ipaddress.ip_network((address, 24 if address.version == 4 else 64), strict=False)
        triplet = f"{network} {envelope.sender.bare.lower()} {recipient.address.bare.lower()}"
        now = self.now()
        # One statement, so that two workers never both take themselves for the first.
        (first,) = self.database.execute(
            "INSERT INTO seen VALUES (?1, ?2, ?2) ON CONFLICT (triplet) DO UPDATE SET last = ?2,"
            " first = CASE WHEN last < ?2 - ?3 THEN ?2 ELSE first END RETURNING first",
            (triplet, now, FORGET_S),
        ).fetchone()
        if now - first < WAIT_S:
            return Response.greylist()
        envelope.state["waited_s"] = round(now - first)
        return None

    def filter_wrapup(self, message: Message) -> None:
        # Another process may serve this callback: the state went along with the message.
        if "waited_s" in message.state:
            message.headers.add("X-Greylist", f"known for {message.state['waited_s']} seconds")

    def filter_tick(self, kind: int) -> None:  # with `defang-mux -X 3600`
        self.database.execute("DELETE FROM seen WHERE last < ?", (self.now() - FORGET_S,))
