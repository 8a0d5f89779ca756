# SPDX-License-Identifier: GPL-3.0-or-later
"""`defang-worker structure`: what is in a message, as a person or another program wants to see it.

`command.py` reads files and prints, `describe.py` gathers the facts, `drawing.py` makes the tree for people,
`extract.py` writes contents to files. Knows the MIME engine only: no filter, no wire. Loaded when asked for, never by
a server.
"""
