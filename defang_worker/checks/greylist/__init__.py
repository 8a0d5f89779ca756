# SPDX-License-Identifier: GPL-3.0-or-later
"""What is remembered from one mail to the next: who has been here before (greylisting), and how often (rate limits)."""
