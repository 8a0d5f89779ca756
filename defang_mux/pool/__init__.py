# SPDX-License-Identifier: GPL-3.0-or-later
"""Decisions about workers: facts and `now` in, actions out. Nothing here waits, opens or starts anything."""
