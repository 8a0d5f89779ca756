# SPDX-License-Identifier: GPL-3.0-or-later
"""A real spamd and a real rspamd, with rules that need no network and what they need besides in a directory of its own.

Both run in the foreground as `nobody`.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.certificate import CERTIFICATE, KEY
from tests.support.daemons import private_home
from tests.support.process import Program, free_port

USER, GROUP = "nobody", "nogroup"
# Both services' harmless test pattern, taken apart so that nobody takes this file for spam.
GTUBE = "XJS*C4JDBQADN1.NSBN3*2IDNEN*" + "GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"
# spamd compiles some thousand rules before it listens, on a machine that may be busy.
START_LIMIT_S = 60.0

# Shows what it was told of the envelope, wants the header changed, and judges by the subject.
_RULES = """
rspamd_config.ENVELOPE = {
  score = 1.5, description = "what the envelope tells",
  callback = function(task)
    local function text(value) return value and tostring(value) or "-" end
    local recipients = {}
    for _, one in ipairs(task:get_recipients("smtp") or {}) do recipients[#recipients + 1] = one.addr end
    local sender = (task:get_from("smtp") or {})[1]
    task:set_milter_reply({
      add_headers = {
        ["X-Envelope"] = table.concat({
          text(task:get_from_ip()), text(task:get_hostname()), text(task:get_helo()), text(sender and sender.addr),
          table.concat(recipients, ","), text(task:get_queue_id()), text(task:get_user()),
          text(task:get_request_header("TLS-Version")), text(task:get_request_header("MTA-Name")),
        }, " "),
        ["X-Top"] = { value = "top", order = 0 },
      },
      remove_headers = { ["X-Old"] = 0 },
    })
    return true
  end
}
rspamd_config.CHEAP = {
  score = 6, description = "the subject says so",
  callback = function(task) return task:get_subject() == "cheap" end
}
rspamd_config.SKIP = {
  type = "prefilter", score = 0,
  callback = function(task) if task:get_subject() == "skip" then task:set_flag("skip") end end
}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """Where a service listens."""

    socket: str
    tcp: str
    tls: str = ""
    """With the certificate of the tests (`certificate.py`)."""


@contextmanager
def running_spamd() -> Iterator[Addresses]:
    """spamd with local tests only, learning allowed; ended afterwards."""
    with private_home("spamd-") as base:
        home = base / "home"
        home.mkdir()
        shutil.chown(home, USER, GROUP)
        port, tls_port = free_port(), free_port()
        key = base / "key.pem"
        certificate = base / "cert.pem"
        for made, source in ((key, KEY), (certificate, CERTIFICATE)):
            shutil.copy(source, made)
            shutil.chown(made, USER, GROUP)
        argv: list[str | Path] = ["/usr/sbin/spamd", "--local", "--nouser-config", "--allow-tell", "--max-children=2"]
        argv += ["--min-children=1", "--syslog=stderr", f"--username={USER}", f"--helper-home-dir={home}"]
        argv += [f"--socketpath={base}/spamd.sock", f"--listen=127.0.0.1:{port}", f"--listen=ssl:127.0.0.1:{tls_port}"]
        argv += [f"--server-key={key}", f"--server-cert={certificate}"]
        for setting in ("use_bayes 1", "bayes_auto_learn 0", f"bayes_path {home}/bayes", "required_score 5"):
            argv.append(f"--cf={setting}")
        program = Program("spamd", argv, log=base / "log")
        try:
            for address in (f"inet:{port}@127.0.0.1", f"inet:{tls_port}@127.0.0.1", f"{base}/spamd.sock"):
                program.wait_ready(address, START_LIMIT_S)
            yield Addresses(
                socket=f"{base}/spamd.sock",
                tcp=f"127.0.0.1:{port}",
                tls=f"127.0.0.1:{tls_port}",
            )
        finally:
            program.stop()


@contextmanager
def running_rspamd() -> Iterator[Addresses]:
    """rspamd with three rules of the tests' own and nothing else; ended afterwards."""
    with private_home("rspamd-") as base:
        shutil.chown(base, USER, GROUP)
        port = free_port()
        (base / "rules.lua").write_text(_RULES)
        # Its own list of public suffixes takes seconds to compile.
        (base / "suffixes").write_text("com\norg\n")
        (base / "rspamd.conf").write_text(
            f'options {{ filters = ""; pidfile = "{base}/pid"; control_socket = "{base}/control"; tempdir = "{base}";\n'
            f'  hs_cache_dir = "{base}"; url_tld = "{base}/suffixes"; disable_hyperscan = true;\n'
            '  dns { nameserver = ["127.0.0.1:9"]; timeout = 0.1s; retransmits = 1; } }\n'
            'logging { type = "console"; level = "info"; }\n'
            f'worker "normal" {{ count = 1; bind_socket = "{base}/rspamd.sock mode=0666";\n'
            f'  bind_socket = "127.0.0.1:{port}"; }}\n'
            "actions { reject = 15; add_header = 6; greylist = null; }\n"
            f'lua = "{base}/rules.lua";\n'
        )
        argv: list[str | Path] = ["/usr/bin/rspamd", "-f", "-c", base / "rspamd.conf", "-u", USER, "-g", GROUP]
        program = Program("rspamd", argv, log=base / "log")
        try:
            for address in (f"inet:{port}@127.0.0.1", f"{base}/rspamd.sock"):
                program.wait_ready(address, START_LIMIT_S)
            yield Addresses(socket=f"{base}/rspamd.sock", tcp=f"127.0.0.1:{port}")
        finally:
            program.stop()
