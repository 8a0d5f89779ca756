# SPDX-License-Identifier: GPL-3.0-or-later
"""What a filter does to the world outside of a message's working directory: mails, quarantine, published files.

`contract.py` says what there is to do. `site.py` does it; `recorded.py` only notes it, for trying a filter. The API's
verbs record wishes during the callbacks, and the scan has them carried out at its end, if nothing faulted.
"""
