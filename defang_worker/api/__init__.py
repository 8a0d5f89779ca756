# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter API: what a site's filter sees of a message, and what it can do. `defang_worker` re-exports it."""
