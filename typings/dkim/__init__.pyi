# SPDX-License-Identifier: GPL-3.0-or-later
from collections.abc import Callable, Mapping, Sequence
from logging import Logger

class DKIMException(Exception): ...
class ValidationError(DKIMException): ...

def validate_signature_fields(sig: Mapping[bytes, bytes]) -> None: ...

class DKIM:
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes
    keysize: int
    ktag: bytes
    SHOULD_NOT: tuple[bytes, ...]
    def __init__(self, message: bytes | None = ..., logger: Logger | None = ..., *, minkey: int = ...) -> None: ...
    def sign(
        self,
        selector: bytes,
        domain: bytes,
        privkey: bytes,
        *,
        signature_algorithm: bytes = ...,
        canonicalize: tuple[bytes, bytes] = ...,
        include_headers: Sequence[bytes] | None = ...,
    ) -> bytes: ...
    def verify(self, idx: int = ..., dnsfunc: Callable[..., bytes] = ...) -> bool: ...

def sign(
    message: bytes,
    selector: bytes,
    domain: bytes,
    privkey: bytes,
    *,
    canonicalize: tuple[bytes, bytes] = ...,
    include_headers: Sequence[bytes] | None = ...,
) -> bytes: ...
def verify(message: bytes, *, dnsfunc: Callable[..., bytes] = ...) -> bool: ...
