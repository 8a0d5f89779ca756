# SPDX-License-Identifier: GPL-3.0-or-later
"""For tests, demo and benchmark: an MTA of our own, real mail servers, and the daemons in private directories."""
