# SPDX-License-Identifier: GPL-3.0-or-later
"""The MTA's macros: which the filter is told of, and how their values are read."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from defang_milter.context import Context

# In the order of protocol.md, COMMANDS.
ALWAYS_TOLD: Final = (
    *("_", "auth_authen", "auth_author", "auth_ssf", "auth_type", "cert_issuer", "cert_subject", "cipher"),
    *("cipher_bits", "daemon_name", "daemon_port", "i", "if_addr", "if_name", "j", "mail_addr", "mail_host"),
    *("mail_mailer", "tls_version", "verify", "rcpt_addr", "rcpt_host", "rcpt_mailer"),
)


@dataclass(frozen=True, slots=True)
class Macro:
    """One macro: its name in COMMANDS, and as libmilter wants it, in braces if it is longer than a letter."""

    name: bytes
    symbol: str


def named(names: Iterable[str]) -> tuple[Macro, ...]:
    """The macros of these names, which have no braces."""
    return tuple(Macro(name.encode(), name if len(name) == 1 else f"{{{name}}}") for name in names)


def value_of(context: Context, symbol: str) -> bytes:
    """A macro's value, byte for byte as the MTA gave it; empty if it gave none."""
    return _value(context, symbol) or b""


def _value(context: Context, symbol: str) -> bytes | None:
    try:
        value = context.getsymval(symbol)
    except UnicodeDecodeError as error:
        return error.object
    return None if value is None else value.encode()


def known(context: Context, macros: Iterable[Macro]) -> Iterator[tuple[bytes, bytes]]:
    """Name and value of those that the MTA gave, be they empty."""
    for macro in macros:
        value = _value(context, macro.symbol)
        if value is not None:
            yield macro.name, value
