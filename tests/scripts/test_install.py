# SPDX-License-Identifier: GPL-3.0-or-later
"""What `make install` makes, renews and takes back. The programs are stood in for: building them takes its time."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest

from scripts import install
from scripts.install import COMMANDS, INITS, Plan, Refused
from scripts.install_record import Foreign, Record


def _programs(plan: Plan, home: Path) -> None:
    (home / "bin").mkdir(parents=True)
    (home / "share/man/man8").mkdir(parents=True)
    for name in COMMANDS:
        (home / "bin" / name).write_text("#!/bin/sh\n")
        (home / "share/man/man8" / f"{name}.8").write_text(".TH\n")


class Site:
    """A directory that stands for a system."""

    def __init__(self, root: Path, init: str = "sysv", prefix: str = "/usr/local") -> None:
        self.root = root
        self.said: list[str] = []
        self.plan = Plan(destdir=root, prefix=Path(prefix), init=init, python="python3", wheels=None, extras=())

    def install(self) -> list[str]:
        self.said.clear()
        install.install(self.plan, self.said.append, _programs)
        return self.said

    def uninstall(self) -> list[str]:
        self.said.clear()
        install.uninstall(self.plan, self.said.append)
        return self.said

    def path(self, name: str) -> Path:
        return self.root / name.lstrip("/")

    def all(self) -> dict[str, tuple[int, bytes]]:
        found = {}
        for path in sorted(self.root.rglob("*")):
            content = str(path.readlink()).encode() if path.is_symlink() else b""
            if path.is_file() and not path.is_symlink():
                content = path.read_bytes()
            found[str(path.relative_to(self.root))] = (path.lstat().st_mode, content)
        return found


@pytest.fixture(params=INITS)
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Site:
    return Site(tmp_path / "root", request.param)


def test_a_second_time_changes_nothing(site: Site) -> None:
    site.install()
    before = site.all()
    assert site.install() == ["programs /usr/local/lib/defang"]
    assert site.all() == before


def test_taking_back_leaves_nothing(site: Site) -> None:
    site.install()
    assert len(site.all()) > 15
    site.uninstall()
    assert site.all() == {}
    assert site.root.is_dir()


def test_every_file_that_stays_is_told(site: Site) -> None:
    said = site.install()
    told = {line.split()[1].rstrip(",") for line in said if line.split()[0] in ("file", "link", "directory")}
    there = {
        f"/{name}" for name, _ in site.all().items()
        if not site.path(name).is_dir() or site.path(name).is_symlink()
    }  # fmt: skip
    programs = {name for name in there if name.startswith("/usr/local/lib/defang/")}
    assert there - programs - {"/usr/local/share/defang/manifest.json"} <= told


@pytest.mark.parametrize("init", INITS)
def test_the_prefix_stands_in_all_that_is_installed(tmp_path: Path, init: str) -> None:
    site = Site(tmp_path / "root", init, prefix="/opt/mail")
    site.install()
    documents = {
        str(path).lstrip("/") for source, path, _ in install.files(site.plan) if not source.startswith("init/")
    }
    texts = {name: content.decode() for name, (_, content) in site.all().items() if name not in documents}
    assert not [name for name, text in texts.items() if "/usr/local/bin" in text]
    if init != "none":
        assert [name for name, text in texts.items() if "/opt/mail/bin/defang-service" in text]


def test_what_a_site_has_changed_stays_and_the_new_lies_beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(tmp_path / "root")
    site.install()
    filter_file, defaults = site.path("/etc/mail/defang-filter.py"), site.path("/etc/default/defang")
    filter_file.write_text("# ours\n")
    old_defaults = defaults.read_bytes()
    newer = tmp_path / "newer"
    monkeypatch.setattr(install, "SOURCE", newer)
    for source, _, _ in install.files(site.plan):
        (newer / source).parent.mkdir(parents=True, exist_ok=True)
        (newer / source).write_text("# newer\n")
    said = site.install()
    assert filter_file.read_text() == "# ours\n"
    assert filter_file.with_name("defang-filter.py.new").read_text() == "# newer\n"
    assert defaults.read_text() == "# newer\n" != old_defaults.decode()
    assert any("defang-filter.py.new" in line for line in said)
    # Once more, with the filter still the site's.
    site.install()
    assert filter_file.read_text() == "# ours\n"
    assert any("kept /etc/mail/defang-filter.py" in line for line in site.uninstall())
    assert {name for name in site.all() if site.path(name).is_file()} == {"etc/mail/defang-filter.py"}


def test_the_same_version_once_more_puts_nothing_beside_a_changed_file(tmp_path: Path) -> None:
    site = Site(tmp_path / "root")
    site.install()
    site.path("/etc/default/defang").write_text("# ours\n")
    before = site.all()
    site.install()
    assert site.all() == before


def test_a_file_that_was_there_before_is_the_sites(tmp_path: Path) -> None:
    site = Site(tmp_path / "root")
    filter_file = site.path("/etc/mail/defang-filter.py")
    filter_file.parent.mkdir(parents=True)
    filter_file.write_text("# from before\n")
    site.install()
    assert filter_file.read_text() == "# from before\n"
    site.uninstall()
    assert filter_file.read_text() == "# from before\n"


def test_a_start_script_that_was_switched_off_stays_so(tmp_path: Path) -> None:
    site = Site(tmp_path / "root", "slackware")
    site.install()
    script = site.path("/etc/rc.d/rc.defang")
    script.chmod(0o644)
    site.install()
    assert script.stat().st_mode & 0o777 == 0o644


def test_a_program_that_is_not_ours_is_not_replaced(tmp_path: Path) -> None:
    site = Site(tmp_path / "root", prefix="/usr")
    other = site.path("/usr/bin/md-mx-ctrl")
    other.parent.mkdir(parents=True)
    other.write_text("MIMEDefang's\n")
    with pytest.raises(Foreign, match="md-mx-ctrl"):
        site.install()
    assert list(site.all()) == ["usr", "usr/bin", "usr/bin/md-mx-ctrl"]


def test_an_installation_that_broke_off_can_be_taken_back(tmp_path: Path) -> None:
    site = Site(tmp_path / "root")
    for broken_at in range(1, 14):
        lines = 0

        def say(line: str, limit: int = broken_at) -> None:
            nonlocal lines
            lines += 1
            if lines == limit:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            install.install(site.plan, say, _programs)
        site.uninstall()
        assert site.all() == {}, broken_at


def test_a_renewal_that_broke_off_is_finished_the_next_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(tmp_path / "root")
    site.install()
    newer = tmp_path / "newer"
    for source, _, _ in install.files(site.plan):
        (newer / source).parent.mkdir(parents=True, exist_ok=True)
        (newer / source).write_text("# newer\n")
    monkeypatch.setattr(install, "SOURCE", newer)
    write = Record._write

    def interrupted(record: Record, there: Path, content: bytes, mode: int) -> None:
        if there.name == "defang":
            raise KeyboardInterrupt
        write(record, there, content, mode)

    with monkeypatch.context() as broken:
        broken.setattr(Record, "_write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            site.install()
    site.install()
    for _, path, _ in install.files(site.plan):
        assert site.path(str(path)).read_text() == "# newer\n"


def test_mail_that_is_kept_back_outlasts_the_installation(tmp_path: Path) -> None:
    site = Site(tmp_path / "root")
    site.install()
    kept = site.path("/var/spool/MD-Quarantine/message")
    kept.write_text("kept back")
    assert any("kept /var/spool/MD-Quarantine" in line for line in site.uninstall())
    assert kept.read_text() == "kept back"


def test_directories_of_the_daemons_are_closed_to_others(tmp_path: Path) -> None:
    site = Site(tmp_path / "root")
    before = os.umask(0)
    try:
        site.install()
    finally:
        os.umask(before)
    for directory in install.PRIVATE_DIRECTORIES:
        assert site.path(str(directory)).stat().st_mode & 0o777 == 0o750


def test_where_nothing_is_installed_there_is_nothing_to_take_back(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="nothing is installed"):
        Site(tmp_path / "root").uninstall()


def test_the_manifest_is_what_was_made(site: Site) -> None:
    site.install()
    manifest = json.loads(site.path("/usr/local/share/defang/manifest.json").read_text())
    pages = {f"/usr/local/share/man/man8/{name}.8" for name in COMMANDS}
    assert set(manifest["links"]) == {f"/usr/local/bin/{name}" for name in COMMANDS} | pages
    assert {path for path in manifest["files"] if not site.path(path).is_file()} == set()


def test_a_renewal_has_the_extras_of_before_and_those_that_are_named(tmp_path: Path) -> None:
    site = Site(tmp_path / "root")
    built: list[tuple[str, ...]] = []

    def programs(plan: Plan, home: Path) -> None:
        built.append(plan.extras)
        _programs(plan, home)

    for named in (("clamav",), (), ("spf",), ()):
        install.install(replace(site.plan, extras=named), site.said.append, programs)
    assert built == [("clamav",), ("clamav",), ("clamav", "spf"), ("clamav", "spf")]
    assert "with clamav, spf" in site.said


def test_extras_of_a_renewal_that_broke_off_are_those_of_the_programs_that_are_left(tmp_path: Path) -> None:
    site = Site(tmp_path / "root")
    site.install()

    def broken(plan: Plan, home: Path) -> None:
        raise OSError("no network")

    with pytest.raises(OSError, match="no network"):
        install.install(replace(site.plan, extras=("clamav",)), site.said.append, broken)
    site.install()
    assert not any(line.startswith("with ") for line in site.said)


@pytest.mark.parametrize("extras", ["clamv", "clamav,clamv", "dev"])
def test_an_extra_that_does_not_exist_is_refused_with_those_that_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], extras: str
) -> None:
    assert install.main(["install", f"--destdir={tmp_path}/root", "--init=none", f"--extras={extras}"]) == 1
    said = capsys.readouterr().err
    assert f"there is no {extras.rsplit(',', maxsplit=1)[-1]}; there are clamav, " in said
    assert list(tmp_path.iterdir()) == []


def test_the_page_names_every_extra() -> None:
    page = (install.SOURCE / "docs/install.md").read_text()
    row = next(line for line in page.splitlines() if line.startswith("| `EXTRAS`"))
    assert {name for name in install.known_extras() if f"`{name}`" not in row} == set()


@pytest.mark.parametrize(
    ("init", "link", "target"),
    [
        ("sysv", "/etc/rc2.d/S01defang", "../init.d/defang"),
        ("systemd", "/etc/systemd/system/multi-user.target.wants/defang-mux.service",
         "/usr/local/lib/systemd/system/defang-mux.service"),
        ("openrc", "/etc/runlevels/default/defang", "/etc/init.d/defang"),
    ],
)  # fmt: skip
def test_links_by_which_the_system_starts_it_go_with_what_they_lead_to(
    tmp_path: Path, init: str, link: str, target: str
) -> None:
    site = Site(tmp_path / "root", init)
    site.install()
    ours = site.path(link)
    ours.parent.mkdir(parents=True)
    ours.symlink_to(target)
    others = ours.with_name("other")
    others.symlink_to("../init.d/other")
    assert f"removed {link}" in site.uninstall()
    assert not ours.is_symlink()
    assert others.is_symlink()


def test_a_start_script_that_the_site_has_changed_keeps_its_links(tmp_path: Path) -> None:
    site = Site(tmp_path / "root", "sysv")
    site.install()
    site.path("/etc/init.d/defang").write_text("# ours\n")
    link = site.path("/etc/rc2.d/S01defang")
    link.parent.mkdir()
    link.symlink_to("../init.d/defang")
    site.uninstall()
    assert link.exists()


def test_what_only_the_site_can_take_back_is_told(site: Site) -> None:
    site.install()
    left = [line for line in site.uninstall() if line.startswith("left to you: ")]
    assert "smtpd_milters in main.cf" in left[0]
    assert ("rc.sendmail" in left[-1]) == (site.plan.init == "slackware")
    assert ("defang_enable" in left[-1]) == (site.plan.init == "freebsd")


def test_a_renewal_under_a_running_service_is_followed_by_a_restart(site: Site) -> None:
    first = install.next_step(site.plan, is_running=False)
    assert "restart" not in first
    assert "/usr/local/share/defang/sendmail.mc or postfix-main.cf" in first
    assert "restart" in install.next_step(site.plan, is_running=True)


def test_documents_and_example_filters_find_one_another_where_they_are_installed(site: Site) -> None:
    site.install()
    share = site.path("/usr/local/share/defang")
    assert (share / "docs/filters/classic_site.py").exists()
    links = {
        page.parent / target
        for page in share.rglob("*.md")
        for target in re.findall(r"\]\(([\w./-]+)(?:#[^)]*)?\)", page.read_text())
    }
    assert len(links) > 30
    assert sorted(str(link) for link in links if not link.exists()) == []
