# SPDX-License-Identifier: GPL-3.0-or-later
"""What a filter is told of a part's content, whatever the part calls itself."""

import base64
import struct

import pytest

from defang_common.wire import commands
from defang_worker import Message, Settings
from defang_worker.archives import archive_kind, members
from tests.support.archive_maker import zipped
from tests.worker.conftest import COMMANDS

PROGRAM = b"MZ".ljust(60, b"\0") + struct.pack("<I", 128) + bytes(64) + b"PE\0\0 words"


def message_with(content: bytes) -> Message:
    header = b"Content-Type: image/jpeg; name=picture.jpg\nContent-Transfer-Encoding: base64\n\n"
    return Message(commands.decode(COMMANDS), header + base64.encodebytes(content), "/nowhere", Settings())


@pytest.mark.parametrize("filling", [b"", b" more words" * 20_000], ids=["small", "large"])
def test_a_program_called_a_picture_is_a_program(filling: bytes) -> None:
    assert message_with(PROGRAM + filling).root.detected_type == "pe"


def test_a_part_that_was_replaced_is_what_stands_there_now() -> None:
    message = message_with(PROGRAM)
    message.root.replace("the program was removed")
    assert message.root.detected_type == "unknown"


def test_an_archive_called_a_picture_is_looked_into() -> None:
    part = message_with(zipped({"blocked.exe": b"words"})).root
    assert (part.detected_type, archive_kind(part)) == ("zip", "zip")
    assert [(member.name, member.read()) for member in members(part)] == [("blocked.exe", b"words")]
