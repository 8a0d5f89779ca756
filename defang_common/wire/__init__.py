# SPDX-License-Identifier: GPL-3.0-or-later
"""protocol.md as code: bytes to values and back, without I/O.

One module for each heading of protocol.md. Nothing here opens a file or a socket, reads a
clock or logs: three different I/O worlds (libmilter's threads, trio, a blocking worker)
share it. Decoders answer a value or raise `errors.Malformed`, never anything else.
"""
