# SPDX-License-Identifier: GPL-3.0-or-later
"""`defang-worker check`: what can be found wrong with a filter without a message.

The filter is loaded, but none of its callbacks is called. Knows the filter API from its own classes and table of
stages, so nothing here has to be kept up with it.
"""
