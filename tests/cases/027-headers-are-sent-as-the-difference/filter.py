# SPDX-License-Identifier: GPL-3.0-or-later
from defang_worker import Message


def filter_begin(message: Message) -> None:
    headers = message.headers
    headers.delete("X-A")
    headers.delete("x-a")
    headers.replace("X-A", "changed")
    headers.replace("X-B", "folded\n over lines")
    headers.replace("X-New", "added")
    headers.add("X-Taken-Back", "never seen")
    headers.delete_all("X-Taken-Back")
    headers.insert("X-Top", "first")
    headers.insert("X-Third", "third", 2)
    headers.replace("Subject", f"[{headers.get('x-a')}] {message.subject}")
    assert headers.all("X-A") == ["changed"]
    assert "x-taken-back" not in headers
    assert [name for name, _ in headers][:4] == ["X-Top", "From", "X-Third", "To"]
