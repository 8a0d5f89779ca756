# SPDX-License-Identifier: GPL-3.0-or-later
"""Is the sender who it says? SPF, signatures made and verified, policies of domains, the header about it."""
