# SPDX-License-Identifier: GPL-3.0-or-later
"""What confined processes can do and what not, in processes of their own: none of it can be taken back."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from defang_worker.confinement import seccomp

LIMIT_S = 15
LANDLOCK = """
import json, os, subprocess, sys
from defang_worker.confinement import landlock
def outcome(action, *arguments):
    try:
        action(*arguments)
    except OSError as error:
        return error.errno
    return 0
def write(path):
    with open(path, "w") as file:
        file.write("x")
def append(path):
    with open(path, "a") as file:
        file.write("x")
base = sys.argv[1]
readable = ["/usr", "/lib", "/lib64", "/bin", "/etc", "/proc", sys.prefix, *[path for path in sys.path if path]]
missing = landlock.confine(
    readable=[*readable, base + "/read"], writable=[base + "/write", base + "/none"], has=landlock.version()
)
print(json.dumps({
    "missing": [path for path in missing if path.startswith(base)],
    "write": [
        outcome(write, base + "/write/new"), outcome(os.rename, base + "/write/new", base + "/write/other"),
        outcome(os.mkdir, base + "/write/directory"), outcome(os.unlink, base + "/write/other"),
        outcome(write, "/dev/null"), outcome(subprocess.check_call, ["/bin/true"]), outcome(open, base + "/read/file"),
        outcome(os.kill, os.getpid(), 0),
    ],
    "denied": [
        outcome(write, base + "/read/new"), outcome(write, base + "/read/file"), outcome(append, base + "/read/file"),
        outcome(os.truncate, base + "/read/file", 0), outcome(open, base + "/other/file"),
        outcome(os.listdir, base + "/other"), outcome(os.unlink, base + "/read/file"),
        outcome(os.execv, base + "/write/program", ["program"]),
    ],
    "signal": outcome(os.kill, os.getppid(), 0),
    "version": landlock.version(),
}))
"""


def test_confined_process_writes_and_reads_only_where_it_may(tmp_path: Path) -> None:
    for name in ("read", "write", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("x")
    (tmp_path / "write/program").write_text("#!/bin/true\n")
    (tmp_path / "write/program").chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", LANDLOCK, str(tmp_path)], capture_output=True, check=True, timeout=LIMIT_S
    )
    found = json.loads(done.stdout)
    assert found["missing"] == [str(tmp_path / "none")]
    assert set(found["write"]) == {0}
    assert set(found["denied"]) <= {errno.EACCES, errno.EPERM}
    assert 0 not in found["denied"]
    assert found["signal"] == (errno.EPERM if found["version"] >= 6 else 0)
    assert (tmp_path / "read/file").read_text() == "x"


SECCOMP = """
import ctypes, errno, json, os, subprocess, threading
from defang_worker.confinement import seccomp
libc = ctypes.CDLL(None, use_errno=True)
own = seccomp.architecture()
def outcome(number, *arguments):
    ctypes.set_errno(0)
    libc.syscall(ctypes.c_long(number), *arguments)
    return ctypes.get_errno()
before = [outcome(number, -1, -1, -1, -1, -1) for number in seccomp.NEW_CALLS]
seccomp.deny(own)
numbers = [number for number in (*own.denied, *seccomp.NEW_CALLS)]
thread = threading.Thread(target=str)
thread.start()
thread.join()
print(json.dumps({
    "before": before,
    "denied": [outcome(number, -1, -1, -1, -1, -1) for number in numbers],
    "namespace": outcome(own.clone, 0x10000000 | 17, 0, 0, 0, 0),
    "clone3": outcome(435, 0, 0),
    "program": subprocess.run(["/bin/true"]).returncode,
    "forked": os.waitpid(os.spawnv(os.P_NOWAIT, "/bin/true", ["true"]), 0)[1],
    "flag": open("/proc/self/status").read().split("NoNewPrivs:")[1].split()[0],
}))
"""


def test_denied_calls_fail_and_programs_and_threads_start_all_the_same() -> None:
    done = subprocess.run([sys.executable, "-c", SECCOMP], capture_output=True, check=True, timeout=LIMIT_S)
    found = json.loads(done.stdout)
    assert set(found["before"]) != {errno.EPERM}
    assert set(found["denied"]) == {errno.EPERM}
    assert found["namespace"] == errno.EPERM
    assert found["clone3"] == errno.ENOSYS
    assert (found["program"], found["forked"], found["flag"]) == (0, 0, "1")


def test_all_known_architectures_deny_the_same_and_need_no_jump_too_far() -> None:
    architectures = seccomp.ARCHITECTURES.values()
    # iopl and ioperm are of x86 alone.
    assert len({len(one.denied) - (2 if one.clone == 56 else 0) for one in architectures}) == 1
    assert all(len(set(one.denied)) == len(one.denied) for one in architectures)
    assert all(len(seccomp.program(one)) % 8 == 0 for one in architectures)


CPU = """
import sys
from defang_worker import stacks
from defang_worker.confinement import cpu
stacks.write_when_it_ends()
def burn(seconds):
    end = cpu.used_s() + seconds
    while cpu.used_s() < end:
        pass
# Together more than the limit: each request has its own.
for _ in range(3):
    cpu.allow(1)
    burn(0.8)
print("served", flush=True)
def the_culprit():
    burn(30)
the_culprit()
"""


def test_request_over_its_cpu_time_ends_the_worker_with_its_stack_and_earlier_ones_do_not_count() -> None:
    done = subprocess.run([sys.executable, "-c", CPU], capture_output=True, check=False, timeout=60)
    assert done.stdout == b"served\n"
    assert done.returncode == -signal.SIGXCPU
    assert b"in the_culprit" in done.stderr


def test_worker_that_cannot_be_confined_as_asked_does_not_serve(tmp_path: Path) -> None:
    filter_file = tmp_path / "filter.py"
    filter_file.write_text("def filter_begin(message):\n    pass\n")
    done = subprocess.run(
        [sys.executable, "-m", "defang_worker", "-f", str(filter_file), "-server"],
        input=b"ping\n",
        env={**os.environ, "DEFANG_WRITABLE_DIRS": "not/absolute"},
        capture_output=True,
        check=False,
        timeout=LIMIT_S,
    )
    assert (done.returncode, done.stdout) == (os.EX_TEMPFAIL, b"")
    assert b"not confined as asked: DEFANG_WRITABLE_DIRS" in done.stderr
