# SPDX-License-Identifier: GPL-3.0-or-later
"""What `make run` shows: the real programs on a private spool, and what they do to a handful of messages."""
