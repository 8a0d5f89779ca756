# SPDX-License-Identifier: GPL-3.0-or-later
"""`Part.replace_with_url`: a part's content put where a web server shows it, and a text with the link in its place.

Loaded when a filter first asks for it. Nothing is written here: the file is a wish in the outbox.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Final

from defang_worker.effects.contract import PublishedFile

if TYPE_CHECKING:
    from defang_worker.api.part import Part

# Nothing that a web server or a shell could take for more than a name.
_EXTENSION: Final = re.compile(r"\.[A-Za-z0-9_]{1,16}")


_MOVED_TEXT: Final = "The attachment {name} was taken out of this message. It can be had from\n\n    {url}\n"


def replace_with_url(part: Part, directory: str, base_url: str, text: str, *, salt: str, metadata: str) -> str:
    """The address under which the content can be had; raises ValueError for a container."""
    if not part.is_leaf:
        raise ValueError("only a part with a body can be published")
    content, shown = part.data, part.filename or "without a name"
    digest = hashlib.sha256(content)
    digest.update(salt.encode("utf-8", "surrogateescape"))
    extension = part.extension
    name = digest.hexdigest() + (extension if _EXTENSION.fullmatch(extension) else "")
    publish = part.message.outbox.publish
    publish(PublishedFile(directory=directory, name=name, content=content))
    if metadata:
        described = metadata.encode("utf-8", "surrogateescape")
        publish(PublishedFile(directory=directory, name=f".{name}", content=described))
    url = f"{base_url.rstrip('/')}/{name}"
    # The name last: what is in it is a stranger's.
    part.replace((text or _MOVED_TEXT).replace("{url}", url).replace("{name}", shown))
    return url
