# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be known of the service before anything is stopped for it: options, filter, and whether they fit together.

Each daemon reads its own options, and the worker program the filter; nothing of theirs is repeated
here. Called by `operations`, which stops and starts only what has passed.
"""

import os
import pwd
import resource
import subprocess
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from defang_service.variables import WORKER, Daemon, Service

# Options and a configuration file are read in a fraction of that.
_OPTIONS_LIMIT_S: Final = 30.0
# Imports of a site's filter may take their time.
_FILTER_LIMIT_S: Final = 120.0
_KIB: Final = 1024

# Callbacks that the milter asks for only if it is told to: its setting, the variable, the option.
_ON_REQUEST: Final = {
    "filter_relay": ("relay-check", "MX_RELAY_CHECK=yes", "-r"),
    "filter_helo": ("helo-check", "MX_HELO_CHECK=yes", "-H"),
    "filter_sender": ("sender-check", "MX_SENDER_CHECK=yes", "-s"),
    "filter_recipient": ("recipient-check", "MX_RECIPIENT_CHECK=yes", "-t"),
}


class Failed(Exception):
    """It was not done; the message says what went wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a trial that passed has said: the worker of the filter, and we of what hardly is as it was meant."""

    said: str
    remarks: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """Tries a service; `programs` is where the commands lie, `environment` what the daemons will have."""

    service: Service
    environment: Mapping[str, str]
    programs: Path

    def run(self) -> Found:
        """Tries all of it. Raises `Failed`."""
        mux, milter = (self._settings(daemon) for daemon in (self.service.mux, self.service.milter))
        said, remarks = self._filter(mux.get("memory-limit", 0))
        return Found(said=said, remarks=(*self.service.remarks, *never_called(said, milter), *remarks))

    def filter(self) -> str:
        """Lets a worker load the filter, as the daemons' user and in the spool; what it says. Raises `Failed`."""
        done = self._load()
        if done.returncode:
            raise Failed(f"the filter cannot be used:\n{done.stdout.rstrip()}")
        return done.stdout.strip()

    def _settings(self, daemon: Daemon) -> dict[str, Any]:
        """The daemon's settings, by the names that they have in a configuration file, as it has read its options."""
        command = [str(self.programs / daemon.program), *daemon.options, "--print-config"]
        done = _run(command, limit_s=_OPTIONS_LIMIT_S, env=self.environment, stderr=subprocess.PIPE)
        if done.returncode:
            # Usage, and the reason in the last line.
            raise Failed((done.stderr.strip().splitlines() or [f"{command[0]}: exit status {done.returncode}"])[-1])
        try:
            settings = tomllib.loads(done.stdout)
        except tomllib.TOMLDecodeError:
            # -h or -v: it would print that, and end.
            raise Failed(f"{daemon.program} does not serve with these options: {' '.join(daemon.options)}") from None
        own = settings.get(daemon.program.removeprefix("defang-"), {})
        return own if isinstance(own, dict) else {}

    def _filter(self, limit_kb: int) -> tuple[str, list[str]]:
        if not limit_kb:
            return self.filter(), []
        # A filter that takes half of the memory before there is any mail hardly leaves enough for a message.
        done = self._load(limit_kb=limit_kb // 2)
        if done.returncode == 0:
            return done.stdout.strip(), []
        said = self.filter()
        limit = f"{limit_kb} kilobytes of memory (MX_MAX_AS or -M)"
        if self._load(limit_kb=limit_kb).returncode:
            raise Failed(f"a worker cannot load the filter within {limit}")
        return said, [f"a worker has {limit}, of which the filter alone takes half: mail may be put off for want of it"]

    def _load(self, limit_kb: int = 0) -> subprocess.CompletedProcess[str]:
        rules = () if self.service.rules is None else ("-f", self.service.rules)
        command = [self.service.worker or str(self.programs / WORKER), *rules, "-test"]
        return _run(
            command, limit_s=_FILTER_LIMIT_S, env=self.environment, stderr=subprocess.STDOUT, cwd=self.service.spool,
            preexec_fn=_within(limit_kb) if limit_kb else None, **become(account(self.service.user)),
        )  # fmt: skip


def never_called(said: str, milter: Mapping[str, Any]) -> list[str]:
    """A line for each callback, of those that a worker names (`... callbacks: a, b`), that no option asks for."""
    callbacks = said.rpartition("callbacks: ")[2].partition("\n")[0].split(", ")
    return [
        f"the filter has {callback}, which is never called without {variable} ({option})"
        for callback, (setting, variable, option) in _ON_REQUEST.items()
        if callback in callbacks and milter.get(setting) is False
    ]


def account(user: str) -> pwd.struct_passwd:
    """The daemons' user. Raises `Failed`."""
    try:
        return pwd.getpwnam(user)
    except KeyError:
        raise Failed(f"there is no user {user!r} (MX_USER)") from None


def become(user: pwd.struct_passwd) -> dict[str, Any]:
    """Arguments of subprocess.run for a program that is to run as that user."""
    if os.geteuid() == user.pw_uid:
        return {}
    groups = os.getgrouplist(user.pw_name, user.pw_gid)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": groups}


def _within(limit_kb: int) -> Callable[[], None]:
    """Sets the limits that the multiplexor sets for a worker with -M."""

    def limit() -> None:
        for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
            _, hard = resource.getrlimit(kind)
            resource.setrlimit(kind, (limit_kb * _KIB, hard))

    return limit


def _run(command: list[str], *, limit_s: float, **how: Any) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, errors="backslashreplace",
            timeout=limit_s, check=False, **how,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        raise Failed(f"{command[0]}: {error}") from None
