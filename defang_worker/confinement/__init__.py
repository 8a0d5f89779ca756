# SPDX-License-Identifier: GPL-3.0-or-later
"""What a worker keeps itself from when the multiplexor asks for it (protocol.md, Confinement)."""
