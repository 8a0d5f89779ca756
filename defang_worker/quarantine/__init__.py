# SPDX-License-Identifier: GPL-3.0-or-later
"""`defang-worker quarantine`: lists, shows, releases and deletes what filters have quarantined.

Reads MIMEDefang's entries as well, which have no meta.json.
"""
