# SPDX-License-Identifier: GPL-3.0-or-later
"""What MIMEDefang's functions are called here: who ports a filter tries their names first.

The same as docs/mimedefang-names.md, which says more of each; of two names there the first. Called by `rules`.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMES: Final = {
    "action_accept": "part.keep",
    "action_accept_with_warning": "part.keep",
    "action_drop": "part.drop",
    "action_drop_with_warning": "part.drop",
    "action_replace_with_warning": "part.replace",
    "action_quarantine": "part.quarantine",
    "action_replace_with_url": "part.replace_with_url",
    "action_defang": "part.defang",
    "action_external_filter": "part.filter_through",
    "action_bounce": "message.reject",
    "action_tempfail": "message.tempfail",
    "action_discard": "message.discard",
    "message_rejected": "message.is_rejected",
    "action_sm_quarantine": "message.mta_quarantine",
    "action_greylist": "defang_worker.checks.Greylist",
    "action_rebuild": "message.rebuild",
    "action_add_part": "message.add_part",
    "action_add_entity": "message.add_entity",
    "replace_entire_message": "message.replace_with",
    "remove_redundant_html_parts": "message.remove_redundant_html",
    "append_text_boilerplate": "message.append_text",
    "append_html_boilerplate": "message.append_html",
    "append_to_part": "part.append_text",
    "append_to_html_part": "part.append_html",
    "anonymize_uri": "message.strip_tracking_params",
    "action_add_header": "message.headers.add",
    "action_add_header_now": "message.headers.add",
    "action_insert_header": "message.headers.insert",
    "action_insert_header_now": "message.headers.insert",
    "action_change_header": "message.headers.replace",
    "action_change_header_now": "message.headers.replace",
    "action_delete_header": "message.headers.delete",
    "action_delete_header_now": "message.headers.delete",
    "action_delete_all_headers": "message.headers.delete_all",
    "action_delete_all_headers_now": "message.headers.delete_all",
    "add_ip_validation_header": "message.add_relay_header",
    "add_recipient": "message.add_recipient",
    "delete_recipient": "message.delete_recipient",
    "change_sender": "message.set_sender",
    "takeStabAtFilename": "part.filename",
    "re_match": "part.matches",
    "re_match_ext": "part.extension_matches",
    "re_match_in_zip_directory": "defang_worker.archives.member_names",
    "re_match_in_rar_directory": "defang_worker.archives.member_names",
    "re_match_in_7zip_directory": "defang_worker.archives.member_names",
    "re_match_in_tgz_directory": "defang_worker.archives.member_names",
    "find_part": "message.find",
    "collect_parts": "message.leaves",
    "action_quarantine_entire_message": "message.quarantine",
    "send_quarantine_notifications": "Settings.quarantine_report",
    "action_notify_sender": "message.notify_sender",
    "action_notify_administrator": "message.notify_admin",
    "send_admin_mail": "message.notify_admin",
    "send_mail": "message.send",
    "send_multipart_mail": "message.send",
    "resend_message": "message.resend",
    "resend_message_one_recipient": "message.resend",
    "resend_message_specifying_mode": "message.resend",
    "stream_by_domain": "message.stream_by_domain",
    "stream_by_recipient": "message.stream_by_recipient",
    "synthesize_received_header": "message.received_header",
    "md_check_against_smtp_server": "defang_worker.checks.CallAhead",
    "spam_assassin_init": "defang_worker.checks.Spamd",
    "spam_assassin_mail": "defang_worker.checks.Spamd",
    "spam_assassin_status": "defang_worker.checks.Spamd",
    "spam_assassin_check": "defang_worker.checks.Spamd",
    "spam_assassin_is_spam": "defang_worker.checks.Spamd",
    "md_spamc_init": "defang_worker.checks.Spamd",
    "md_spamc_check": "defang_worker.checks.Spamd",
    "rspamd_check": "defang_worker.checks.Rspamd",
    "message_contains_virus": "message.run_checks",
    "run_virus_scanner": "defang_worker.checks.CommandScanner",
    "relay_is_blacklisted": "defang_worker.checks.DnsList",
    "relay_is_blacklisted_multi": "defang_worker.checks.DnsList",
    "relay_is_blacklisted_multi_count": "defang_worker.checks.DnsList",
    "relay_is_blacklisted_multi_list": "defang_worker.checks.DnsList",
    "email_is_blacklisted": "defang_worker.checks.EmailList",
    "get_mx_ip_addresses": "defang_worker.checks.SenderMx",
    "md_get_bogus_mx_hosts": "defang_worker.checks.SenderMx",
    "get_ptr_record": "defang_worker.checks.ReverseName",
    "md_dns_txt": "defang_worker.checks.Resolver",
    "md_dkim_sign": "defang_worker.checks.DkimSigner",
    "md_dkim_verify": "defang_worker.checks.Dkim",
    "md_get_dmarc_record": "defang_worker.checks.Dmarc",
    "md_org_domain": "defang_worker.checks.Dmarc",
    "md_async_dmarc_verify": "defang_worker.checks.Dmarc",
    "md_spf_verify": "defang_worker.checks.Spf",
    "md_arc_sign": "defang_worker.checks.ArcSealer",
    "md_authres": "message.add_authentication_results",
    "md_bimi_get_selector": "defang_worker.checks.Bimi",
    "md_bimi_lookup": "defang_worker.checks.Bimi",
    "md_bimi_verify": "defang_worker.checks.Bimi",
    "md_check_mta_sts": "defang_worker.checks.MtaSts",
    "md_check_dane_tlsa": "defang_worker.checks.Dane",
    "md_verify_dane_cert": "defang_worker.checks.tls.dane.verified",
    "md_async_init": "message.run_checks",
    "md_async_run_checks": "message.run_checks",
    "md_async_check_dnsbl": "connection.run_checks",
    "md_async_check_rdns": "connection.run_checks",
    "md_async_check_spf_record": "envelope.run_checks",
    "md_async_check_mx_exists": "envelope.run_checks",
    "md_async_check_dmarc_record": "defang_worker.checks.Resolver",
    "md_async_check_dkim_record": "defang_worker.checks.Resolver",
    "md_async_relay_is_blacklisted": "defang_worker.checks.DnsList",
    "md_async_email_is_blacklisted": "defang_worker.checks.EmailList",
    "md_async_spf_verify": "defang_worker.checks.Spf",
    "md_async_message_contains_virus_clamd": "message.run_checks",
    "md_async_message_contains_virus_clamdscan": "message.run_checks",
    "md_async_spamc_check": "message.run_checks",
    "md_async_spam_assassin_check": "message.run_checks",
    "md_async_rspamd_check": "message.run_checks",
    "md_syslog": "self.log",
    "md_graphdefang_log_enable": "Settings.event_log",
    "md_graphdefang_log": "message.log_event",
    "md_graphdefang_log_array": "message.log_event",
    "push_status_tag": "defang_worker.status.doing",
    "pop_status_tag": "defang_worker.status.doing",
    "set_status_tag": "defang_worker.status.doing",
    "init_status_tag": "defang_worker.status.doing",
    "read_config": "Settings.load",
}


def calls_of_them(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and text for each call of such a function that the file neither defines nor imports."""
    if any(alias.name == "*" for alias in _imported_from_elsewhere(tree)):
        return
    bound = {name for node in ast.walk(tree) for name in _bound(node)}
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id=name)) if name in NAMES and name not in bound:
                yield node.lineno, f"{name} is not defined; here it is {NAMES[name]}"
            case _:
                pass


def _imported_from_elsewhere(tree: ast.Module) -> Iterator[ast.alias]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module != "defang_worker":
            yield from node.names


def _bound(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name) | ast.arg(arg=name):
            yield name
        case ast.Name(id=name, ctx=ast.Store()) | ast.alias(name=name, asname=None) | ast.alias(asname=str(name)):
            yield name
        case _:
            pass
