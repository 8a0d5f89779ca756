# SPDX-License-Identifier: GPL-3.0-or-later
"""The header field by which a relay of ours tells the next one who its client was: written, and believed or not.

A secondary mail server adds it, the primary one takes client's address from it. The field has the address, the queue
ID and the time, and a keyed hash over these and the envelope sender (HMAC-SHA256), so that nobody without the key can
make one, nor use one for another sender or after some days. The older form, whose secret is the field's name, is read
by the front end. `Message` calls this if the settings name a key or trusted relays.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import logging
import re
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from defang_worker.api.networks import is_in
from defang_worker.api.words import to_bytes, to_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from defang_common.wire.commands import Commands
    from defang_worker.api.headers import Headers
    from defang_worker.api.settings import Settings

_log: Final = logging.getLogger("defang.worker")

FIELD_NAME: Final = "X-Defang-Relay"

# RFC 5321 section 4.5.4.1 wants mail kept in a queue for four or five days.
_MAX_AGE_S: Final = 7 * 86400
# The clocks of two mail servers may differ.
_MAX_AHEAD_S: Final = 3600
# What no one can guess; `openssl rand -hex 32` makes 64.
_MIN_KEY_BYTES: Final = 32
_VALUE: Final = re.compile(r"v=1; ip=([0-9A-Fa-f.:]+); id=([!-:<-~]*); t=([0-9]{1,12}); h=([0-9a-f]{64})")


def value(settings: Settings, ip: str, queue_id: str, sender: str) -> str:
    """The field's value for a message of now; raises OSError or ValueError if there is no usable key or address."""
    if not settings.relay_key_file:
        raise ValueError("a relay header needs the setting relay_key_file")
    facts = f"v=1; ip={ipaddress.ip_address(ip)}; id={re.sub('[^!-:<-~]', '', queue_id)}; t={int(time.time())}"
    return f"{facts}; h={_hash(_key(settings.relay_key_file), facts, sender)}"


def told_ip(told: Commands, headers: Headers, settings: Settings) -> bytes | None:
    """The address of the client's client that can be believed, or None; deletes the fields that tell it.

    Raises OSError or ValueError if the key cannot be used.
    """
    found = told.relayed_ip
    if settings.relay_key_file and (values := headers.all(FIELD_NAME)):
        headers.delete_all(FIELD_NAME)
        ip = _believed(values, _key(settings.relay_key_file), to_text(told.sender))
        found = found if ip is None else to_bytes(ip)
    if found is not None and settings.trusted_relays and not is_in(to_text(told.ip), settings.trusted_relays):
        _log.warning("relay header not believed: %s is no trusted relay", to_text(told.ip) or "the client")
        return None
    return found


def _believed(values: Iterable[str], key: bytes, sender: str) -> str | None:
    """The address in the first value that is ours and not too old."""
    for one in values:
        match = _VALUE.fullmatch(one)
        if match is None or not hmac.compare_digest(match[4], _hash(key, one.rpartition("; h=")[0], sender)):
            _log.warning("relay header not believed: it was not made with our key for this sender")
        elif not -_MAX_AHEAD_S <= time.time() - int(match[3]) <= _MAX_AGE_S:
            _log.warning("relay header not believed: its time is %s", match[3])
        else:
            return match[1]
    return None


def _hash(key: bytes, facts: str, sender: str) -> str:
    bare = sender.strip().removeprefix("<").removesuffix(">").lower()
    return hmac.new(key, to_bytes(f"{facts}\n{bare}"), hashlib.sha256).hexdigest()


@cache
def _key(path: str) -> bytes:
    key = Path(path).read_bytes().strip()
    if len(key) < _MIN_KEY_BYTES:
        raise ValueError(f"{path}: a key has {_MIN_KEY_BYTES} bytes at least")
    return key
