# SPDX-License-Identifier: GPL-3.0-or-later
"""The start scripts of init/, with paths of a test's own, and stand-ins for the frameworks of two of them."""

from __future__ import annotations

import re
from pathlib import Path

INIT = Path(__file__).parents[2] / "init"
KINDS = ("sysv", "slackware", "openrc", "freebsd")

# What openrc-run does around a script, as far as ours uses it.
OPENRC = """
ebegin() { echo " * $1 ..."; }
eend() { [ "$1" -eq 0 ] || echo " * $2"; return "$1"; }
need() { :; }
use() { :; }
before() { :; }
word=$1 script=$2
. "$script"
depend
RC_CMD=$word
case $word in
    restart) stop && start ;;
    *) "$word" ;;
esac
"""
# FreeBSD's rc.subr, likewise.
RC_SUBR = """
load_rc_config() { defang_enable=YES; }
run_rc_command() {
    case " start stop restart status $extra_commands " in *" $1 "*) ;; *) return 1 ;; esac
    eval "command=\\$$1_cmd"
    $command
}
"""


def copy(kind: str, home: Path, *, defaults: Path, service: Path) -> Path:
    """The script of that kind, put into `home`, with this defaults file and this `defang-service`."""
    source = next((INIT / kind).iterdir())
    text = re.sub(r"^DEFAULTS=.*$", f"DEFAULTS={defaults}", source.read_text(), flags=re.MULTILINE)
    text = re.sub(r"^SERVICE=.*$", f"SERVICE={service}", text, flags=re.MULTILINE)
    if kind == "freebsd":
        (home / "rc.subr").write_text(RC_SUBR)
        text = text.replace(". /etc/rc.subr", f". {home}/rc.subr")
    path = home / source.name
    path.write_text(text)
    return path


def argv(shell: str, script: Path, kind: str, word: str) -> list[str]:
    """The command line that runs a word of such a script."""
    if kind == "openrc":
        return [shell, "-c", OPENRC, "openrc-run", word, str(script)]
    return [shell, str(script), word]
