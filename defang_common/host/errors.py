# SPDX-License-Identifier: GPL-3.0-or-later
"""What a start can end in."""


class StartFailed(Exception):
    """The daemon does not run; the message is for the person who typed the command."""
