# SPDX-License-Identifier: GPL-3.0-or-later
"""What a daemon does to itself: user, spool, pid file, lock, detaching (`daemon`), log (`logs`), systemd (`notify`)."""
