# SPDX-License-Identifier: GPL-3.0-or-later
"""What a domain says of TLS to its mail hosts: DANE (RFC 7672) and MTA-STS (RFC 8461), for checks and calls ahead."""
