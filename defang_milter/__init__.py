# SPDX-License-Identifier: GPL-3.0-or-later
"""The front end: libmilter's callbacks in, files and requests out, changes back to the MTA.

Blocking code in libmilter's threads, one `callbacks.Session` a connection. Nothing of a
message is judged here: the multiplexor is asked, and RESULTS applied.
"""
