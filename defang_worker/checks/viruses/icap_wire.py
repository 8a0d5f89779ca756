# SPDX-License-Identifier: GPL-3.0-or-later
"""ICAP, pure: requests that show a content as the body of an HTTP message, and what the answers mean (RFC 3507).

An engine that finds nothing says 204, "not modified"; one that finds something puts a page of its own in the content's
place, and most name the virus in a field of theirs, for which there is only a draft (draft-stecher-icap-subid).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final
from urllib.parse import urlsplit

from defang_worker.checks.faults import ServiceFault

__all__ = ["MAX_HEAD_BYTES", "Head", "Method", "Options", "Service", "chunk_head", "decode_head", "options", "request"]

MAX_HEAD_BYTES: Final = 64 * 1024
DEFAULT_PORT: Final = 1344
# RFC 3507, 4.10.2: without a limit the options hold until the tag changes. An hour, so that a new preview is noticed.
_DEFAULT_TTL_S: Final = 3600
# A preview is what fits one packet or a few; who asks for more gets this much, which is allowed (4.5).
_MAX_PREVIEW_BYTES: Final = 64 * 1024
_STATUS: Final = re.compile(r"ICAP/1\.\d (\d{3})(?: .*)?")
_THREAT: Final = re.compile(r"(?:^|;)\s*Threat=([^;]+)", re.IGNORECASE)
_ENCAPSULATED: Final = re.compile(r"([a-z-]+)=(\d{1,9})")


class Method(StrEnum):
    """How a content is shown: as what a client gets from a server, or as what it sends to one."""

    RESPMOD = "RESPMOD"
    REQMOD = "REQMOD"


@dataclass(frozen=True, slots=True)
class Service:
    """Where an engine is."""

    host: str
    """With the brackets of an IPv6 address, as in the URL."""
    port: int
    path: str

    @classmethod
    def of(cls, url: str) -> Service:
        """What icap://host:port/service names; raises ValueError."""
        parts = urlsplit(url)
        if parts.scheme != "icap" or not parts.hostname or re.search(r"[\x00-\x20\x7f-\U0010ffff]", url):
            raise ValueError(f"the address of an ICAP service is icap://host:port/service, not {url!r}")
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        query = f"?{parts.query}" if parts.query else ""
        return cls(host, parts.port or DEFAULT_PORT, (parts.path or "/") + query)

    @property
    def address(self) -> str:
        """To connect to."""
        return f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """As requests name it."""
        return f"icap://{self.address}{self.path}"


@dataclass(frozen=True, slots=True)
class Head:
    """The first lines of an answer; names of fields in small letters, lines of one value divided by line feeds."""

    status: int
    fields: dict[str, str] = field(default_factory=dict)

    @property
    def closes(self) -> bool:
        """Whether the connection ends with this answer."""
        return "close" in self.fields.get("connection", "").lower()

    @property
    def encapsulated(self) -> tuple[int, bool]:
        """How many bytes of HTTP headers follow, and whether a body comes behind them; raises ServiceFault."""
        listed = _ENCAPSULATED.findall(self.fields.get("encapsulated", "null-body=0").lower())
        if not listed or not listed[-1][0].endswith("-body"):
            raise ServiceFault(f"encapsulates what cannot be: {self.fields.get('encapsulated', '')[:100]!r}")
        name, offset = listed[-1]
        if int(offset) > MAX_HEAD_BYTES:
            raise ServiceFault(f"answered with {offset} bytes of headers")
        return int(offset), name != "null-body"

    @property
    def threat(self) -> str:
        """The name of what was found, empty if no field has one."""
        if found := self.fields.get("x-infection-found"):
            match = _THREAT.search(found.replace("\n", " "))
            return match[1].strip() if match else "unknown"
        for name in ("x-virus-id", "x-virus-name"):
            if found := self.fields.get(name):
                return found.replace("\n", " ")
        if found := self.fields.get("x-violations-found"):
            # How many, and for each four lines: file, name, number, what was done.
            lines = [line.strip() for line in found.split("\n")]
            return "" if lines[0] == "0" else lines[2] if len(lines) > 2 else "unknown"
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a service says that it can."""

    preview_bytes: int | None
    """How much of a content it wants to see first; None for all at once."""
    ttl_s: int
    service: str

    @classmethod
    def of(cls, head: Head, method: Method) -> Options:
        """Those in an answer to OPTIONS; raises ServiceFault if the service does not know the method."""
        methods = head.fields.get("methods", method).replace(",", " ").split()
        if method not in methods:
            raise ServiceFault(f"knows {', '.join(methods)}, not {method}")
        preview, ttl = head.fields.get("preview", ""), head.fields.get("options-ttl", "")
        return cls(
            preview_bytes=min(int(preview), _MAX_PREVIEW_BYTES) if _is_number(preview) else None,
            ttl_s=int(ttl) if _is_number(ttl) else _DEFAULT_TTL_S,
            service=head.fields.get("service", head.fields.get("server", "")),
        )


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10


def decode_head(raw: bytes) -> Head:
    """The first lines of an answer, without the blank line; raises ServiceFault for what is no ICAP."""
    first, *rest = raw.decode("latin-1").split("\r\n")
    match = _STATUS.fullmatch(first)
    if match is None:
        raise ServiceFault(f"answered with what is no ICAP: {raw[:100]!r}")
    fields: dict[str, str] = {}
    name = ""
    for line in rest:
        if line[:1] in (" ", "\t"):
            fields[name] = f"{fields.get(name, '')}\n{line.strip()}"
        else:
            name, _, value = line.partition(":")
            name = name.strip().lower()
            fields[name] = f"{fields[name]}, {value.strip()}" if name in fields else value.strip()
    return Head(int(match[1]), fields)


def options(service: Service) -> bytes:
    """A request that asks what the service can."""
    return _head(f"OPTIONS {service.url} ICAP/1.0", service, ["Encapsulated: null-body=0"])


def request(service: Service, method: Method, name: str, size: int, preview: int | None) -> bytes:
    """A request up to the body, which follows in chunks, first `preview` bytes of it if that is a number.

    `name` is that of a file, for engines that go by it.
    """
    kind = "message/rfc822" if name.endswith(".eml") else "application/octet-stream"
    entity = f"Content-Type: {kind}\r\nContent-Length: {size}\r\n\r\n"
    if method is Method.RESPMOD:
        asked = f"GET http://mail.invalid/{name} HTTP/1.1\r\nHost: mail.invalid\r\n\r\n"
        parts = f"req-hdr=0, res-hdr={len(asked)}, res-body="
        http = f"{asked}HTTP/1.1 200 OK\r\n{entity}"
    else:
        parts = "req-hdr=0, req-body="
        http = f"POST http://mail.invalid/{name} HTTP/1.1\r\nHost: mail.invalid\r\n{entity}"
    fields = ["Allow: 204", f"Encapsulated: {parts}{len(http)}"]
    if preview is not None:
        fields.append(f"Preview: {min(preview, size)}")
    return _head(f"{method} {service.url} ICAP/1.0", service, fields) + http.encode("ascii")


def _head(first: str, service: Service, fields: list[str]) -> bytes:
    return "\r\n".join([first, f"Host: {service.host}", "User-Agent: Defang", *fields, "", ""]).encode("ascii")


def chunk_head(size: int) -> bytes:
    """What comes before a chunk; a line end comes behind it."""
    return b"%x\r\n" % size
