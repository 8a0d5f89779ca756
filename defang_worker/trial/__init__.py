# SPDX-License-Identifier: GPL-3.0-or-later
"""A filter tried on messages without daemons and mail server: the whole transaction, and what would be delivered.

`defang_worker.testing` is the filter author's door to it, `defang-worker test-mail` the administrator's. The worker's
own code serves the requests, lines and files included; only what mail server and front end do is played here.
"""
