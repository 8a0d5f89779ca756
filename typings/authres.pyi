# SPDX-License-Identifier: GPL-3.0-or-later
class AuthenticationResultProperty:
    type: str
    name: str
    value: str

class AuthenticationResult:
    method: str
    result: str
    reason: str | None
    properties: list[AuthenticationResultProperty]

class AuthenticationResultsHeader:
    authserv_id: str
    results: list[AuthenticationResult]
    @classmethod
    def parse(cls, string: str) -> AuthenticationResultsHeader: ...
