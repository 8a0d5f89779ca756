# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a check could not tell: the exceptions that its job may raise, each of which makes the outcome UNKNOWN.

Who raises which matters to the next messages: a service that is down is left alone for a while (`circuit.py`), one that
cannot tell about this message is not.
"""

from __future__ import annotations

__all__ = ["CouldNotTell", "ServiceDown", "ServiceFault"]


class CouldNotTell(Exception):
    """It cannot be told of this message: too large, encrypted, refused by the service. The service is well."""


class ServiceFault(CouldNotTell):
    """The service did not do its work: no answer in time, an early close, garbage. Several in a row: it is down."""


class ServiceDown(ServiceFault):
    """The service cannot be reached at all: one is enough."""
