# SPDX-License-Identifier: GPL-3.0-or-later
"""What the three programs share: the wire codec and a daemon's own affairs.

A module belongs here only if at least two of defang_milter, defang_mux and defang_worker
use it. `wire` is the contract of protocol.md as pure functions; `host` is what a daemon
does to itself (pid file, user, log). Nothing here imports one of the three programs.
"""

__version__ = "0.1.0"
