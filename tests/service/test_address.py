# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a daemon listens, and whether it does."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from defang_service import address

LIMIT_S = 60.0


@pytest.mark.parametrize(
    ("text", "path"),
    [("unix:/a/b", "/a/b"), ("local:/a/b", "/a/b"), ("/a/b", "/a/b"), ("inet:25@host", None), ("inet6:25", None)],
)
def test_a_unix_socket_has_a_path(text: str, path: str | None) -> None:
    assert address.unix_path(text) == (path and Path(path))


def test_a_unix_socket_is_silent_until_somebody_listens(spool: Path) -> None:
    path = spool / "s.sock"
    silence = address.why_silent(f"unix:{path}", limit_s=LIMIT_S)
    assert silence is not None
    assert str(path) in silence
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        assert address.why_silent(str(path), limit_s=LIMIT_S) is None


def test_a_port_is_asked_on_its_host_or_on_the_loopback() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert address.why_silent(f"inet:{port}@127.0.0.1", limit_s=LIMIT_S) is None
        assert address.why_silent(f"inet:{port}", limit_s=LIMIT_S) is None
    assert address.why_silent(f"inet:{port}@127.0.0.1", limit_s=LIMIT_S) is not None
