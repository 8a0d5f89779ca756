# SPDX-License-Identifier: GPL-3.0-or-later
from collections.abc import Callable, Mapping, Sequence
from logging import Logger

from dkim.canonicalization import CanonicalizationPolicy

class DKIMException(Exception): ...
class ValidationError(DKIMException): ...

def validate_signature_fields(sig: Mapping[bytes, bytes], mandatory_fields: Sequence[bytes] = ...) -> None: ...

class DKIM:
    hasher: object
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes
    keysize: int
    ktag: bytes
    SHOULD_NOT: tuple[bytes, ...]
    def __init__(
        self,
        message: bytes | None = ...,
        logger: Logger | None = ...,
        *,
        signature_algorithm: bytes = ...,
        minkey: int = ...,
    ) -> None: ...
    def gen_header(
        self,
        fields: list[tuple[bytes, bytes]],
        include_headers: Sequence[bytes],
        canon_policy: CanonicalizationPolicy,
        header_name: bytes,
        pk: object,
    ) -> bytes: ...
    def verify_sig(
        self,
        sig: Mapping[bytes, bytes],
        include_headers: list[bytes],
        sig_header: tuple[bytes, bytes],
        dnsfunc: Callable[..., bytes],
    ) -> bool: ...
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
def arc_sign(
    message: bytes,
    selector: bytes,
    domain: bytes,
    privkey: bytes,
    srv_id: bytes,
    *,
    include_headers: Sequence[bytes] | None = ...,
) -> list[bytes]: ...
def arc_verify(
    message: bytes, *, dnsfunc: Callable[..., bytes] = ...
) -> tuple[bytes | None, list[dict[str, object]], str]: ...
def verify(message: bytes, *, dnsfunc: Callable[..., bytes] = ...) -> bool: ...
