# SPDX-License-Identifier: GPL-3.0-or-later
"""`Rspamd`: asks rspamd about a message, by HTTP, and tells it all that its milter would know of the envelope."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from defang_worker.checks import http
from defang_worker.checks.faults import ServiceFault
from defang_worker.checks.service import ServiceCheck
from defang_worker.checks.spam import rspamd_answer
from defang_worker.checks.spam.rspamd_answer import RspamdResult
from defang_worker.checks.spam.rspamd_fields import envelope_fields, field
from defang_worker.checks.stream import Stream, host_and_port, require_address

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from defang_worker.api.message import Message
    from defang_worker.checks.budget import Deadline
    from defang_worker.checks.check import Job
    from defang_worker.mime.headers import Buffer

__all__ = ["Rspamd"]

DEFAULT_MAX_BYTES: Final = 50 * 1024 * 1024
"""What rspamd takes (its option `max_message`)."""
_MAX_ANSWER_BYTES: Final = 4 * 1024 * 1024


class Rspamd(ServiceCheck["Message", RspamdResult]):
    """Is it spam, as rspamd sees it?

    `addresses` is host:port or a unix socket (an absolute path) of rspamd's normal worker, or several, of which the
    first that works is asked. A message larger than `max_bytes` is not judged. It is shown as it came, or with
    `as_delivered` as the filter has made it so far. `fields` go into the request, such as `{"Settings-ID": "out"}`.
    """

    result_type = RspamdResult

    def __init__(
        self,
        addresses: str | Sequence[str] = "127.0.0.1:11333",
        *,
        name: str = "rspamd",
        max_bytes: int = DEFAULT_MAX_BYTES,
        as_delivered: bool = False,
        fields: Mapping[str, str] | None = None,
        **limits: Any,
    ) -> None:
        super().__init__(name, addresses, max_bytes=max_bytes, **limits)
        for address in self.endpoints.addresses:
            require_address(address)
        self.as_delivered = as_delivered
        self.fields = tuple(field(key, value) for key, value in (fields or {}).items())

    def prepare(self, subject: Message) -> Job[RspamdResult] | RspamdResult:
        """Collects what rspamd is to know; a message over the limit is not shown to it."""
        if (unseen := self.too_large(len(subject.raw))) is not None:
            return unseen
        fields = [*envelope_fields(subject), *self.fields]
        body = subject.as_delivered() if self.as_delivered else subject.raw
        return lambda deadline: self.endpoints.call(
            lambda address, until: self._ask(address, fields, body, until), deadline
        )

    def _ask(self, address: str, fields: Sequence[tuple[str, bytes]], body: Buffer, deadline: Deadline) -> RspamdResult:
        answer = self._exchange(address, deadline, "POST", "/checkv2", fields, body)
        if answer.status != 200:
            raise ServiceFault(f"answered {answer.status}: {answer.body[:100]!r}")
        return rspamd_answer.read(self.name, answer.body)

    def _exchange(self, address: str, deadline: Deadline, method: str, path: str, *more: Any) -> http.Answer:
        host = "localhost" if address.startswith("/") else host_and_port(address)[0]
        with Stream.connect(address, deadline) as stream:
            return http.exchange(stream, method, path, *more, host=host, at_most=_MAX_ANSWER_BYTES)

    def version(self, address: str, deadline: Deadline) -> str:
        """What its HTTP server calls itself."""
        answer = self._exchange(address, deadline, "GET", "/ping")
        if answer.body.strip() != b"pong":
            raise ServiceFault(f"answered {answer.status}: {answer.body[:100]!r}")
        return answer.server
