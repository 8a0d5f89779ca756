# SPDX-License-Identifier: GPL-3.0-or-later
"""A whole site with sendmail, ClamAV and SpamAssassin: viruses, unwanted attachments, spam, and a disclaimer.

Needs clamd, spamd, and `make install EXTRAS=clamav,spamassassin`. What a site decides stands at the top of the class.
If a scanner is down, mail waits at its senders. Readers sort spam by `X-Spam-Score` containing `(*****`, a star each
point.
"""

import re
from html import escape
from ipaddress import ip_address, ip_network

from defang_worker import Filter, Message, Part, Settings
from defang_worker.archives import ArchiveError, member_names
from defang_worker.checks import Clamd, Spamd, SpamResult

PROGRAMS = re.compile(
    r"(?i)\.(?:ad[ep]|app(?:x|installer|ref-ms)?|as[dfx]|bas|bat|chm|cmd|com|cpl|crt|dll|exe|fxp|gadget|hlp|ht[ao]|img|"
    r"inf|in[is]|iso|isp|jar|jnlp|jse?|lib|library-ms|lnk|md[abetwz]|ms[cipt]|msix(?:bundle)?|msh\w*|ocx|one|pcd|pif|"
    r"prg|ps[12]\w*|psc[12]|psm1|reg|sc[frt]|settingcontent-ms|sh[bs]?|sys|theme|url|vb[es]?|vcs|vhdx?|vxd|website|"
    r"wm[dsz]|ws[cfh]?|xbap|xll|xnk|\{[^}]+\})[. ]*$"
)
ARCHIVES = r"\.(zip|7z|rar|cab|lzh|arj|ace|tar|t?[gx]z|tbz2?|bz2|zst)[. ]*$"


class ClassicSite(Filter):
    settings = Settings(
        admin="postmaster@example.org",
        daemon="mail-filter@example.org",
        event_log="syslog:mail",
        quarantine_report=True,  # the postmaster gets a mail about what is kept
    )
    # "discard" tells nobody, "quarantine" keeps a copy and then discards, "reject" leaves it to the sender's server.
    on_virus = "discard"
    # "drop" leaves a warning in its place, "quarantine" keeps a copy besides, "reject" refuses the whole message.
    on_program = "drop"
    # Spam is marked and delivered. From these scores on it is kept and discarded, or refused; None for never.
    quarantine_spam_at: float | None = None
    reject_spam_at: float | None = 15.0
    # Not judged as spam, and signed with the disclaimer: who has logged in, and these networks.
    our_networks = tuple(map(ip_network, ("127.0.0.0/8", "::1", "10.0.0.0/8")))
    disclaimer = "Example Ltd., 1 High Street, Exampleton. This mail is for its recipients only."

    # The limits of clamd.conf: MaxFileSize, MaxScanSize and StreamMaxLength; and set `AlertExceedsMax yes` there.
    clamd = Clamd("/run/clamav/clamd.ctl", timeout_s=45, max_bytes=25 * 1024 * 1024)
    spamd = Spamd("127.0.0.1:783", max_bytes=100 * 1024 - 1)

    def filter_begin(self, message: Message) -> None:
        message.scratch["is_ours"] = self.is_ours(message)
        if message.suspicious_headers:
            message.log_event("suspicious_chars")
            message.quarantine("a header has a carriage return that ends no line")
            message.discard()
        elif message.size > self.clamd.max_bytes:
            message.headers.add("X-Virus-Scanned", "no, too large")
        else:
            virus = message.run_checks(self.clamd)[self.clamd]
            if virus.is_found:
                self.stop_virus(message, ", ".join(virus.names))

    def filter_part(self, message: Message, part: Part) -> None:
        if message.is_rejected:
            return
        if part.content_type == "message/partial":  # put together by the reader's program, behind every scanner
            message.log_event("message/partial")
            message.reject("Fragments of messages (message/partial) are not accepted here")
        elif reason := self.reason_to_drop(part):
            self.stop_program(message, part, reason)

    filter_multipart = filter_part

    def filter_end(self, message: Message) -> None:
        if message.is_rejected:
            return
        if message.scratch["is_ours"]:
            self.add_disclaimer(message)
        else:
            self.judge(message, message.run_checks(self.spamd)[self.spamd])
        if not message.is_rejected:
            message.log_event("mail_in")

    def is_ours(self, message: Message) -> bool:
        if "auth_authen" in message.envelope.macros:
            return True
        ip = message.envelope.client_ip
        return bool(ip) and any(ip_address(ip) in network for network in self.our_networks)

    def add_disclaimer(self, message: Message) -> None:
        texts = [part.text for part in message.leaves() if part.content_type.startswith("text/")]
        if not any(self.disclaimer in text for text in texts):  # an answer to an answer has it already
            message.append_text(f"-- \n{self.disclaimer}\n")
            message.append_html(f"<hr><p><small>{escape(self.disclaimer)}</small></p>")

    def stop_virus(self, message: Message, names: str) -> None:
        message.log_event("virus", names, message.envelope.client_ip)
        if self.on_virus == "reject":
            message.reject(f"Virus found: {names}")
            return
        if self.on_virus == "quarantine":
            message.quarantine(f"virus {names}")
        message.discard()

    def reason_to_drop(self, part: Part) -> str:
        names = [*part.filenames]
        if part.is_leaf and part.matches(ARCHIVES):
            try:
                names += member_names(part)
            except ArchiveError as error:  # encrypted or damaged: no scanner has looked into it either
                return f"{part.filename} cannot be looked into ({error})"
        program = next(filter(PROGRAMS.search, names), None)
        return f"{program} is of a kind that is not allowed here" if program else ""

    def stop_program(self, message: Message, part: Part, reason: str) -> None:
        message.log_event("bad_filename", part.filename, part.content_type)
        warning = f"The attachment {part.filename or part.content_type} was removed: {reason}."
        match self.on_program:
            case "reject":
                message.reject(f"Not accepted here: {reason}")
            case "quarantine":
                part.quarantine(reason, warning=warning)
            case _:
                part.drop(warning=warning)

    def judge(self, message: Message, spam: SpamResult) -> None:
        message.add_spam_score_header(spam)
        if spam.score is None or not spam.is_found:
            return
        message.log_event("spam", f"{spam.score:.1f}", message.envelope.client_ip)
        if self.reject_spam_at is not None and spam.score >= self.reject_spam_at:
            message.reject(f"This looks like spam ({spam.score:.1f} points)")
        elif self.quarantine_spam_at is not None and spam.score >= self.quarantine_spam_at:
            message.quarantine(f"spam, {spam.score:.1f} points")
            message.discard()
        else:
            message.add_part("text/plain", f"{spam.report}\n", filename="SpamAssassinReport.txt", disposition="inline")
