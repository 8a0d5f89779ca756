# SPDX-License-Identifier: GPL-3.0-or-later
"""Is it spam? SpamAssassin's daemon (`spamd.py`) and rspamd (`rspamd.py`), and what both of them tell (`result.py`)."""
