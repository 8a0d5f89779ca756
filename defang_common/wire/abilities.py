# SPDX-License-Identifier: GPL-3.0-or-later
"""What programs of ours do that MIMEDefang's do not: told on a question, once by each process (protocol.md, Abilities).

PURE. Whoever does not know the question has none; words that we do not know are passed over, for a newer program may
have more of them.
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import Final

QUESTION_TO_MUX: Final = b"mux-abilities"
QUESTION_TO_WORKER: Final = b"worker-abilities"
"""Two of them, for what a multiplexor does not know it hands to a worker."""


class Ability(StrEnum):
    """A word of the answer."""

    STATE = "state"
    """Filters' state is passed on, or read and written."""
    NO_HEADER_FILES = "no-header-files"
    """A worker reads neither HEADERS nor PRISTINE_HEADERS; a multiplexor wants them where a worker needs them."""
    RESULTS_ON_ANSWER = "results-on-answer"
    """The wish for RESULTS on the answer is passed on, or granted."""


Abilities = frozenset[Ability]

NONE: Final[Abilities] = frozenset()
ALL: Final[Abilities] = frozenset(Ability)

HEADER_FILES_WANTED: Final = b"wanted HEADERS PRISTINE_HEADERS\n"
"""The multiplexor's reply to the scan of a directory that lacks them, if the worker whose turn it was needs them."""

_FIRST_WORD: Final = b"abilities"


def encode(abilities: Iterable[Ability]) -> bytes:
    """The answer line, its words in the order of `Ability`."""
    known = frozenset(abilities)
    return b" ".join([_FIRST_WORD, *(word.encode() for word in Ability if word in known)]) + b"\n"


def decode(answer: bytes) -> Abilities:
    """What an answer line tells; nothing if it is none, or cut off."""
    first, *words = answer.removesuffix(b"\n").split(b" ")
    if first != _FIRST_WORD or not answer.endswith(b"\n"):
        return NONE
    return frozenset(ability for ability in Ability if ability.encode() in words)
