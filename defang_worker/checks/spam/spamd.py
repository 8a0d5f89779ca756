# SPDX-License-Identifier: GPL-3.0-or-later
"""`Spamd`: asks SpamAssassin's daemon about a message; `SpamdLearn`: tells it what a message is.

spamd never changes the message here: what it makes of one, the filter does.
"""

from __future__ import annotations

import math
import re
import ssl
from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from defang_worker.checks.check import FailurePolicy
from defang_worker.checks.faults import ServiceFault
from defang_worker.checks.outcome import CheckResult, Outcome
from defang_worker.checks.service import ServiceCheck
from defang_worker.checks.spam.result import SpamResult, Symbol
from defang_worker.checks.spam.spamd_message import as_in_a_mailbox
from defang_worker.checks.spam.spamd_wire import Lesson, exchange
from defang_worker.checks.stream import Stream, host_and_port, require_address

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from defang_worker.api.message import Message
    from defang_worker.checks.budget import Deadline
    from defang_worker.checks.check import Job

__all__ = ["LearnResult", "Lesson", "Spamd", "SpamdLearn"]

_Result_co = TypeVar("_Result_co", bound=CheckResult, covariant=True)
Question = Literal["check", "symbols", "report"]

DEFAULT_MAX_BYTES: Final = 500 * 1024
"""What spamc takes: SpamAssassin's time grows with the size, and spam is small."""
# The head of a report's table; what stands above may be of the message, and look like one.
_TABLE: Final = re.compile(r"^-{4} -{5,} -{5,}$", re.MULTILINE)
_ROW: Final = re.compile(r"^ *(-?\d+(?:\.\d+)?) +(\w+) ", re.MULTILINE)


class _SpamdCheck(ServiceCheck["Message", _Result_co]):
    """What both have in common: how spamd is reached, and what it gets."""

    def __init__(
        self,
        addresses: str | Sequence[str] = "127.0.0.1:783",
        *,
        name: str,
        user: str | Callable[[Message], str] = "",
        tls: bool | ssl.SSLContext = False,
        max_bytes: int = DEFAULT_MAX_BYTES,
        apparently_to: bool = False,
        as_delivered: bool = False,
        **limits: Any,
    ) -> None:
        super().__init__(name, addresses, max_bytes=max_bytes, **limits)
        if isinstance(user, str) and not _is_user(user):
            raise ValueError(f"{name}: no user of spamd's can be called {user!r}")
        self._tls = ssl.create_default_context() if tls is True else tls or None
        for address in self.endpoints.addresses:
            require_address(address)
            if self._tls is not None and address.startswith("/"):
                raise ValueError(f"{name}: there is no TLS on a unix socket, {address}")
        self.user = user
        self.apparently_to = apparently_to
        self.as_delivered = as_delivered

    def prepare(self, subject: Message) -> Job[_Result_co] | _Result_co:
        """Makes of the message what spamd is to get; one over the limit is not shown to it."""
        if (unseen := self.too_large(len(subject.raw))) is not None:
            return unseen
        body = as_in_a_mailbox(subject, apparently_to=self.apparently_to, as_delivered=self.as_delivered)
        user = self.user(subject) if callable(self.user) else self.user
        if not _is_user(user):
            return self.unknown(f"no user of spamd's can be called {user!r}")  # type: ignore[no-any-return]
        return lambda deadline: self.endpoints.call(
            lambda address, until: self._asked(self._stream(address, until), body, user), deadline
        )

    @abstractmethod
    def _asked(self, connected: Stream, body: bytes, user: str) -> _Result_co:
        """Asks over a connection, and reads the answer; what is none is to raise ServiceFault."""

    def _stream(self, address: str, deadline: Deadline) -> Stream:
        stream = Stream.connect(address, deadline)
        if self._tls is not None:
            stream.start_tls(self._tls, host_and_port(address)[0])
        return stream

    def version(self, address: str, deadline: Deadline) -> str:
        """The version of spamd's protocol; it tells no other."""
        with self._stream(address, deadline) as stream:
            return f"SPAMD/{exchange(stream, 'PING').version}"


def _is_user(name: str) -> bool:
    """Whether it fits a field of the request, where a line end would start another one."""
    return name.isascii() and name.isprintable()


class Spamd(_SpamdCheck[SpamResult]):
    """Is it spam, as SpamAssassin's daemon sees it?

    `addresses` is a unix socket (an absolute path), host:port, or several, of which the first that works is asked;
    `tls` is True, or a context with the certificates that are wanted. `ask` says how much is to be told: "check" is
    score and threshold, "symbols" has the rules' names, "report" their scores and a text for people. `user`, or what it
    gives for a message, is whose preferences count. A message larger than `max_bytes` is not judged. It is shown as it
    came, or with `as_delivered` as the filter has made it so far; with `apparently_to` with its recipients.
    """

    result_type = SpamResult

    def __init__(
        self,
        addresses: str | Sequence[str] = "127.0.0.1:783",
        *,
        name: str = "spamd",
        ask: Question = "report",
        **more: Any,
    ) -> None:
        super().__init__(addresses, name=name, **more)
        if ask not in ("check", "symbols", "report"):
            raise ValueError(f'{name}: ask is "check", "symbols" or "report", not {ask!r}')
        self.ask = ask

    def _asked(self, connected: Stream, body: bytes, user: str) -> SpamResult:
        with connected as stream:
            response = exchange(stream, self.ask.upper(), body, user=user)
        told = response.headers.spam
        if told is None or not (math.isfinite(told.score) and math.isfinite(told.threshold)):
            raise ServiceFault("answered without score and threshold")
        text = response.body.decode("utf-8", "replace").replace("\r\n", "\n").strip()
        symbols = _named(text) if self.ask == "symbols" else _in_table(text)
        outcome = Outcome.FOUND if told.value else Outcome.NOT_FOUND
        return self.result(  # type: ignore[no-any-return]  # of this check's own type
            outcome,
            f"{told.score:.1f} of {told.threshold:.1f}: {','.join(symbol.name for symbol in symbols)}".rstrip(": "),
            score=told.score,
            required=told.threshold,
            symbols=symbols,
            report=text if self.ask == "report" else "",
        )


def _named(text: str) -> tuple[Symbol, ...]:
    return tuple(Symbol(name) for name in text.split(",") if name)


def _in_table(report: str) -> tuple[Symbol, ...]:
    """The rules in a report's table; none if the site's `report_template` has no table."""
    tables = list(_TABLE.finditer(report))
    start = tables[-1].end() if tables else len(report)
    return tuple(Symbol(name, float(score)) for score, name in _ROW.findall(report, start))


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnResult(CheckResult):
    """FOUND if spamd has learned something; NOT_FOUND if it knew already."""


class SpamdLearn(_SpamdCheck[LearnResult]):
    """Has SpamAssassin learn a message as spam or ham, or forget it; spamd needs its option --allow-tell.

    With `share` it is also reported to the networks that SpamAssassin is configured for, or revoked if it is ham. The
    other arguments are those of `Spamd`, and are to be the same as there; if it fails, that is only logged unless
    `on_failure` says otherwise.
    """

    result_type = LearnResult

    def __init__(
        self,
        lesson: Lesson | str,
        addresses: str | Sequence[str] = "127.0.0.1:783",
        *,
        name: str = "spamd-learn",
        share: bool = False,
        on_failure: FailurePolicy | str = FailurePolicy.IGNORE,
        **more: Any,
    ) -> None:
        super().__init__(addresses, name=name, on_failure=on_failure, **more)
        self.lesson = Lesson(lesson)
        self.share = share

    def _asked(self, connected: Stream, body: bytes, user: str) -> LearnResult:
        with connected as stream:
            response = exchange(stream, "TELL", body, user=user, lesson=self.lesson, share=self.share)
        changes = [one for one in (response.headers.did_set, response.headers.did_remove) if one is not None]
        where = [place for place in ("local", "remote") if any(getattr(one, place) for one in changes)]
        outcome = Outcome.FOUND if where else Outcome.NOT_FOUND
        detail = f"{self.lesson}: {', '.join(where) or 'nothing new'}"
        return self.result(outcome, detail)  # type: ignore[no-any-return]  # of this check's own type
