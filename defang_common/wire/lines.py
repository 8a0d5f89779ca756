# SPDX-License-Identifier: GPL-3.0-or-later
"""How long a line may be (protocol.md, Lines). Who reads lines, from a socket or a pipe, collects them itself."""

MAX_REQUEST_LINE_BYTES = 4094
"""Longest request without its newline that MIMEDefang's multiplexor takes."""

MAX_ANSWER_LINE_BYTES = 4095
"""Longest answer line of a worker, without its newline, that MIMEDefang's multiplexor passes on."""
