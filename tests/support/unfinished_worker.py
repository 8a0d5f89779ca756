# SPDX-License-Identifier: GPL-3.0-or-later
"""A worker program, for a multiplexor's -f, that answers `ok` to a scan and leaves RESULTS without its end."""

from __future__ import annotations

import sys
from pathlib import Path


def main() -> None:
    """Serve request lines until standard input ends."""
    for line in sys.stdin:
        words = line.split()
        if words[:1] == ["scan"]:
            with (Path(words[2]) / "RESULTS").open("a") as results:
                results.write("HX-Half yes\n")
        sys.stdout.write("ok\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
