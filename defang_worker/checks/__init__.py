# SPDX-License-Identifier: GPL-3.0-or-later
"""What a filter asks other services: viruses, spam, DNS, authentication. A filter imports from here what it uses.

A name is loaded when it is first asked for, with nothing but its own module: a worker whose filter uses one check does
not carry the others. How checks run together, and what a failure means, is told in docs/checks.md.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from defang_worker.checks.auth.arc_check import Arc
    from defang_worker.checks.auth.arc_result import ArcResult, ArcSeal, ArcWord
    from defang_worker.checks.auth.arc_sealer import ArcSealer
    from defang_worker.checks.auth.bimi import Bimi
    from defang_worker.checks.auth.bimi_result import BimiResult, BimiWord
    from defang_worker.checks.auth.dkim_check import Dkim
    from defang_worker.checks.auth.dkim_result import DkimResult, DkimSignature, DkimWord
    from defang_worker.checks.auth.dkim_signer import DkimKey, DkimSigner
    from defang_worker.checks.auth.dmarc_check import Dmarc
    from defang_worker.checks.auth.dmarc_record import DmarcPolicy
    from defang_worker.checks.auth.dmarc_result import DmarcResult, DmarcWord
    from defang_worker.checks.auth.method_result import MethodResult
    from defang_worker.checks.auth.spf import Spf, SpfResult, SpfWord
    from defang_worker.checks.callahead.check import CallAhead
    from defang_worker.checks.callahead.memory import CallMemory
    from defang_worker.checks.callahead.result import CallAheadResult
    from defang_worker.checks.check import Check, FailurePolicy
    from defang_worker.checks.dns.listing import Listing, ListingResult, Zone
    from defang_worker.checks.dns.lists import DnsList, DomainList, EmailList
    from defang_worker.checks.dns.mail_hosts import MailHost
    from defang_worker.checks.dns.resolver import Resolver
    from defang_worker.checks.dns.reverse_name import ReverseName, ReverseNameResult
    from defang_worker.checks.dns.sender_mx import MxResult, SenderMx
    from defang_worker.checks.greylist.greylist import Greylist, GreylistResult
    from defang_worker.checks.greylist.rate_limit import RateLimit, RateLimitResult
    from defang_worker.checks.greylist.sqlite_store import SqliteStore
    from defang_worker.checks.greylist.store import Store, Terms, Visit
    from defang_worker.checks.outcome import CheckResult, Outcome
    from defang_worker.checks.runner import Results
    from defang_worker.checks.spam.result import SpamResult, Symbol
    from defang_worker.checks.spam.rspamd import Rspamd
    from defang_worker.checks.spam.rspamd_answer import RspamdResult
    from defang_worker.checks.spam.spamd import LearnResult, Spamd, SpamdLearn
    from defang_worker.checks.spam.spamd_wire import Lesson
    from defang_worker.checks.tls.dane_check import Dane, DaneResult
    from defang_worker.checks.tls.dane_hosts import DaneDomain, DaneHost, DaneState
    from defang_worker.checks.tls.mta_sts import MtaSts, MtaStsResult, StsDomain
    from defang_worker.checks.tls.policy_store import KeptPolicy, PolicyStore
    from defang_worker.checks.tls.sqlite_policies import SqlitePolicies
    from defang_worker.checks.tls.sts_policy import StsMode, StsPolicy
    from defang_worker.checks.tls.tlsa import TlsaRecord
    from defang_worker.checks.viruses.clamd import Clamd
    from defang_worker.checks.viruses.command import CommandScanner
    from defang_worker.checks.viruses.icap import Icap
    from defang_worker.checks.viruses.result import Infection, VirusResult

__all__ = [
    "Arc",
    "ArcResult",
    "ArcSeal",
    "ArcSealer",
    "ArcWord",
    "Bimi",
    "BimiResult",
    "BimiWord",
    "CallAhead",
    "CallAheadResult",
    "CallMemory",
    "Check",
    "CheckResult",
    "Clamd",
    "CommandScanner",
    "Dane",
    "DaneDomain",
    "DaneHost",
    "DaneResult",
    "DaneState",
    "Dkim",
    "DkimKey",
    "DkimResult",
    "DkimSignature",
    "DkimSigner",
    "DkimWord",
    "Dmarc",
    "DmarcPolicy",
    "DmarcResult",
    "DmarcWord",
    "DnsList",
    "DomainList",
    "EmailList",
    "FailurePolicy",
    "Greylist",
    "GreylistResult",
    "Icap",
    "Infection",
    "KeptPolicy",
    "LearnResult",
    "Lesson",
    "Listing",
    "ListingResult",
    "MailHost",
    "MethodResult",
    "MtaSts",
    "MtaStsResult",
    "MxResult",
    "Outcome",
    "PolicyStore",
    "RateLimit",
    "RateLimitResult",
    "Resolver",
    "Results",
    "ReverseName",
    "ReverseNameResult",
    "Rspamd",
    "RspamdResult",
    "SenderMx",
    "SpamResult",
    "Spamd",
    "SpamdLearn",
    "Spf",
    "SpfResult",
    "SpfWord",
    "SqlitePolicies",
    "SqliteStore",
    "Store",
    "StsDomain",
    "StsMode",
    "StsPolicy",
    "Symbol",
    "Terms",
    "TlsaRecord",
    "VirusResult",
    "Visit",
    "Zone",
]

# Where each name lives. mypy reads the imports above, and a test holds the two together.
_HOMES = {
    "Arc": "auth.arc_check",
    "ArcResult": "auth.arc_result",
    "ArcSeal": "auth.arc_result",
    "ArcSealer": "auth.arc_sealer",
    "ArcWord": "auth.arc_result",
    "CallAhead": "callahead.check",
    "CallAheadResult": "callahead.result",
    "CallMemory": "callahead.memory",
    "Bimi": "auth.bimi",
    "BimiResult": "auth.bimi_result",
    "BimiWord": "auth.bimi_result",
    "Check": "check",
    "CheckResult": "outcome",
    "Clamd": "viruses.clamd",
    "CommandScanner": "viruses.command",
    "Dane": "tls.dane_check",
    "DaneDomain": "tls.dane_hosts",
    "DaneHost": "tls.dane_hosts",
    "DaneResult": "tls.dane_check",
    "DaneState": "tls.dane_hosts",
    "DnsList": "dns.lists",
    "DomainList": "dns.lists",
    "EmailList": "dns.lists",
    "Dkim": "auth.dkim_check",
    "DkimKey": "auth.dkim_signer",
    "DkimResult": "auth.dkim_result",
    "DkimSignature": "auth.dkim_result",
    "DkimSigner": "auth.dkim_signer",
    "DkimWord": "auth.dkim_result",
    "Dmarc": "auth.dmarc_check",
    "DmarcPolicy": "auth.dmarc_record",
    "DmarcResult": "auth.dmarc_result",
    "DmarcWord": "auth.dmarc_result",
    "FailurePolicy": "check",
    "Greylist": "greylist.greylist",
    "GreylistResult": "greylist.greylist",
    "Icap": "viruses.icap",
    "Infection": "viruses.result",
    "KeptPolicy": "tls.policy_store",
    "LearnResult": "spam.spamd",
    "Lesson": "spam.spamd_wire",
    "Listing": "dns.listing",
    "ListingResult": "dns.listing",
    "MailHost": "dns.mail_hosts",
    "MethodResult": "auth.method_result",
    "MtaSts": "tls.mta_sts",
    "MtaStsResult": "tls.mta_sts",
    "MxResult": "dns.sender_mx",
    "Outcome": "outcome",
    "PolicyStore": "tls.policy_store",
    "RateLimit": "greylist.rate_limit",
    "RateLimitResult": "greylist.rate_limit",
    "Resolver": "dns.resolver",
    "Results": "runner",
    "ReverseName": "dns.reverse_name",
    "ReverseNameResult": "dns.reverse_name",
    "Rspamd": "spam.rspamd",
    "RspamdResult": "spam.rspamd_answer",
    "SenderMx": "dns.sender_mx",
    "SpamResult": "spam.result",
    "Spamd": "spam.spamd",
    "SpamdLearn": "spam.spamd",
    "Spf": "auth.spf",
    "SpfResult": "auth.spf",
    "SpfWord": "auth.spf",
    "SqlitePolicies": "tls.sqlite_policies",
    "SqliteStore": "greylist.sqlite_store",
    "Store": "greylist.store",
    "StsDomain": "tls.mta_sts",
    "StsMode": "tls.sts_policy",
    "StsPolicy": "tls.sts_policy",
    "Symbol": "spam.result",
    "Terms": "greylist.store",
    "TlsaRecord": "tls.tlsa",
    "VirusResult": "viruses.result",
    "Visit": "greylist.store",
    "Zone": "dns.listing",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value
