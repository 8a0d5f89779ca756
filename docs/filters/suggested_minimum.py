# SPDX-License-Identifier: GPL-3.0-or-later
"""The suggested minimum: what MIMEDefang's filter of that name does, row by row, with what has become usual since.

Attachments that Windows would run are removed, by every name they might be saved under, and archives with such names
inside. Fragments of messages are refused, viruses and forged line ends discarded. Copy it, and change the lists.
"""

import re

from defang_worker import Filter, Message, Part, Settings
from defang_worker.archives import ArchiveError, member_names

BLOCKED = re.compile(
    r"(?i)\.(?:ad[ep]|app(?:x|installer|ref-ms)?|as[dfx]|bas|bat|chm|cmd|com|cpl|crt|dll|exe|fxp|gadget|hlp|ht[ao]|img|"
    r"inf|in[is]|iso|isp|jar|jnlp|jse?|lib|library-ms|lnk|md[abetwz]|ms[cipt]|msix(?:bundle)?|msh\w*|ocx|one|pcd|pif|"
    r"prg|ps[12]\w*|psc[12]|psm1|reg|sc[frt]|settingcontent-ms|sh[bs]?|sys|theme|url|vb[es]?|vcs|vhdx?|vxd|website|"
    r"wm[dsz]|ws[cfh]?|xbap|xll|xnk|\{[^}]+\})[. ]*$"
)
ARCHIVE = re.compile(r"\.(?:zip|7z|rar|cab|lzh|arj|ace|tar|t?[gx]z|tbz2?|bz2|zst)[. ]*$", re.IGNORECASE)
ARCHIVE_TYPES = ("application/zip", "application/x-zip-compressed", "application/x-7z-compressed", "application/gzip")
# The scanners' harmless test file (https://www.eicar.org), in two pieces so that none takes this file for it.
EICAR = b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$" + b"EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"


class SuggestedMinimum(Filter):
    # `checks` are virus scanners, such as Clamd() from defang_worker.checks. What one cannot tell about is deferred.
    settings = Settings(admin="postmaster@localhost", event_log="syslog:mail", checks=())

    def filter_begin(self, message: Message) -> None:
        if message.suspicious_headers:
            message.log_event("suspicious_chars")
            message.quarantine("a header has a carriage return that ends no line")
            message.discard()
        elif self.settings.checks and (found := message.run_checks().found):
            message.log_event("virus", found[0].detail, message.envelope.client_ip)
            message.discard()

    def filter_part(self, message: Message, part: Part) -> None:
        if message.is_rejected:
            return
        if part.content_type == "message/partial":  # put together by the reader's program, behind every filter
            message.log_event("message/partial")
            message.reject("Fragments of messages (message/partial) are not accepted here")
        elif part.is_leaf and part.head(len(EICAR)) == EICAR:
            message.log_event("virus", "EICAR", message.envelope.client_ip)
            message.discard()
        elif reason := self.reason_to_drop(part):
            message.log_event("bad_filename", part.filename, part.content_type)
            part.drop(warning=f"The attachment {part.filename or part.content_type} was removed: {reason}.")
            if not part.is_leaf:
                message.notify_admin(f"A container, {part.content_type} named {part.filename}, was removed.")

    filter_multipart = filter_part

    def filter_end(self, message: Message) -> None:
        if not message.is_rejected:
            message.log_event("mail_in")

    def reason_to_drop(self, part: Part) -> str:
        names = [*part.filenames]
        if part.is_leaf and (part.content_type in ARCHIVE_TYPES or part.matches(ARCHIVE)):
            try:
                names += member_names(part)
            except ArchiveError as error:
                return f"it could not be looked into ({error})"
        blocked = next(filter(BLOCKED.search, names), None)
        return f"{blocked} is of a kind that is not allowed here" if blocked else ""
