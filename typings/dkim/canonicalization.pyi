# SPDX-License-Identifier: GPL-3.0-or-later
class InvalidCanonicalizationPolicyError(Exception): ...

class _Algorithm:
    name: bytes

class CanonicalizationPolicy:
    body_algorithm: _Algorithm
    @classmethod
    def from_c_value(cls, c: bytes) -> CanonicalizationPolicy: ...
    def canonicalize_body(self, body: bytes) -> bytes: ...
