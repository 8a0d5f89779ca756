# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls ahead: does the server that a recipient's mail goes to take it? Asked by SMTP, as far as RCPT.

`check` is what a filter uses; `dialogue` talks, `reply` reads, `servers` finds whom to call, `loop` keeps calls from
coming back, and `memory` remembers what was said.
"""
