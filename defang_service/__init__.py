# SPDX-License-Identifier: GPL-3.0-or-later
"""Milter and multiplexor as one service: start, stop, status, as start scripts and units call it."""
