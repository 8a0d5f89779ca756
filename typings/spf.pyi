# SPDX-License-Identifier: GPL-3.0-or-later
# What we use of pyspf.

EXPLANATIONS: dict[str, str]

class TempError(Exception):
    def __init__(self, msg: str) -> None: ...

class PermError(Exception): ...

class query:  # noqa: N801
    i: str
    A: str
    cidrmax: int
    void_lookups: int
    def __init__(
        self,
        i: str,
        s: str,
        h: str,
        local: str | None = None,
        receiver: str | None = None,
        strict: bool = True,
        timeout: float = ...,
        verbose: bool = False,
        querytime: float = 0,
    ) -> None: ...
    def check(self, spf: str | None = None) -> tuple[str, int, str]: ...
    def dns(
        self, name: str, qtype: str, cnames: dict[str, str] | None = None, ignore_void: bool = False
    ) -> list[object]: ...
    def dns_ptr(self, i: str) -> list[str]: ...
    def dns_a(self, domainname: str, A: str = "A") -> list[str]: ...  # noqa: N803
    def cidrmatch(self, ipaddrs: list[str], n: int) -> bool: ...
    def set_default_explanation(self, exp: str) -> None: ...
