# SPDX-License-Identifier: GPL-3.0-or-later
"""`defang-worker features`: what the filter's checks ask, whether it is there and in which version, and what else is.

`gather` looks, `command` shows.
"""
