# SPDX-License-Identifier: GPL-3.0-or-later
"""What a site's filter imports: the names that follow, and nothing else of this package."""

from defang_worker.api.envelope import Address, Connection, Envelope, Recipient
from defang_worker.api.headers import Headers
from defang_worker.api.hooks import Filter
from defang_worker.api.lookup import CommandFailed, Lookup
from defang_worker.api.message import Message
from defang_worker.api.message_mail import Resent
from defang_worker.api.part import Part
from defang_worker.api.settings import Settings
from defang_worker.api.stages import WrongStage
from defang_worker.api.verdicts import CheckFailed, Response, Verdict
from defang_worker.mime.defects import Defect, Severity
from defang_worker.mime.policy import Action, Policy
from defang_worker.mime.tree import Limits

__all__ = [
    "Action",
    "Address",
    "CheckFailed",
    "CommandFailed",
    "Connection",
    "Defect",
    "Envelope",
    "Filter",
    "Headers",
    "Limits",
    "Lookup",
    "Message",
    "Part",
    "Policy",
    "Recipient",
    "Resent",
    "Response",
    "Settings",
    "Severity",
    "Verdict",
    "WrongStage",
]
