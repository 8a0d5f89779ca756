# SPDX-License-Identifier: GPL-3.0-or-later
"""Loads ours and MIMEDefang's milter in turn and tells what a message costs: `python -m benchmarks`."""
