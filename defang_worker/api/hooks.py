# SPDX-License-Identifier: GPL-3.0-or-later
"""The callbacks: what a site's filter may define, and how it is called.

`Filter` is the base class with every callback's signature; `HOOKS` follows from it. `SiteFilter` is a loaded filter:
it calls what is there, and turns whatever a callback raises into one `FilterFault` that names callback and line.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from defang_worker.api.lookup import NO_SUCH_MAP, Lookup
from defang_worker.api.settings import Settings
from defang_worker.api.verdicts import Response

if TYPE_CHECKING:
    from defang_worker.api.envelope import Connection, Envelope, Recipient
    from defang_worker.api.message import Message
    from defang_worker.api.part import Part
    from defang_worker.effects.contract import Effects


class Filter:
    """A site's filter: subclass it once in the filter file and define the callbacks that are wanted.

    All are optional, and what is not defined costs nothing: without callbacks for parts a message is not even parsed.
    One object serves for the whole life of a worker process, one call at a time; what must outlive a message belongs
    into attributes of the object, but another process may serve the next callback of the same message.

    A callback that raises, or that returns something else than told here, makes a temporary failure of that message
    (or check) and a log line; the process goes on with the next one.
    """

    settings: Settings = Settings()
    """What the filter sets; in a file of plain functions a module variable of this name."""

    @property
    def log(self) -> logging.Logger:
        """For log lines of the filter; the queue ID is put before each."""
        return logging.getLogger("defang.filter")

    def on_start(self) -> None:
        """Once, before the first request: the place for connections to databases and the like."""

    def on_stop(self) -> int | None:
        """Once, when the process is retired; the number returned is its exit status."""

    def on_validate(self) -> int | None:
        """Only by `defang-worker test`, after `on_start`: is all there that the filter needs? The number returned is
        the exit status."""

    def filter_map(self, table: str, key: str) -> Lookup:  # noqa: ARG002  # for those that override it
        """The mail server looks a key up in a table (socketmap). Without this callback there is no table."""
        return NO_SUCH_MAP

    def filter_tick(self, kind: int) -> None:
        """Every so many seconds in one of the processes, for each kind of tick from 0 on."""

    def filter_unknown_command(self, command: str, words: tuple[str, ...]) -> str | None:
        """`md-mx-ctrl` was given a command that the multiplexor does not know, which comes in small letters.

        The text returned is shown; None if the filter does not know it either. Raise `CommandFailed` for an error.
        """

    def filter_relay(self, connection: Connection) -> Response | None:
        """A client has connected. A refusal's text, code and delay cannot be sent at this stage."""

    def filter_helo(self, connection: Connection) -> Response | None:
        """The client said HELO or EHLO."""

    def filter_sender(self, envelope: Envelope) -> Response | None:
        """The client said MAIL FROM."""

    def filter_recipient(self, envelope: Envelope, recipient: Recipient) -> Response | None:
        """The client said RCPT TO: once for each recipient. One that is refused appears nowhere later."""

    def filter_begin(self, message: Message) -> Response | None:
        """The message has arrived; once, before its parts."""

    def filter_part(self, message: Message, part: Part) -> Response | None:
        """Once for each part with a body, the only one of a simple message too."""

    def filter_multipart(self, message: Message, part: Part) -> Response | None:
        """Once for each container below the top, before its children: multipart/*, and an attached message."""

    def filter_end(self, message: Message) -> Response | None:
        """Once, after the parts: the last place to change the body."""

    def filter_wrapup(self, message: Message) -> Response | None:
        """Once, when the body is final: headers, envelope and verdict only."""


NOTHING_SAID: Final = Response.ok()
"""What a callback is taken to say that returns None; one object for all of them, for most do."""

HOOKS: Final = {
    name: value.__code__.co_varnames[1 : value.__code__.co_argcount]
    for name, value in vars(Filter).items()
    if name.startswith(("on_", "filter_"))
}
"""The callbacks' names with those of their arguments, without `self`."""


class FilterFault(Exception):
    """A callback raised, or returned what it must not; the text names callback, file and line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteFilter:
    """A loaded filter: its file, its settings, the callbacks that it defines, and what carries out its wishes."""

    path: str
    settings: Settings
    hooks: dict[str, Callable[..., object]]
    effects: Effects

    def has(self, hook: str) -> bool:
        """Whether the filter defines that callback."""
        return hook in self.hooks

    def call(self, hook: str, *arguments: Any) -> object:
        """What the callback returns; raises FilterFault for whatever it raises."""
        try:
            return self.hooks[hook](*arguments)
        # SystemExit and KeyboardInterrupt too: nothing that a filter raises may end the process within a message.
        except BaseException as fault:
            raise FilterFault(f"{hook}: {describe(fault, self.path)}") from fault

    def ask(self, hook: str, *arguments: Any) -> Response:
        """The callback's response, `NOTHING_SAID` for None; raises FilterFault for anything else."""
        returned = self.call(hook, *arguments)
        if returned is None:
            return NOTHING_SAID
        if not isinstance(returned, Response):
            raise FilterFault(f"{hook}: {self.path}: returned {returned!r:.100}, not a Response or None")
        return returned


def text_of(fault: BaseException) -> str:
    """The text of an exception of whatever class, whose own code may be wrong as well."""
    try:
        return str(fault)
    except BaseException as error:  # noqa: BLE001
        return f"(no text, for its str() raises {type(error).__name__})"


def describe(fault: BaseException, path: str) -> str:
    """The fault in a line: file and line where the filter's own code was last seen, class and text."""
    place = path
    for frame, line in traceback.walk_tb(fault.__traceback__):
        if frame.f_code.co_filename == path:
            place = f"{path}:{line}"
    if isinstance(fault, SyntaxError) and fault.filename == path:
        place = f"{path}:{fault.lineno}"
    text = " ".join((str(fault.msg) if isinstance(fault, SyntaxError) else text_of(fault)).split())
    return f"{place}: {type(fault).__name__}: {text}" if text else f"{place}: {type(fault).__name__}"
