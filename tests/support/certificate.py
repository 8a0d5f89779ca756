# SPDX-License-Identifier: GPL-3.0-or-later
"""Key and certificate of 127.0.0.1, signed by itself, for services of the tests that speak TLS. Worth nothing else."""

from __future__ import annotations

from pathlib import Path

KEY = Path(__file__).with_name("localhost_key.pem")
CERTIFICATE = Path(__file__).with_name("localhost_cert.pem")
