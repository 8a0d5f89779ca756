# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be wrong with bytes: ours (`Unencodable`) or theirs (`Malformed`).

Each program maps `Malformed` to a temporary failure in one place. `Unencodable` is a bug
of the caller and is never caught to be ignored.
"""


class WireError(Exception):
    """Base of everything the codec raises."""


class Unencodable(WireError):
    """We were asked to write something the protocol cannot carry."""


class Malformed(WireError):
    """The peer sent something that is not in the protocol."""


class LineTooLong(Malformed):
    """A line went over its limit before it ended."""


class NotFinished(Malformed):
    """A file of lines lacks its closing `F`: the writer died, or the disk was full."""
