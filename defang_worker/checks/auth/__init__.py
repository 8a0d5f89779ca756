# SPDX-License-Identifier: GPL-3.0-or-later
"""Is the sender who it says? What a domain publishes about its mail, compared with the mail."""
