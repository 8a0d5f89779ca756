# SPDX-License-Identifier: GPL-3.0-or-later
"""What a filter file may set for itself, once: `settings = Settings(...)` in the class or in the file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from defang_common.wire.state import MAX_VALUE_BYTES
from defang_worker.mime.policy import NOT_NAMED, Policy, named
from defang_worker.mime.tree import Limits

if TYPE_CHECKING:
    from defang_worker.checks.check import Check


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """A filter's settings, with values that serve without any."""

    admin: str = "postmaster@localhost"
    """Whom the warnings name for questions, and who gets the notices for the administrator."""

    admin_name: str = "Mail administrator"
    """The name that stands beside this address."""

    daemon: str = "mailer-daemon@localhost"
    """From whom the notices are."""

    daemon_name: str = "Mail filter"
    """The name that stands beside this address."""

    submit_to: str = "/usr/sbin/sendmail"
    """How mails leave: through a program with sendmail's options, or by SMTP to "host:port"."""

    quarantine_dir: str = "/var/spool/MD-Quarantine"
    """Where quarantined messages and parts are kept. It has to be there, and to belong to the workers' user."""

    quarantine_report: bool = False
    """Whether the administrator gets a mail for each message of which something was quarantined."""

    warning_index: int = 0
    """Where the part with the warnings goes: 0 is first, -1 last."""

    warning_intro: str = (
        "Parts of this message were removed or changed on the way to you, because they\n"
        "could have been harmful. If you need what is missing, ask {admin}.\n"
    )
    """What stands before the warnings; `{admin}` becomes the address above."""

    inline_warnings: bool = False
    """Whether the warnings go into the text and the HTML that is shown, rather than into a part of their own.

    Where there is neither, or only in signed or encrypted parts, they get their own part all the same.
    """

    collapse: bool = False
    """Whether a multipart/mixed or multipart/alternative gives its place to the one part that the filter leaves of it.

    Otherwise it stays, so that this part keeps its bytes and its own header.
    """

    ambiguity: str | Policy | None = None
    """What becomes of malformed mail that programs read in different ways: "observe", "log-only", "lenient", "default",
    "strict", or a table of one's own. None is "observe" for filters with callbacks for parts: all is delivered but what
    could not be examined. For others mail is not parsed then.
    """

    results_authserv_id: str = ""
    """The host's name in a header field MIME-Ambiguity-Results, which malformed mail then gets; empty for no field.

    Fields of that name that come from outside are deleted.
    """

    event_log: str = ""
    """Where `Message.log_event` writes: a file's absolute path, or "syslog:mail" or another facility of the system log.
    Empty for nowhere, which is what an event costs then: nothing."""

    record_log: str = ""
    """Where one JSON object for each message is written; as in `event_log`."""

    local_recipients_pass: bool = False
    """Whether a recipient that `filter_recipient` rejects or defers passes all the same if the client is this host.

    Postfix treats mail submitted by a program, such as copies that a filter makes, as one: with one recipient refused,
    none gets it.
    """

    relay_key_file: str = ""
    """A file with the key, 32 bytes or more, that the mail servers of a site share: with it `Message.add_relay_header`
    signs whom a message came from, and such a field of another server is believed. Empty for neither."""

    trusted_relays: tuple[str, ...] = ()
    """Addresses and networks that alone may tell by a header field who their client was; empty for any that can."""

    authserv_id: str = ""
    """Whose name stands in the Authentication-Results that `Message.add_authentication_results` writes; empty for the
    mail server's own ({j})."""

    authserv_aliases: tuple[str, ...] = ()
    """Further names under which hosts of the site write such fields: from outside they are deleted as well."""

    authserv_relays: tuple[str, ...] = ()
    """Addresses and networks of those hosts: what they say in these names is left when they hand mail on."""

    limits: Limits = field(default_factory=Limits)
    """How much of a message's structure is examined: parts, depth, sizes of headers. A message that goes beyond is
    refused before any callback sees it."""

    max_state_bytes: int = 16 * 1024
    """How much either state dictionary may take, packed, up to 64 KiB; more makes a temporary failure."""

    checks: tuple[Check[Any, Any], ...] = ()
    """What `Message.run_checks()` runs, and `defang-worker features` shows."""

    check_budget_s: float = 60.0
    """How long all checks of one message may take together, counted from when the message was complete; of a callback
    before it, from its start. Less than what the multiplexor gives a request (`-b`), so that the filter can still act
    on what they could not tell."""

    def __post_init__(self) -> None:
        # Here, so that a filter with a misspelt name is not loaded.
        named(self.ambiguity or NOT_NAMED)
        if not 0 <= self.max_state_bytes <= MAX_VALUE_BYTES:
            raise ValueError(f"max_state_bytes is to be from 0 to {MAX_VALUE_BYTES}, not {self.max_state_bytes}")
        if not self.check_budget_s > 0:
            raise ValueError(f"check_budget_s is to be more than 0, not {self.check_budget_s}")
        host, _, port = self.submit_to.rpartition(":")
        if not self.submit_to.startswith("/") and not (host and port.isdigit()):
            raise ValueError(f"submit_to is to be an absolute path or host:port, not {self.submit_to!r}")
        if not self.quarantine_dir.startswith("/"):
            raise ValueError(f"quarantine_dir is to be an absolute path, not {self.quarantine_dir!r}")
        if self.event_log or self.record_log:
            from defang_worker.effects.lines import check_target  # noqa: PLC0415

            for setting in ("event_log", "record_log"):
                if target := getattr(self, setting):
                    check_target(setting, target)
        for name in (self.authserv_id, *self.authserv_aliases):
            if not all("!" <= letter <= "~" for letter in name):
                raise ValueError(f"no name for Authentication-Results: {name!r}")
        if networks := (*self.trusted_relays, *self.authserv_relays):
            from ipaddress import ip_network  # noqa: PLC0415  # few sites have any

            for network in networks:
                ip_network(network, strict=False)

    @classmethod
    def load(cls, path: str) -> Settings:
        """The settings in a TOML file, names and meanings as here, `limits` and an `ambiguity` policy as tables.

        Raises OSError, and ValueError for what is no TOML, a name that is no setting, or a value of another type.
        """
        from defang_worker.api.settings_file import read  # noqa: PLC0415  # most filters say it in Python

        return read(path)

    @property
    def policy(self) -> Policy:
        """The table that `ambiguity` means."""
        return named(self.ambiguity or NOT_NAMED)
