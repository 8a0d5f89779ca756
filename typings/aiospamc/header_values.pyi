# SPDX-License-Identifier: GPL-3.0-or-later
from enum import StrEnum
from typing import Protocol

class HeaderValue(Protocol):
    def __bytes__(self) -> bytes: ...

class MessageClassOption(StrEnum):
    spam = "spam"
    ham = "ham"

class MessageClassValue:
    def __init__(self, value: MessageClassOption) -> None: ...
    def __bytes__(self) -> bytes: ...

class ActionOption:
    local: bool
    remote: bool
    def __init__(self, *, local: bool = ..., remote: bool = ...) -> None: ...

class SetOrRemoveValue:
    def __init__(self, action: ActionOption) -> None: ...
    def __bytes__(self) -> bytes: ...

class UserValue:
    def __init__(self, name: str) -> None: ...
    def __bytes__(self) -> bytes: ...

class SpamValue:
    value: bool
    score: float
    threshold: float

class Headers:
    spam: SpamValue | None
    did_set: ActionOption | None
    did_remove: ActionOption | None
