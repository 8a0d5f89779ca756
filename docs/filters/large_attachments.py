# SPDX-License-Identifier: GPL-3.0-or-later
"""Large attachments become links: the file goes to a web server's directory, the message gets a text with its address.

The directory has to be there and to belong to the daemons' user. Have the web server send these files as attachments,
never run them, and remove old ones by cron.
"""

import secrets

from defang_worker import Filter, Message, Part

LARGE_BYTES = 10_000_000
DIRECTORY = "/var/www/attachments"
BASE_URL = "https://files.example.org/"
TEXT = "The attachment {name} can be fetched for 30 days from\n\n    {url}\n"


class LargeAttachments(Filter):
    def filter_part(self, message: Message, part: Part) -> None:
        # What is signed or encrypted cannot be changed: it stays as it is.
        if part.is_leaf and part.size > LARGE_BYTES and not (part.is_protected or part.is_shadow):
            # A salt of its own for each: who has the same file does not know the address.
            url = part.replace_with_url(DIRECTORY, BASE_URL, TEXT, salt=secrets.token_hex())
            self.log.info("%s, %d bytes, became %s", part.filename, part.size, url)
