# SPDX-License-Identifier: GPL-3.0-or-later
"""The children: starting them, talking to them, ending them. Decides nothing; the pool does."""
