# SPDX-License-Identifier: GPL-3.0-or-later
"""From settings to a milter that listens, and its end.

The callbacks are registered, the socket is opened, the multiplexor waited for; then libmilter
runs in a thread of its own while this one waits for the signal to stop.
"""

import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import milter

from defang_common.host import memory, notify
from defang_common.host.daemon import StartFailed
from defang_milter import address, leftovers, spool_stock
from defang_milter.callbacks import Callbacks, Site
from defang_milter.mux_client import MuxClient, MuxUnavailable
from defang_milter.settings import PROGRAM, Settings
from defang_milter.stop_signal import STOP_SIGNALS, StopSignal

_log: Final = logging.getLogger("defang.milter")

_MUX_POLL_S: Final = 0.2
# A multiplexor that works answers in milliseconds; in between a signal to stop is looked for.
_MUX_PROBE_S: Final = 1.0
_DRAIN_POLL_S: Final = 0.05
# Between two looks at the stock, and two reports to the service manager where no watchdog wants them sooner.
_LOOK_INTERVAL_S: Final = 5.0
# How long a probe of an existing socket may take; a live one answers at once.
_PROBE_TIMEOUT_S: Final = 5.0

_MAX_KEY_BYTES: Final = 255


def site_of(settings: Settings) -> Site:
    """What this host says of itself."""
    try:
        my_ip = socket.gethostbyname(socket.gethostname()).encode()
    except OSError as error:
        _log.warning("this host's own address is unknown: %s", error)
        my_ip = b""
    return Site(my_ip=my_ip, validation_name=_validation_name(settings.ip_key_file))


def _validation_name(key_file: Path) -> bytes | None:
    """The first line of the key file, None if there is no such file or nothing in it."""
    try:
        with key_file.open("rb") as file:
            line = file.readline(_MAX_KEY_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StartFailed(f"{key_file}: {error.strerror}") from error
    return line.rstrip(b"\r\n") or None


def _refuse_live(path: Path) -> None:
    """Raises StartFailed if somebody answers there: libmilter would take the socket away from them."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(_PROBE_TIMEOUT_S)
        try:
            probe.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return
        except OSError as error:
            raise StartFailed(f"{path}: {error.strerror or error}") from error
    raise StartFailed(f"{path}: another milter listens there")


def _register(callbacks: Callbacks) -> None:
    milter.set_connect_callback(callbacks.connect)
    milter.set_helo_callback(callbacks.helo)
    milter.set_envfrom_callback(callbacks.envfrom)
    milter.set_envrcpt_callback(callbacks.envrcpt)
    milter.set_header_callback(callbacks.header)
    milter.set_eoh_callback(callbacks.eoh)
    milter.set_body_callback(callbacks.body)
    milter.set_eom_callback(callbacks.eom)
    milter.set_abort_callback(callbacks.abort)
    milter.set_close_callback(callbacks.close)
    milter.set_flags(milter.CURR_ACTS)
    # For what pymilter cannot decode; our callbacks let no exception out. CONTINUE, because a refusal of a header is
    # not sent to the MTA, but makes libmilter ignore the rest of the message. The excepthook remembers the refusal.
    sys.excepthook = callbacks.excepthook
    milter.set_exception_policy(milter.CONTINUE)
    milter.register(PROGRAM, negotiate=callbacks.negotiate)


@contextmanager
def _listening(settings: Settings) -> Iterator[None]:
    """The milter socket, open on entry; the file of a unix socket is removed at the end if it is still ours."""
    where = address.parse(settings.socket)
    path = where.path if isinstance(where, address.UnixAddress) else None
    if path is not None:
        _refuse_live(path)
    if settings.backlog is not None:
        milter.setbacklog(settings.backlog)
    umask = os.umask(0o007 if settings.group_access else 0o077)
    try:
        milter.setconn(settings.socket)
        milter.opensocket(True)  # remove a stale one
    except milter.error as error:
        reason = where.why_not() or f"{error} (libmilter tells syslog why)"
        raise StartFailed(f"cannot listen on {settings.socket}: {reason}") from error
    finally:
        os.umask(umask)
    mine = None if path is None else os.lstat(path)
    try:
        yield
    finally:
        if path is not None and mine is not None:
            with suppress(FileNotFoundError):
                if os.path.samestat(os.lstat(path), mine):
                    path.unlink()


def _wait_for_mux(path: str, timeout_s: float) -> None:
    """Returns when the multiplexor answers; raises StartFailed if it does not in time, whatever else it does."""
    deadline = time.monotonic() + timeout_s
    while True:
        limit_s = max(min(_MUX_PROBE_S, deadline - time.monotonic()), _MUX_POLL_S)
        try:
            MuxClient(path, timeout_s=limit_s, keep_alive_interval_s=_MUX_POLL_S).free_workers()
        except MuxUnavailable as error:
            if time.monotonic() >= deadline:
                raise StartFailed(f"no answer from the multiplexor in {timeout_s:g} s: {error}") from error
        else:
            return
        if signal.sigtimedwait(STOP_SIGNALS, _MUX_POLL_S) is not None:
            raise StartFailed("told to stop before the multiplexor answered")


class _Libmilter:
    """libmilter's main loop in a thread, which ends only with the process or by an error.

    It is never told to stop: it would then drop the messages in work, and pymilter would crash
    on a connection that was just accepted. So the main thread takes the first signal instead.
    A second one finds nobody else waiting, and so ends libmilter.
    """

    def __init__(self) -> None:
        self.error: str | None = None
        self._waiting = threading.get_ident()
        self._thread = threading.Thread(target=self._run, name="libmilter", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        # Its threads inherit that; one of them then waits for what the main thread does not take.
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        try:
            milter.main()
        except milter.error as error:
            self.error = str(error)
        finally:
            # By an error or a second signal; the main thread is to know in all cases.
            signal.pthread_kill(self._waiting, signal.SIGTERM)

    def runs(self) -> bool:
        return self._thread.is_alive()


def _drain(callbacks: Callbacks, libmilter: _Libmilter, grace_s: float) -> None:
    """Lets messages in work come to their end, for a limited time and while libmilter runs."""
    had_work = bool(callbacks.in_work)
    deadline = time.monotonic() + grace_s
    while callbacks.in_work and libmilter.runs() and time.monotonic() < deadline:
        time.sleep(_DRAIN_POLL_S)
    callbacks.end_all()
    if callbacks.stock is not None:
        callbacks.stock.close()
    if had_work:
        # For libmilter to send the last answers.
        time.sleep(_DRAIN_POLL_S)


def _wait_for_stop(stop: StopSignal, callbacks: Callbacks, libmilter: _Libmilter) -> None:
    """Returns at a signal to stop; until then it keeps the stock small.

    Also the service manager hears that libmilter runs, if it wants to.
    """
    is_managed = notify.is_wanted()
    watchdog_s = notify.watchdog_interval_s() if is_managed else None
    interval_s = min(_LOOK_INTERVAL_S, watchdog_s or _LOOK_INTERVAL_S)
    while True:
        if is_managed:
            notify.status(f"{len(callbacks.in_work)} messages in work")
            if watchdog_s is not None and libmilter.runs():
                notify.alive()
        if stop.wait(interval_s):
            return
        if callbacks.stock is not None:
            callbacks.stock.sweep()


def serve(settings: Settings, ready: Callable[[], None]) -> int:
    """Serves until a signal to stop; the exit status. Raises StartFailed before `ready` was called.

    The process must end by os._exit after this, for libmilter's threads are still there.
    """
    mux = MuxClient(
        str(settings.mux_socket), timeout_s=settings.mux_timeout_s, keep_alive_interval_s=settings.progress_interval_s
    )
    callbacks = Callbacks(settings, site_of(settings), mux)
    _register(callbacks)
    libmilter = _Libmilter()
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    with _listening(settings):
        _wait_for_mux(str(settings.mux_socket), settings.mux_start_timeout_s)
        try:
            leftovers.remove(settings.spool, keep=settings.keep_failed or settings.keep_all)
            spool_stock.remove_left(settings.spool)
        except OSError as error:
            raise StartFailed(f"{settings.spool}: {error.strerror}") from error
        callbacks.stock = spool_stock.stock_in(settings.spool)
        memory.give_back()
        with StopSignal() as stop:
            libmilter.start()
            _log.info("started: %s, multiplexor at %s", settings.socket, settings.mux_socket)
            ready()
            _wait_for_stop(stop, callbacks, libmilter)
        notify.stopping()
        # Before the socket goes, by which others see that we stop.
        callbacks.stopping = True
        _log.info("stopping, %d messages in work", len(callbacks.in_work))
    _drain(callbacks, libmilter, settings.stop_grace_s)
    if libmilter.error is not None:
        _log.critical("libmilter ended: %s", libmilter.error)
        return 1
    _log.info("stopped")
    return 0
