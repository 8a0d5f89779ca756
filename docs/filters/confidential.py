# SPDX-License-Identifier: GPL-3.0-or-later
"""Lets confidential mail leave only for domains to which nobody on the way can read it: by DANE or MTA-STS.

Needs `make install EXTRAS=dns` and a nameserver on this host that verifies DNSSEC. The mail server that sends has to
keep to both, too (Postfix: `smtp_tls_security_level = dane`, and a policy service for MTA-STS): this only looks ahead.
"""

from defang_worker import Filter, Message
from defang_worker.checks import Dane, DaneState, MtaSts, StsMode


class Confidential(Filter):
    own_domains = ("example.org",)
    # One of them is enough, so neither alone decides.
    dane = Dane(on_failure="ignore")
    sts = MtaSts("/var/spool/MIMEDefang/policies.sqlite", on_failure="ignore")

    def filter_begin(self, message: Message) -> None:
        domains = {one.address.domain for one in message.envelope.recipients} - {"", *self.own_domains}
        if not domains or "confidential" not in (message.headers.get("Sensitivity") or "").lower():
            return
        results = message.run_checks(self.dane, self.sts)
        safe = {one.domain for one in results[self.dane].domains if one.state is DaneState.USABLE}
        safe |= {one.domain for one in results[self.sts].domains if one.mode is StsMode.ENFORCE}
        exposed = ", ".join(sorted(domains - safe))
        if exposed and results.unknown:
            message.tempfail(f"Whether the way to {exposed} is safe cannot be told now, please try again later")
        elif exposed:
            message.reject(
                f"Confidential, and the way to {exposed} is not safe: DANE or MTA-STS is needed", dsn="5.7.10"
            )
