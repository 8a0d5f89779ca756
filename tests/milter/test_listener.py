# SPDX-License-Identifier: GPL-3.0-or-later
"""What is found out before the milter listens. The rest is in test_program.py, for libmilter is once a process."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from defang_common.host.daemon import StartFailed
from defang_milter import listener
from defang_milter.command_line import parse


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"X-MIMEDefang-Relay-0a1b\r\nrest\n", b"X-MIMEDefang-Relay-0a1b"),
        (b"X-Key", b"X-Key"),
        (b"\n", None),
        (b"", None),
        (None, None),
    ],
)
def test_the_validation_header_is_the_key_files_first_line(
    tmp_path: Path, content: bytes | None, name: bytes | None
) -> None:
    key = tmp_path / "key"
    if content is not None:
        key.write_bytes(content)
    site = listener.site_of(parse(["-p", "x", "--ip-key-file", str(key)]))
    assert site.validation_name == name


def test_a_key_file_that_cannot_be_read_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(StartFailed, match="Is a directory"):
        listener.site_of(parse(["-p", "x", "--ip-key-file", str(tmp_path)]))


def test_a_host_that_does_not_know_its_address_has_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(_: str) -> str:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "gethostbyname", fail)
    assert listener.site_of(parse(["-p", "x", "--ip-key-file", str(tmp_path / "key")])).my_ip == b""
