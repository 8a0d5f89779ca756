# SPDX-License-Identifier: GPL-3.0-or-later
"""Install Defang, or take an installation back: `make install` and `make uninstall` call this (docs/install.md).

PREFIX/lib/defang gets a virtual environment with the programs, PREFIX/bin links to them, and the system's own places
the files that start them. What was made is written to PREFIX/share/defang/manifest.json. A file that the site has
changed stays as it is, and ours is put beside it with the suffix .new.
"""

from __future__ import annotations

import argparse
import grp
import os
import platform
import pwd
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from scripts.install_record import NEW_SUFFIX, OLD_SUFFIX, Foreign, Record

SOURCE = Path(__file__).resolve().parent.parent
# The paths that stand in the files of init/, and are replaced by those of the installation.
FILES_PREFIX = "/usr/local"
USER = "defang"
SPOOL = Path("/var/spool/MIMEDefang")
PRIVATE_DIRECTORIES = (SPOOL, Path("/var/spool/MD-Quarantine"), Path("/var/log/defang"))
# What the package is built from, beside its directories.
PACKAGE_FILES = ("pyproject.toml", "README.md", "LICENSE", "pytest_defang.py")
# Of pyproject.toml's extras, those that are for work on Defang itself.
DEVELOPMENT_EXTRAS = ("dev", "fuzz")
# Where they lie beside one another, so that what they refer to is found.
DOCUMENTS = ("README.md", "LICENSE", "protocol.md", "docs/*.md", "docs/filters/*", "init/README.md")
# What an administrator makes to have a start script called, as NEXT_STEPS tells: links that lead to it.
START_LINKS = ("etc/rc?.d/*", "etc/rc.d/rc?.d/*", "etc/systemd/system/*.wants/*", "etc/runlevels/*/*")
COMMANDS = ("defang-milter", "defang-mux", "defang-worker", "defang-service", "md-mx-ctrl")
INITS = ("systemd", "sysv", "slackware", "openrc", "freebsd", "none")


class Refused(Exception):
    """Nothing more is done; the message says why."""


@dataclass(frozen=True)
class Plan:
    """Where things go: `prefix` as the installed system sees it, `destdir` in front of it while a package is made."""

    destdir: Path
    prefix: Path
    init: str
    python: str
    wheels: Path | None
    extras: tuple[str, ...]

    @property
    def home(self) -> Path:
        """The virtual environment, in the installed system."""
        return self.prefix / "lib/defang"

    @property
    def is_package(self) -> bool:
        """Whether files are gathered for another machine, on which users and owners will be made."""
        return self.destdir != Path("/")

    def there(self, path: Path) -> Path:
        """Where a path of the installed system is now."""
        return self.destdir / path.relative_to("/")


def system_init() -> str:
    """What starts services on this machine."""
    if platform.system() == "FreeBSD":
        return "freebsd"
    for sign, init in (
        ("/run/systemd/system", "systemd"),
        ("/etc/slackware-version", "slackware"),
        ("/sbin/openrc-run", "openrc"),
        ("/etc/init.d", "sysv"),
    ):
        if Path(sign).exists():
            return init
    return "none"


def _library(prefix: Path, folder: str) -> Path:
    """Where systemd's tools look for a package's files: below /usr and /usr/local, or else in /etc alone."""
    if str(prefix) in ("/usr", "/usr/local"):
        return prefix / "lib" / folder
    return Path("/etc") / folder


def files(plan: Plan) -> Iterable[tuple[str, Path, int]]:
    """What is copied: path in the source tree, path in the installed system, mode."""
    share = plan.prefix / "share/defang"
    yield "init/share/sendmail.mc", share / "sendmail.mc", 0o644
    yield "init/share/postfix-main.cf", share / "postfix-main.cf", 0o644
    for pattern in DOCUMENTS:
        for source in sorted(SOURCE.glob(pattern)):
            name = str(source.relative_to(SOURCE))
            yield name, share / name, 0o644
    yield "docs/filters/suggested_minimum.py", Path("/etc/mail/defang-filter.py"), 0o644
    defaults = "/etc/default/defang"
    match plan.init:
        case "systemd":
            for name in ("defang-mux", "defang-milter"):
                yield f"init/systemd/{name}.service", _library(plan.prefix, "systemd/system") / f"{name}.service", 0o644
            yield "init/share/sysusers.conf", _library(plan.prefix, "sysusers.d") / "defang.conf", 0o644
            yield "init/share/tmpfiles.conf", _library(plan.prefix, "tmpfiles.d") / "defang.conf", 0o644
        case "sysv":
            yield "init/sysv/defang", Path("/etc/init.d/defang"), 0o755
        case "slackware":
            yield "init/slackware/rc.defang", Path("/etc/rc.d/rc.defang"), 0o755
        case "openrc":
            yield "init/openrc/defang", Path("/etc/init.d/defang"), 0o755
            defaults = "/etc/conf.d/defang"
        case "freebsd":
            yield "init/freebsd/defang", Path("/usr/local/etc/rc.d/defang"), 0o755
            defaults = "/usr/local/etc/defang.conf"
    yield "init/share/defaults", Path(defaults), 0o644
    if plan.init not in ("freebsd", "none"):
        yield "init/share/logrotate", Path("/etc/logrotate.d/defang"), 0o644


def _content(plan: Plan, source: str) -> bytes:
    text = (SOURCE / source).read_text()
    if source.startswith("init/"):
        text = text.replace(f"{FILES_PREFIX}/bin/", f"{plan.prefix}/bin/")
    return text.encode()


def known_extras() -> list[str]:
    """What EXTRAS may name, in the order of pyproject.toml."""
    project = tomllib.loads((SOURCE / "pyproject.toml").read_text())["project"]
    return [name for name in project["optional-dependencies"] if name not in DEVELOPMENT_EXTRAS]


def _extras(given: str) -> tuple[str, ...]:
    named = tuple(name for name in given.replace(",", " ").split())
    known = known_extras()
    if unknown := [name for name in named if name not in known]:
        raise Refused(f"EXTRAS: there is no {', '.join(unknown)}; there are {', '.join(known)}")
    return named


def install(plan: Plan, say: Callable[[str], None], programs: Callable[[Plan, Path], None]) -> None:
    """Do it all; `programs` fills a directory with the virtual environment. A second time, only what has changed."""
    if not plan.is_package and os.geteuid() != 0:
        raise Refused("installing into the system is for root; DESTDIR=DIRECTORY gathers the files for a package")
    record = Record.load(plan.there(plan.prefix / "share/defang/manifest.json"), plan.destdir, say)
    links = {
        path: plan.home / within
        for name in COMMANDS
        for path, within in (
            (plan.prefix / "bin" / name, f"bin/{name}"),
            (plan.prefix / "share/man/man8" / f"{name}.8", f"share/man/man8/{name}.8"),
        )
    }
    record.refuse_foreign(links)
    # The filter needs what it needed before: an upgrade that does not name it has to keep it.
    plan = replace(plan, extras=tuple(sorted({*record.extras, *plan.extras})))
    if not plan.is_package:
        _make_user(record, say)
    _make_programs(plan, record, say, programs)
    for path, target in links.items():
        record.link(path, target)
    for source, target, mode in files(plan):
        record.file(target, _content(plan, source), mode)
    for directory in PRIVATE_DIRECTORIES:
        record.private_directory(directory, None if plan.is_package else USER)
    record.save()


def _make_user(record: Record, say: Callable[[str], None]) -> None:
    try:
        pwd.getpwnam(USER)
    except KeyError:
        pass
    else:
        return
    if platform.system() == "FreeBSD":
        command = ["pw", "useradd", USER, "-c", "Defang mail filter", "-d", str(SPOOL), "-s", "/usr/sbin/nologin"]
    else:
        shell = next((path for path in ("/usr/sbin/nologin", "/sbin/nologin") if Path(path).exists()), "/bin/false")
        group = ["--gid", USER] if _has_group() else ["--user-group"]
        command = ["useradd", "--system", *group, "--no-create-home", "--home-dir", str(SPOOL), "--shell", shell, USER]
    subprocess.run(command, check=True)
    record.users.append(USER)
    # At once, for the next step may fail.
    record.save()
    say(f"user {USER} made")


def _has_group() -> bool:
    try:
        grp.getgrnam(USER)
    except KeyError:
        return False
    return True


def _make_programs(
    plan: Plan, record: Record, say: Callable[[str], None], programs: Callable[[Plan, Path], None]
) -> None:
    """The environment, made beside the old one and put into its place when it is whole."""
    home = plan.there(plan.home)
    new, old = (home.with_name(home.name + suffix) for suffix in (NEW_SUFFIX, OLD_SUFFIX))
    if home.exists() and str(plan.home) not in record.trees:
        raise Refused(f"{home} is there, and no installation of ours: it is in the way")
    record.make_parents(home)
    for left in (new, old):
        shutil.rmtree(left, ignore_errors=True)
    record.tree(plan.home)
    if plan.extras:
        say(f"with {', '.join(plan.extras)}")
    programs(plan, new)
    record.extras = list(plan.extras)
    record.save()
    if home.exists():
        home.rename(old)
    new.rename(home)
    shutil.rmtree(old, ignore_errors=True)


def build_environment(plan: Plan, home: Path) -> None:
    """A virtual environment with the package, as if it had been made where it will be in the end."""
    subprocess.run([plan.python, "-m", "venv", str(home)], check=True)
    python = str(home / "bin/python")
    environment = dict(os.environ)
    pip = [python, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-compile"]
    if plan.wheels is None:
        environment["PIP_CONSTRAINT"] = str(SOURCE / "constraints.txt")
    else:
        # What is there is what is meant: a build machine may have no network.
        pip += ["--no-index", f"--find-links={plan.wheels}"]
    with tempfile.TemporaryDirectory(prefix="defang-") as copy:
        # setuptools writes into the tree that it builds from.
        for part in (*SOURCE.glob("defang_*/"), *map(SOURCE.joinpath, PACKAGE_FILES)):
            if part.is_dir():
                shutil.copytree(part, Path(copy, part.name), ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(part, copy)
        subprocess.run([*pip, f"{copy}[{','.join(plan.extras)}]" if plan.extras else copy], check=True, env=environment)
    write_pages = [python, "-B", "-m", "scripts.manual_pages", str(home / "share/man/man8")]
    subprocess.run([*write_pages, str(plan.prefix / "share/defang")], cwd=SOURCE, check=True)
    for script in (home / "bin").iterdir():
        if script.name.lower().startswith("activate"):
            script.unlink()
        elif not script.is_symlink():
            _rename_in(script, home, plan.home)
    _rename_in(home / "pyvenv.cfg", home, plan.home)
    # All anew, for those of pip have been made already, with paths of here in them.
    compile_all = [python, "-m", "compileall", "-q", "-f", "-s", str(home), "-p", str(plan.home), str(home / "lib")]
    subprocess.run(compile_all, check=True)


def _rename_in(file: Path, made_in: Path, lives_in: Path) -> None:
    file.write_bytes(file.read_bytes().replace(str(made_in).encode(), str(lives_in).encode()))


def uninstall(plan: Plan, say: Callable[[str], None]) -> None:
    """Take back what the manifest has, but for files that the site has changed and directories in use."""
    manifest = plan.there(plan.prefix / "share/defang/manifest.json")
    record = Record.load(manifest, plan.destdir, say)
    if not manifest.exists():
        raise Refused(f"nothing is installed there: {manifest} is missing")
    if not plan.is_package:
        _refuse_running()
    links = record.links_to_files(START_LINKS)
    record.take_back()
    for link, target in links:
        if not plan.there(target).exists():
            link.unlink()
            say(f"removed /{link.relative_to(plan.destdir)}")
    for user in record.users:
        # The number would go to the next user made, and with it what is left of the mail.
        if any(plan.there(directory).exists() for directory in PRIVATE_DIRECTORIES):
            say(f"user {user} kept: some of its directories are")
        elif not plan.is_package:
            command = ["pw", "userdel"] if platform.system() == "FreeBSD" else ["userdel"]
            subprocess.run([*command, user], check=True)
            say(f"user {user} removed")
    for hint, shipped in LEFT_TO_THE_SITE:
        if not shipped or shipped in record.files:
            say(f"left to you: {hint}")


def _refuse_running() -> None:
    for lock in _locks():
        raise Refused(f"{lock.name.partition('.')[0]} may be running ({lock} is there): stop the service first")


def _locks() -> list[Path]:
    """The lock files of daemons that run, or have crashed."""
    return [lock for name in ("defang-mux", "defang-milter") if (lock := SPOOL / f"{name}.pid.lock").exists()]


# What no manifest knows of, and the file that was installed for it.
LEFT_TO_THE_SITE = (
    (
        "INPUT_MAIL_FILTER in sendmail.mc, or smtpd_milters in main.cf: with it, the mail server puts off all mail",
        "",
    ),
    ("the lines in /etc/rc.d/rc.sendmail (docs/slackware.md)", "/etc/rc.d/rc.defang"),
    ("sysrc -x defang_enable", "/usr/local/etc/rc.d/defang"),
)
NEXT_STEPS = {
    "systemd": "systemctl daemon-reload && systemctl enable --now defang-mux defang-milter",
    "sysv": "update-rc.d defang defaults && /etc/init.d/defang start",
    "slackware": "/etc/rc.d/rc.defang start, and its lines in /etc/rc.d/rc.sendmail (docs/slackware.md)",
    "openrc": "rc-update add defang default && rc-service defang start",
    "freebsd": "sysrc defang_enable=YES && service defang start",
    "none": "defang-service start",
}
NEXT_AFTER_RENEWAL = {
    "systemd": "systemctl daemon-reload && systemctl restart defang-mux defang-milter",
    "sysv": "/etc/init.d/defang restart",
    "slackware": "/etc/rc.d/rc.defang restart",
    "openrc": "rc-service defang restart",
    "freebsd": "service defang restart",
    "none": "defang-service restart",
}


def next_step(plan: Plan, *, is_running: bool) -> str:
    """What is left to do, in a line."""
    if is_running:
        return NEXT_AFTER_RENEWAL[plan.init]
    share = plan.prefix / "share/defang"
    return f"{NEXT_STEPS[plan.init]}; then the mail server's lines, in {share}/sendmail.mc or postfix-main.cf"


def _plan(given: argparse.Namespace) -> Plan:
    prefix = Path(given.prefix)
    if not prefix.is_absolute():
        raise Refused(f"PREFIX={prefix} has to begin with /")
    return Plan(
        destdir=Path(given.destdir or "/").absolute(),
        prefix=prefix,
        init=given.init or system_init(),
        python=given.python or sys.executable,
        wheels=Path(given.wheels).absolute() if given.wheels else None,
        extras=_extras(given.extras),
    )


def main(arguments: list[str]) -> int:
    """The command line; 1 and a reason if it was not done."""
    parser = argparse.ArgumentParser(prog="make", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("word", choices=("install", "uninstall"))
    parser.add_argument("--destdir", default="")
    parser.add_argument("--prefix", default=FILES_PREFIX)
    parser.add_argument("--init", choices=INITS)
    parser.add_argument("--python", default="")
    parser.add_argument("--wheels", default="")
    parser.add_argument("--extras", default="")
    given = parser.parse_args([word for word in arguments if word != "--init="])
    # What is made is for everyone to read, whatever the umask of whoever makes it.
    os.umask(0o022)
    try:
        plan = _plan(given)
        if given.word == "uninstall":
            uninstall(plan, print)
            return 0
        install(plan, print, build_environment)
        print(f"next: {next_step(plan, is_running=not plan.is_package and bool(_locks()))}")
    except (Refused, Foreign) as error:
        print(f"make {given.word}: {error}", file=sys.stderr)
        return 1
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"make {given.word}: {error}; make uninstall takes back what was made", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
