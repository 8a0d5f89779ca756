# SPDX-License-Identifier: GPL-3.0-or-later
"""libmilter's callbacks: gather facts, ask the multiplexor, reply.

libmilter runs the callbacks of one connection one after another, though not always in the
same thread; those of different connections run at once. Every error of a callback is logged
once and becomes a temporary failure, in `_guarded` and `fail` and nowhere else.
A method a callback makes the module long; what is more than gathering and asking lies elsewhere.
"""

import functools
import itertools
import logging
import operator
import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Concatenate, Final, ParamSpec

import milter

from defang_common.shown import shown
from defang_common.wire import results, spool
from defang_common.wire.answers import Answer, Verdict
from defang_common.wire.body import Body
from defang_common.wire.header import Header
from defang_common.wire.requests import Request
from defang_milter import macros, replies, verdict_lines
from defang_milter.apply_results import Changes, Marks
from defang_milter.context import Context
from defang_milter.mux_client import MuxClient, MuxUnavailable
from defang_milter.replies import Reply
from defang_milter.session import Fault, Session, cause_of, log_fault, session_of
from defang_milter.settings import Settings
from defang_milter.spool_stock import Stock
from defang_milter.transaction import LOOPBACK, Connection, SocketAddress, Transaction, client_of, has_room
from defang_milter.workdir import WorkDir

_log: Final = logging.getLogger("defang.milter")

_MACRO_STAGES: Final = (
    milter.M_CONNECT,
    milter.M_HELO,
    milter.M_ENVFROM,
    milter.M_ENVRCPT,
    milter.M_DATA,
    milter.M_EOM,
    milter.M_EOH,
)

# DATA and unknown commands tell us nothing.
_NOT_SENT: Final = milter.P_NODATA | milter.P_NOUNKNOWN
# Callbacks that need no answer, which saves the MTA a round trip each and us a wakening; libmilter itself answers an
# MTA that is too old for that. The first three are answered after all if there is something to ask (`_unanswered`).
_NO_REPLY: Final = {
    "connect": milter.P_NR_CONN,
    "helo": milter.P_NR_HELO,
    "envrcpt": milter.P_NR_RCPT,
    "header": milter.P_NR_HDR,
    "eoh": milter.P_NR_EOH,
    "body": milter.P_NR_BODY,
}

# What an SMTP client waits for the answer to a command (RFC 5321, section 4.5.3.2). A thread that slept for longer
# would outlive its connection.
_MAX_DELAY_S: Final = 300

_TRY_LATER: Final = replies.of_fault("The mail filter has a problem, please try again later")
_STOPPING: Final = replies.of_fault("The mail filter is being stopped, please try again later")

_P = ParamSpec("_P")
_Method = Callable[Concatenate["Callbacks", Context, _P], int]


def _guarded(callback: _Method[_P]) -> _Method[_P]:
    """The callback with every error made a temporary failure."""

    @functools.wraps(callback)
    def guarded(self: "Callbacks", context: Context, /, *args: _P.args, **kwargs: _P.kwargs) -> int:
        try:
            return callback(self, context, *args, **kwargs)
        except Exception as error:  # noqa: BLE001  # whatever it is, the message must not pass
            # An error while failing would be answered by pymilter, and that lets the message pass.
            with suppress(BaseException):
                return self.fail(context, callback.__name__, error)
            return milter.TEMPFAIL

    return guarded


def _unanswered(settings: Settings) -> frozenset[str]:
    """The callbacks whose answer nobody waits for, because it is always to go on."""
    asking = {
        "connect": settings.relay_check or not settings.queue_connections,
        "helo": settings.helo_check,
        "envrcpt": settings.recipient_check,
    }
    return frozenset(name for name in _NO_REPLY if not asking.get(name))


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """This host: its address (empty if it cannot tell) and the name of its validation header, if it has one."""

    my_ip: bytes
    validation_name: bytes | None


class Callbacks:
    """The callbacks, and the connections they are about. One object serves the whole process.

    `in_work` holds the sessions that have a message; with `stopping` set no new ones begin. `stock` has files for large
    messages, if there is to be one.
    """

    def __init__(self, settings: Settings, site: Site, mux: MuxClient) -> None:
        self._settings = settings
        self._site = site
        self._mux = mux
        self._unanswered = _unanswered(settings)
        self._alias = settings.loopback_alias.encode() if settings.loopback_alias else None
        self._scanned_by = settings.scanned_by.encode() if settings.scanned_by else None
        self._macros = macros.named(macros.ALWAYS_TOLD)
        self._extra_macros = macros.named(settings.macros)
        self._macro_list = " ".join(macro.symbol for macro in self._macros + self._extra_macros)
        self._directory_prefix = f"{settings.spool}/"
        self._keep_mark = f"{settings.spool}/{spool.KEEP_MARK}"
        # 3600 is what two digits of a transaction ID can tell apart.
        self._serials = itertools.cycle(range(3600))
        # pymilter gives each connection an interpreter state of its own, whatever thread it runs in: so this is per
        # connection.
        self._here = threading.local()
        self.in_work: set[Session] = set()
        self.stock: Stock | None = None
        self.stopping = False

    # -- connection

    @_guarded
    def negotiate(self, context: Context, options: list[int]) -> int:
        """Takes every action that the MTA offers; `options` are actions, steps and two words without meaning."""
        actions, offered_steps = options[:2]
        steps = functools.reduce(operator.or_, map(_NO_REPLY.__getitem__, self._unanswered), _NOT_SENT)
        if not self._settings.no_rejected_recipients:
            steps |= offered_steps & milter.P_RCPT_REJ
        options[1:] = [steps, 0, 0]
        if self._settings.send_macro_lists and actions & milter.SETSYMLIST:
            for stage in _MACRO_STAGES:
                context.setsymlist(stage, self._macro_list)
        return milter.CONTINUE

    @_guarded
    def connect(self, context: Context, hostname: str, _family: int, address: SocketAddress) -> int:
        """Lets a client in while workers are free, and if the filter agrees."""
        client = client_of(address, self._alias)
        port = macros.value_of(context, "{daemon_port}")
        own_ip = macros.value_of(context, "{if_addr}")
        connection = Connection(
            hostname=hostname.encode(),
            client=client,
            my_ip=self._site.my_ip if own_ip in (b"", LOOPBACK) else own_ip,
            my_port=port if port.isdigit() else b"",
        )
        # Until the checks below are through, for one that fails must not let mail pass later.
        session = Session(connection=connection, fault="the connection was not let in")
        context.setpriv(session)
        self._here.session = session
        if not self._settings.queue_connections:
            free = self._mux.free_workers()
            if not has_room(free, reserve=self._settings.reserve, is_local=client.is_local):
                _log.warning("NOQUEUE: connect: no free worker for %s (%d free)", client.ip.decode(), free)
                return milter.TEMPFAIL
        reply = replies.CONTINUE
        if self._settings.relay_check:
            request = connection.relay_request(macros.value_of(context, "i"))
            reply = replies.of_answer_at_connect(self._check("connection", session, request))
        if reply.status not in (milter.REJECT, milter.TEMPFAIL):
            session.fault = None
        return milter.NOREPLY if "connect" in self._unanswered else reply.status

    @_guarded
    def helo(self, context: Context, name: str) -> int:
        """Notes the HELO, and asks the filter if so set."""
        session = session_of(context)
        session.connection.helo = name.encode()
        session.owes_helo_check = False
        if not self._settings.helo_check:
            return milter.NOREPLY
        return self._answer(context, self._check_helo(context, session))

    def _check_helo(self, context: Context, session: Session) -> Answer:
        return self._check("HELO", session, session.connection.helo_request(macros.value_of(context, "i")))

    @_guarded
    def close(self, context: Context) -> int:
        """Forgets the connection."""
        session: Session | None = context.setpriv(None)
        if session is not None:
            self._end(session)
        return milter.CONTINUE

    # -- envelope

    @_guarded
    def envfrom(self, context: Context, sender: bytes, *args: bytes) -> int:
        """Begins a message: its directory, the head of COMMANDS, the sender check."""
        session = session_of(context)
        self._end(session)
        if session.owes_helo_check:
            answer = self._check_helo(context, session)
            if answer.verdict is not Verdict.CONTINUE:
                return self._answer(context, answer)
            session.owes_helo_check = False
        # In this order: whoever stops sees this message, or this message sees the stop.
        self.in_work.add(session)
        if self.stopping:
            self._end(session)
            return self._give(context, _STOPPING)
        transaction, workdir = self._begin(context, session, sender, args)
        if not self._settings.sender_check:
            return milter.CONTINUE
        workdir.append_commands(transaction.take_commands())
        workdir.was_checked = True
        answer = self._check("sender", session, transaction.sender_request())
        if answer.verdict is not Verdict.CONTINUE:
            self._end(session)
        return self._answer(context, answer)

    def _begin(
        self, context: Context, session: Session, sender: bytes, args: tuple[bytes, ...]
    ) -> tuple[Transaction, WorkDir]:
        # Asked for anew: an MTA that tells the queue ID late must not have this message filed under the last one's.
        queue_id = macros.value_of(context, "i")
        transaction_id = spool.transaction_id(int(time.time()), next(self._serials)).encode()
        path = self._directory_prefix + spool.directory_name(os.fsdecode(queue_id or transaction_id))
        transaction = Transaction(
            connection=session.connection,
            transaction_id=transaction_id,
            queue_id=queue_id,
            directory=os.fsencode(path),
            sender=sender,
            sender_args=args,
            header=Header(self._site.validation_name),
            body=Body(strip_bare_cr=self._settings.strip_bare_cr),
        )
        session.transaction = transaction
        session.workdir = WorkDir(path, reopen=self._settings.reopen_files, stock=self.stock)
        transaction.begin(macros.known(context, self._macros), macros.known(context, self._extra_macros))
        return transaction, session.workdir

    @_guarded
    def envrcpt(self, context: Context, recipient: bytes, *args: bytes) -> int:
        """Notes a recipient, if the filter does not refuse it."""
        session = session_of(context)
        transaction, workdir = session.message()
        transaction.note_queue_id(macros.value_of(context, "i"))
        transaction.first_recipient = transaction.first_recipient or recipient
        routed = (
            macros.value_of(context, "{rcpt_mailer}"),
            macros.value_of(context, "{rcpt_host}"),
            macros.value_of(context, "{rcpt_addr}"),
        )
        if not self._settings.recipient_check:
            transaction.accept_recipient(routed, recipient, args)
            return milter.NOREPLY
        workdir.append_commands(transaction.take_commands())
        workdir.was_checked = True
        answer = self._check("recipient", session, transaction.recipient_request(routed, recipient, args), recipient)
        if answer.verdict is Verdict.CONTINUE:
            transaction.accept_recipient(routed, recipient, args)
        elif answer.verdict in (Verdict.ACCEPT, Verdict.DISCARD):
            self._end(session)
        return self._answer(context, answer)

    # -- content

    @_guarded
    def header(self, context: Context, name: str, value: bytes) -> int:
        """Notes a header field."""
        transaction, _ = session_of(context).message()
        transaction.header.add(name.encode(), value)
        return milter.NOREPLY

    @_guarded
    def eoh(self, context: Context) -> int:
        """Writes the header."""
        transaction, workdir = session_of(context).message()
        transaction.header_is_written = True
        workdir.write_header(transaction.header, with_end=True)
        return milter.NOREPLY

    @_guarded
    def body(self, context: Context, chunk: bytes) -> int:
        """Takes a piece of the body."""
        transaction, workdir = session_of(context).message()
        workdir.append_input(transaction.body.feed(chunk))
        return milter.NOREPLY

    @_guarded
    def eom(self, context: Context) -> int:
        """Has the message filtered, and applies what the filter wants."""
        began_s = time.monotonic()
        session = session_of(context)
        transaction, workdir = session.message()
        transaction.note_queue_id(macros.value_of(context, "i"))
        self._finish(transaction, workdir)
        workdir.told_results = self._mux.scan(
            transaction.scan_request(),
            functools.partial(_tell_progress, context),
            session.carried,
            functools.partial(workdir.write_header_files, transaction.header),
        )
        decoded = results.decode(workdir.results())
        changes = Changes(context, log_name=transaction.log_name, header=transaction.header, workdir=workdir)
        changes.apply(decoded, self._marks(session))
        if self._settings.log_filter_time:
            _log.info("%s: Filter time is %dms", transaction.log_name, (time.monotonic() - began_s) * 1000)
        line = verdict_lines.of_message(decoded, transaction)
        if line is not None:
            _log.info("%s: %s", transaction.log_name, line)
        reply = replies.CONTINUE if decoded.verdict is None else replies.of_verdict(decoded.verdict)
        self._end(session)
        return self._give(context, reply)

    def _finish(self, transaction: Transaction, workdir: WorkDir) -> None:
        """Completes the files for the filter."""
        if not transaction.header_is_written:
            transaction.header_is_written = True
            workdir.write_header(transaction.header, with_end=False)
        if self._settings.always_header_files:
            workdir.write_header_files(transaction.header)
        workdir.end_input(transaction.body)
        transaction.finish()
        workdir.append_commands(transaction.take_commands())

    def _marks(self, session: Session) -> Marks:
        scanned_by = self._scanned_by
        my_ip = session.connection.my_ip
        # Only our own address is named: on a host with several, the one the client used is nobody's business.
        if scanned_by is not None and my_ip and my_ip == self._site.my_ip:
            scanned_by = b"%b on %b" % (scanned_by, my_ip)
        return Marks(scanned_by=scanned_by, validation_name=self._site.validation_name)

    @_guarded
    def abort(self, context: Context) -> int:
        """Forgets the message; the connection stays."""
        session: Session | None = context.getpriv()
        if session is not None:
            self._end(session)
        return milter.CONTINUE

    # -- answers and ends

    def _check(self, subject: str, session: Session, request: Request, recipient: bytes = b"") -> Answer:
        """The filter's answer; one that lets nothing pass is logged."""
        answer = self._mux.check(request, session.carried)
        line = verdict_lines.of_check(subject, answer, session.connection, session.transaction, recipient)
        if line is not None:
            _log.info("%s: %s", session.log_name, line)
        return answer

    def _answer(self, context: Context, answer: Answer) -> int:
        if answer.delay_s:
            time.sleep(min(answer.delay_s, _MAX_DELAY_S))
        return self._give(context, replies.of_answer(answer))

    def _give(self, context: Context, reply: Reply) -> int:
        if reply.lines:
            context.setreply(reply.code, reply.dsn, *reply.lines)
        return reply.status

    def fail(self, context: Context, where: str, error: Exception) -> int:
        """Answers for a callback that raised `error`: a temporary failure, and the message is over.

        Where no answer is expected it is remembered for the next that is. A temporary failure would reach no MTA there,
        yet libmilter would take the message for over and ignore its end, which the MTA then waits for in vain.
        """
        session: Session | None = context.getpriv()
        log_fault(session, where, error)
        if where in self._unanswered:
            if session is not None:
                session.remember(str(error))
            return milter.NOREPLY
        if session is not None:
            if where != "envrcpt":
                self._end(session, failed=where == "eom")
            elif session.transaction is not None and not isinstance(error, MuxUnavailable):
                # The MTA goes on with the other recipients; a filter out of reach is no harm to those.
                session.remember(str(error))
        return self._give(context, _TRY_LATER)

    def _end(self, session: Session, *, failed: bool = False) -> None:
        """Forgets the message and removes its directory, unless that is to be kept."""
        transaction, workdir = session.transaction, session.workdir
        session.transaction = session.workdir = None
        session.carried.message = b""
        if transaction is not None and workdir is not None:
            self._clear(transaction, workdir, failed=failed)
        # Last, for the process may end as soon as nothing is in work.
        self.in_work.discard(session)

    def _clear(self, transaction: Transaction, workdir: WorkDir, *, failed: bool) -> None:
        settings = self._settings
        if settings.keep_all or (failed and settings.keep_failed) or os.path.exists(self._keep_mark):  # noqa: PTH110
            self._keep(transaction, workdir)
            if failed:
                _log.warning("%s: filtering failed, working directory kept: %s", transaction.log_name, workdir.path)
            return
        try:
            workdir.remove()
        except OSError as error:
            _log.error("%s: working directory not removed: %s", transaction.log_name, cause_of(error))

    def _keep(self, transaction: Transaction, workdir: WorkDir) -> None:
        """Lets go of the directory, with all that people, and programs that they try, may look for in it."""
        try:
            workdir.abandon()
            if transaction.header_is_written:
                workdir.write_header_files(transaction.header)
            workdir.write_told_results()
        except OSError as error:
            _log.error("%s: files of kept message not written: %s", transaction.log_name, cause_of(error))

    def end_all(self) -> None:
        """Gives up on every message in work, for the process ends."""
        for session in list(self.in_work):
            log_fault(session, "stopped", Fault("the message was still in work"))
            self._end(session)

    # -- what pymilter cannot pass on

    def excepthook(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        """sys.excepthook, which pymilter calls in the connection's thread for an error before a callback.

        That is a host name, HELO or header name that is not UTF-8: the callback never comes,
        and the MTA is told to go on. So a HELO is taken from the error, its check waits for
        MAIL, and a header of which we did not see the value makes its message fail.
        """
        session: Session | None = getattr(self._here, "session", None)
        if not isinstance(error, UnicodeDecodeError):
            if session is None:
                sys.__excepthook__(kind, error, trace)
                return
            session.fault = session.fault or str(error)
            log_fault(session, "callback", error)
        elif session is None:
            log_fault(None, "connect", Fault(f"not UTF-8: {shown(error.object)}"))
        elif session.transaction is None:
            # The one thing an MTA says outside a message is HELO.
            session.connection.helo = error.object
            session.owes_helo_check = self._settings.helo_check
        else:
            log_fault(session, "header", Fault(f"a name is not UTF-8: {shown(error.object)}"))
            session.remember("a header was not seen")


def _tell_progress(context: Context) -> None:
    # An MTA that is gone is found out by the answer; the filter still needs the directory until it is done.
    with suppress(milter.error):
        context.progress()
