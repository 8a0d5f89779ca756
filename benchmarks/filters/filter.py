# SPDX-License-Identifier: GPL-3.0-or-later
"""The benchmark's filter: names and types are checked, nothing is removed, a header field is added."""

import re

from defang_worker import Filter, Message, Part

BLOCKED = re.compile(
    r"\.(?:bat|chm|cmd|com|cpl|dll|exe|hta|iso|jar|js|lnk|msi|pif|ps1|reg|scr|vbs|wsf)\.*$", re.IGNORECASE
)


class BenchmarkFilter(Filter):
    """What a simple site does."""

    parts = 0

    def filter_part(self, message: Message, part: Part) -> None:
        """Look at one part with a body, and count it."""
        self.parts += 1
        self.filter_multipart(message, part)

    def filter_multipart(self, message: Message, part: Part) -> None:
        """Refuse what no scanner sees whole, remove what could be run."""
        if part.content_type == "message/partial":
            message.reject("No message/partial")
        elif any(BLOCKED.search(name) for name in part.filenames):
            part.drop(warning=f"{part.filename} was removed")

    def filter_end(self, message: Message) -> None:
        """Leave a mark, by which the load sees that the filter did run."""
        message.headers.add("X-Filtered", f"{self.parts} parts")
        self.parts = 0
