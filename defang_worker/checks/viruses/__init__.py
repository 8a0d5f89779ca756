# SPDX-License-Identifier: GPL-3.0-or-later
"""Virus scanners: ClamAV's daemon (`clamd`), whatever speaks ICAP (`icap`), and programs (`command`).

Filters import them from `defang_worker.checks`. All of them scan the message as it came and what this worker finds in
it (`items`), and give a `VirusResult`.
"""
