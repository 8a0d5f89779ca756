# SPDX-License-Identifier: GPL-3.0-or-later
from collections.abc import Callable, Sequence

def sign(
    message: bytes,
    selector: bytes,
    domain: bytes,
    privkey: bytes,
    *,
    canonicalize: tuple[bytes, bytes] = ...,
    include_headers: Sequence[bytes] | None = None,
) -> bytes: ...
def verify(message: bytes, *, dnsfunc: Callable[..., bytes] = ...) -> bool: ...
