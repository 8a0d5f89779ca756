# SPDX-License-Identifier: GPL-3.0-or-later
"""A machine of its own for a few commands: its own /etc, /usr/local, /var, /run, processes, network and host name.

Made of namespaces (unshare) over this machine's files, which stay as they are; with its processes it is gone when the
commands have ended. So documents that tell what root types can be followed to the letter.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

HOST_NAME = "mx.example.org"

# Changed in memory alone: what is seen is this machine's until something is written.
_SHADOWED = ("/etc", "/usr/local", "/usr/share/sendmail")
# Empty at the beginning.
_FRESH = ("/run", "/var/spool", "/var/log", "/var/mail")
_DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}


def _preparation(memory: Path) -> str:
    lines = ["set -e", f"hostname {HOST_NAME}", "ip link set lo up", f"mount -t tmpfs machine {memory}"]
    for number, directory in enumerate(_SHADOWED):
        upper, work = memory / f"upper{number}", memory / f"work{number}"
        lines.append(f"mkdir {upper} {work}")
        lines.append(f"mount -t overlay machine -o lowerdir={directory},upperdir={upper},workdir={work} {directory}")
    devices = memory / "dev"
    lines.append(f"mkdir {devices}")
    lines += [f"mknod -m 666 {devices}/{name} c {major} {minor}" for name, (major, minor) in _DEVICES.items()]
    lines += [f"ln -s /proc/self/fd {devices}/fd", f"mount --bind {devices} /dev"]
    # The memory lies below /run, which is hidden last.
    for number, directory in enumerate(reversed(_FRESH)):
        lines += [f"mkdir {memory}/fresh{number}", f"mount --bind {memory}/fresh{number} {directory}"]
    return "\n".join(lines) + "\n"


def environment(wheels: Path) -> dict[str, str]:
    """What commands find that install Defang: no network, so the packages as files; an interpreter that stays."""
    interpreter = Path(sys.base_prefix, "bin", f"python{sys.version_info.major}.{sys.version_info.minor}")
    return {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "WHEELS": str(wheels),
        "PYTHON": str(interpreter),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def run(script: str, *, home: Path, environment: Mapping[str, str], cwd: Path, limit_s: float) -> str:
    """Let sh run the script in a new machine; its output. subprocess.CalledProcessError if it fails.

    `home` is an empty directory of root's, on which the machine's memory is mounted.
    """
    whole = _preparation(home) + script
    # The processes of a machine end with its first one, and that one with us.
    argv = ["unshare", "--mount", "--net", "--uts", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc"]
    done = subprocess.run(
        [*argv, "sh", "-c", whole], cwd=cwd, env=dict(environment), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", timeout=limit_s, check=False,
    )  # fmt: skip
    if done.returncode:
        sys.stderr.write(done.stdout)
        raise subprocess.CalledProcessError(done.returncode, argv, done.stdout)
    return done.stdout
