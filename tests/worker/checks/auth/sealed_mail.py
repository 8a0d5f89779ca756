# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages with ARC sets, made by us, by dkimpy, and with everything that a set can have wrong."""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from collections.abc import Callable
from typing import Any

import dkim
import nacl.signing

from defang_common.wire import commands
from defang_worker import Settings
from defang_worker.api.message import Message
from defang_worker.checks import (
    Arc,
    ArcResult,
    ArcSealer,
    DkimKey,
)
from defang_worker.checks.auth.arc_verify import sealed_fields
from defang_worker.checks.auth.dkim_verify import signature_tags
from defang_worker.checks.auth.signed_text import SignedText
from tests.worker.checks.auth.mail import PLAIN, message, rsa_key
from tests.worker.checks.auth.names import KnownNames
from tests.worker.checks.auth.vectors import RFC8463_SEED

_dkim: Any = dkim
RESULTS = "lists.example.org; spf=pass smtp.mailfrom=joe@example.com;\n dmarc=pass header.from=example.com"
Texts = dict[str, str | list[str] | None]


def key_of(domain: str) -> DkimKey:
    return DkimKey(domain, "arc", rsa_key()[0])


def keys(*domains: str) -> Texts:
    return {f"arc._domainkey.{domain}": rsa_key()[1] for domain in domains}


def scan(raw: bytes, texts: Texts | None = None) -> ArcResult:
    check = Arc(resolver=KnownNames(texts or keys("d1.example", "d2.example", "d3.example")))
    return message(raw).run_checks(check)[check]


def sealed(raw: bytes, domain: str, results: str = RESULTS, chain: ArcResult | None = None) -> bytes:
    """With one set more, of this domain, by what is found of the chain."""
    fields = ArcSealer(key_of(domain)).header_fields(raw, results, chain or scan(raw))
    return b"".join(f"{name}: {value}\n".encode() for name, value in reversed(fields)) + raw


def of_hosts(count: int, raw: bytes = PLAIN) -> bytes:
    for number in range(1, count + 1):
        raw = sealed(raw, f"d{number}.example")
    return raw


def sealed_by_dkimpy(raw: bytes, domain: str, arc: str = "none") -> bytes:
    """By another implementation, which takes its results out of the message."""
    told = f"Authentication-Results: lists.example.org; dmarc=pass header.from=example.com; arc={arc}\n".encode()
    fields = dkim.arc_sign(
        told + raw,
        b"arc",
        domain.encode(),
        rsa_key()[0],
        b"lists.example.org",
        include_headers=[b"from", b"to", b"subject", b"date"],
    )
    return b"".join(field.replace(b"\r\n", b"\n") for field in fields) + raw


def dkimpys_word(raw: bytes) -> bytes | None:
    return dkim.arc_verify(raw, dnsfunc=lambda *_, **__: rsa_key()[1].encode())[0]


def edited(raw: bytes, name: bytes, edit: Callable[[bytes], bytes], nth: int = 0) -> bytes:
    """With one ARC field made another, from the top."""
    found = [*re.finditer(rb"^%b:.*\n(?:[ \t].*\n)*" % name, raw, re.MULTILINE)][nth]
    return raw[: found.start()] + edit(found[0]) + raw[found.end() :]


def resigned(raw: bytes, name: bytes, edit: Callable[[bytes], bytes]) -> bytes:
    """With the top field of that name made another, and signed anew: nothing is wrong with it but the edit."""
    raw = edited(raw, name, edit)
    fields = SignedText.of(raw).fields
    own = next(one for one in fields if one[0] == name)
    if name == b"ARC-Seal":
        covered = [field for one in _sets(fields) for field in one if field != own]
        names, base = [one[0].lower() for one in covered], sealed_fields(covered)
    else:
        names, base = [one.strip().lower() for one in signature_tags(own[1])[b"h"].split(b":")], fields
    digest = _dkim.HashThrough(hashlib.sha256())
    relaxed = _dkim.RelaxedCanonicalization
    _dkim.hash_headers(digest, relaxed, relaxed.canonicalize_headers(base), names, own, {})
    if b"a=ed25519-sha256" in own[1]:
        made = nacl.signing.SigningKey(base64.b64decode(RFC8463_SEED)).sign(digest.digest()).signature
    else:
        made = _dkim.RSASSA_PKCS1_v1_5_sign(digest, _dkim.parse_pem_private_key(rsa_key()[0]))
    signature = base64.b64encode(made)
    return edited(raw, name, lambda field: re.sub(rb"([;\s]b=)[^;]*?(;|\n\Z)", rb"\g<1>" + signature + rb"\2", field))


def _sets(fields: list[tuple[bytes, bytes]]) -> list[list[tuple[bytes, bytes]]]:
    """By number, each in the order of seals."""
    order = [b"ARC-Authentication-Results", b"ARC-Message-Signature", b"ARC-Seal"]
    by_number: dict[int, list[tuple[bytes, bytes]]] = {}
    for name, value in fields:
        if name in order and (match := re.search(rb"\bi=(\d+)", value)):
            by_number.setdefault(int(match[1]), []).append((name, value))
    return [sorted(one, key=lambda field: order.index(field[0])) for _, one in sorted(by_number.items())]


def replacing(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    def edit(field: bytes) -> bytes:
        assert old in field
        return field.replace(old, new, 1)

    return edit


@functools.cache
def of_hosts_once() -> bytes:
    return of_hosts(2)


def site(raw: bytes, ip: str = "192.0.2.7") -> Message:
    lines = (
        f"S<joe@example.com>\n=j mx.example.org\nQQ1\nHclient\nI{ip}\nEhelo.example.com\nR<b@example.org> ? ? ?\nF\n"
    )
    return Message(commands.decode(lines.encode()), raw, "/nowhere", Settings())
