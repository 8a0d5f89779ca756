# SPDX-License-Identifier: GPL-3.0-or-later
"""`Tls`: whether a call is to be encrypted (STARTTLS, RFC 3207), and by which certificates the server is known."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Tls", "TlsUse", "anybody"]


class TlsUse(StrEnum):
    """How much TLS matters."""

    NEVER = "never"
    """The call is in clear."""
    MAY = "may"
    """TLS if the server offers it, whatever its certificate; in clear if that fails."""
    MUST = "must"
    """TLS with a certificate of the server's name that is trusted, or no answer."""
    DANE = "dane"
    """As the DNS says of the server's certificate, if that holds by DNSSEC; otherwise as MAY. For domains."""


@dataclass(frozen=True, slots=True)
class Tls:
    """The setting with its context."""

    use: TlsUse
    context: ssl.SSLContext | None = None
    server_name: str = ""
    """The name to ask for (SNI), if it is not that of the server."""
    verify: Callable[[ssl.SSLSocket], None] | None = None
    """Raises ServiceFault if the server is not the right one, beyond what the context looks at."""

    @classmethod
    def of(cls, setting: TlsUse | str | ssl.SSLContext) -> Tls:
        """TLS as it is set; a context is one that has to be. Raises ValueError for another word."""
        if isinstance(setting, ssl.SSLContext):
            return cls(TlsUse.MUST, setting)
        match TlsUse(setting):
            case TlsUse.NEVER:
                return cls(TlsUse.NEVER)
            case TlsUse.MAY:
                return cls(TlsUse.MAY, anybody())
            case TlsUse.MUST:
                return cls(TlsUse.MUST, ssl.create_default_context())
            case TlsUse.DANE:
                return cls(TlsUse.DANE)


def anybody() -> ssl.SSLContext:
    """A context for whoever is there: against one who only listens that is better than none (RFC 7435)."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
