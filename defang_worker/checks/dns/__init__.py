# SPDX-License-Identifier: GPL-3.0-or-later
"""What the DNS is asked: the resolver (also for checks of other kinds), lists of clients and domains, MX and PTR."""
