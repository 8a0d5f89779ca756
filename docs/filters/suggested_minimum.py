# SPDX-License-Identifier: GPL-3.0-or-later
"""The suggested minimum: what hardly any site wants to deliver.

Removes attachments that Windows would run, by every name they might be saved under, and archives with such
names inside. Refuses fragments of messages, which are put together behind every filter, and messages with
forged line ends. Copy it, change the list, and add your virus scanner.
"""

import re

from defang_worker import Filter, Message, Part
from defang_worker.archives import ArchiveError, member_names

BLOCKED = re.compile(
    r"\.(?:ad[ep]|app(?:x|installer|ref-ms)?|as[dfx]|bas|bat|chm|cmd|com|cpl|crt|dll|exe|fxp|gadget|hlp|ht[ao]|img|inf|"
    r"in[is]|iso|isp|jar|jnlp|jse?|lib|library-ms|lnk|md[abetwz]|ms[cipt]|msix(?:bundle)?|msh\w*|ocx|one|pcd|pif|prg|"
    r"ps[12]\w*|psc[12]|psm1|reg|sc[frt]|settingcontent-ms|sh[bs]?|sys|theme|url|vb[es]?|vcs|vhdx?|vxd|website|wm[dsz]|"
    r"ws[cfh]?|xbap|xll|xnk|\{[^}]+\})[. ]*$",
    re.IGNORECASE,
)
ARCHIVE = re.compile(r"\.(?:zip|7z|rar|cab|lzh|arj|ace|tar|t?[gx]z|tbz2?|bz2|zst)[. ]*$", re.IGNORECASE)
ARCHIVE_TYPES = ("application/zip", "application/x-zip-compressed", "application/x-7z-compressed", "application/gzip")

# The industry's test file (https://www.eicar.org), which does no harm and which every scanner reports: it shows what
# happens to a virus before there is a scanner. In two pieces, so that none takes this file for it.
EICAR = b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$" + b"EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"


class SuggestedMinimum(Filter):
    def filter_begin(self, message: Message) -> None:
        if message.suspicious_headers:
            message.reject("A header of this message has a carriage return that ends no line")

    def filter_part(self, message: Message, part: Part) -> None:
        if message.is_rejected:
            return
        if part.content_type == "message/partial":
            message.reject("Fragments of messages (message/partial) are not accepted here")
        elif part.is_leaf and part.head(len(EICAR)) == EICAR:
            message.reject("This message has a virus: EICAR test file")
        elif reason := self.reason_to_drop(part):
            part.drop(warning=f"The attachment {part.filename or part.content_type} was removed: {reason}.")

    filter_multipart = filter_part

    def reason_to_drop(self, part: Part) -> str:
        if any(BLOCKED.search(name) for name in part.filenames):
            return "files of this kind are not allowed here"
        is_archive = part.content_type in ARCHIVE_TYPES or part.matches(ARCHIVE)
        if not part.is_leaf or not is_archive:
            return ""
        try:
            name = next((name for name in member_names(part) if BLOCKED.search(name)), None)
        except ArchiveError as error:
            return f"it could not be looked into ({error})"
        return f"{name} in it is of a kind that is not allowed here" if name else ""
