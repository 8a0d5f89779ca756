# SPDX-License-Identifier: GPL-3.0-or-later
"""The doors: listening sockets, and the commands that come in through them."""
