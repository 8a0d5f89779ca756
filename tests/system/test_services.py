# SPDX-License-Identifier: GPL-3.0-or-later
"""Lookups of real mail servers, ticks and the site's own commands, with our worker and with the original's."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.daemons import MX_CTRL, Chain, Daemons, Origin, private_home, running
from tests.support.postfix import COMMANDS, LIBRARIES, ROOT
from tests.support.process import wait_until
from tests.support.sendmail import SENDMAIL, WITH_HOST_NAME

pytestmark = pytest.mark.system

LIMIT_S = 60
PYTHON_FILTER = """
from defang_worker import CommandFailed, Filter, Lookup

class Site(Filter):
    def filter_map(self, table, key):
        if key == "slow":
            return Lookup.temporary("not now")
        return Lookup.found(f"{table} has {key}") if key.startswith("a") else Lookup.not_found()
    def filter_tick(self, kind):
        with open(f"tick{kind}", "a") as file:
            file.write("x")
    def filter_unknown_command(self, command, words):
        if command == "greet" and not words:
            raise CommandFailed("whom?")
        return f"Hello {words[0]}" if command == "greet" else None
"""
PERL_FILTER = """
sub filter_map {
    my ($table, $key) = @_;
    return ('TEMP', 'not now') if $key eq 'slow';
    return $key =~ /^a/ ? ('OK', "$table has $key") : ('NOTFOUND', '');
}
sub filter_tick { my ($kind) = @_; open(my $file, '>>', $ENV{TICKS} . $kind); print $file 'x'; close($file); }
sub filter_unknown_cmd {
    my ($command, @words) = @_;
    return ('error:', 'Unknown command') unless $command eq 'greet';
    return @words ? ('ok', "Hello $words[0]") : ('error:', 'whom?');
}
1;
"""


@pytest.fixture(scope="module", params=list(Origin), ids=lambda origin: origin.value)
def daemons(request: pytest.FixtureRequest) -> Iterator[Daemons]:
    worker: Origin = request.param
    with private_home("services-") as home:
        source = home / ("site.py" if worker is Origin.OURS else "site.pl")
        source.write_text(PYTHON_FILTER if worker is Origin.OURS else PERL_FILTER)
        options = ("-m", "1", "-x", "2", "-N", f"unix:{home}/spool/map.sock", "-X", "1", "-P", "2", "-l")
        chain = Chain(filter=source, worker=worker, mux_options=options)
        os.environ["TICKS"] = f"{home}/spool/tick"
        with running(chain, home=home) as daemons:
            yield daemons


def postmap(daemons: Daemons, key: str) -> subprocess.CompletedProcess[str]:
    config = daemons.home / "postfix"
    config.mkdir(exist_ok=True)
    (config / "main.cf").write_text(
        f"compatibility_level = 3.6\nshlib_directory = {LIBRARIES}\nmeta_directory = {ROOT}/etc/postfix\n"
        f"daemon_directory = {LIBRARIES}/sbin\nqueue_directory = {config}\ndata_directory = {config}\n"
    )
    libraries = [LIBRARIES, ROOT / "usr/lib/x86_64-linux-gnu", ROOT / "lib/x86_64-linux-gnu"]
    return subprocess.run(
        [COMMANDS / "postmap", "-c", config, "-q", key, f"socketmap:unix:{daemons.spool}/map.sock:access"],
        env={**os.environ, "LD_LIBRARY_PATH": ":".join(map(str, libraries))},
        capture_output=True, text=True, timeout=LIMIT_S, check=False,
    )  # fmt: skip


def test_postfix_looks_keys_up(daemons: Daemons) -> None:
    found = postmap(daemons, "alice b")
    assert (found.stdout, found.returncode) == ("access has alice b\n", 0), found.stderr
    missing = postmap(daemons, "bob")
    assert (missing.stdout, missing.returncode) == ("", 1), missing.stderr
    failed = postmap(daemons, "slow")
    assert failed.stdout == ""
    assert "not now" in failed.stderr


def test_sendmail_looks_keys_up(daemons: Daemons) -> None:
    config = daemons.home / "sendmail.cf"
    config.write_text(f"V10/Berkeley\nO QueueDirectory={daemons.home}\nKaccess socket unix:{daemons.spool}/map.sock\n")
    done = subprocess.run(
        [*WITH_HOST_NAME, "mx.example.org", SENDMAIL, "-bt", "-C", config],
        input="/map access alice\n/map access bob\n/map access slow\n",
        capture_output=True, text=True, timeout=LIMIT_S, check=False,
    )  # fmt: skip
    assert "map_lookup: access (alice) returns access has alice (0)" in done.stdout, done.stdout + done.stderr
    assert "map_lookup: access (bob) no match (68)" in done.stdout
    assert "map_lookup: access (slow) no match (75)" in done.stdout


def test_each_kind_of_tick_comes_again_and_again(daemons: Daemons) -> None:
    def count(path: Path) -> int:
        return path.stat().st_size if path.exists() else 0

    paths = [daemons.spool / f"tick{kind}" for kind in range(2)]
    wait_until(lambda: all(count(path) >= 2 for path in paths), "not every kind of tick came twice")
    assert not (daemons.spool / "tick2").exists()


@pytest.mark.parametrize("control", list(Origin), ids=lambda origin: origin.value)
@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["greet", "Bob B"], "ok Hello Bob B\n"),
        (["GREET", "Bob"], "ok Hello Bob\n"),
        (["greet"], "error: whom?\n"),
        (["other"], "error: Unknown command\n"),
    ],
)
def test_a_command_of_the_sites_own_is_shown(daemons: Daemons, control: Origin, words: list[str], shown: str) -> None:
    done = subprocess.run(
        [MX_CTRL[control], "-s", daemons.mux_socket, *words],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=True,
    )
    assert done.stdout == shown
