# SPDX-License-Identifier: GPL-3.0-or-later
"""`defang-worker`: command line, descriptors and signals; the work is in loop.py and scan.py.

A multiplexor starts it as `defang-worker [-f FILTER] -server` (or `-serveru`, with status tags), which is
MIMEDefang's calling convention, or as `-template`, which forks such servers. Exit status: 0 when the input has ended,
78 if the filter cannot be loaded, 75 if its `on_start` failed.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import threading
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from defang_common.wire import answers, confinement, requests
from defang_common.wire.errors import Malformed
from defang_common.wire.spool import COMMANDS
from defang_worker import command_line, log_lines, loop, scan, stacks, status, workdir
from defang_worker.api import filter_file
from defang_worker.api.hooks import FilterFault
from defang_worker.status import STATUS_DESCRIPTOR, StatusTags

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from defang_worker.api.hooks import SiteFilter

_log: Final = logging.getLogger("defang.worker")

# Both are of sysexits.h: what will not get better by itself, and what may.
_EXIT_FILTER_NOT_LOADED: Final = os.EX_CONFIG
_EXIT_START_FAILED: Final = os.EX_TEMPFAIL

# A collection follows each message (scan.py). This one is for other requests, and within messages of very many parts.
_GC_THRESHOLD_OBJECTS: Final = 2_000


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program; the value is its exit status."""
    parser = command_line.parser()
    args = parser.parse_args(command_line.words_of(sys.argv[1:] if argv is None else argv))
    path = getattr(args, "filter", command_line.DEFAULT_FILTER)
    ours = frozenset(threading.enumerate())
    if args.mode in {"structure", "check", "test-mail"}:
        return _left(_look(path, args), ours)
    formatter = log_lines.configure()
    try:
        match args.mode:
            case "quarantine" | "features":
                status = _administer(path, args)
            case "test":
                status = _test(filter_file.load(path))
            case "scan":
                status = _scan(path, args.directory)
            case "template":
                formatter.marks_levels = True
                return _serve_as_template(path, formatter, ours)
            case _:
                formatter.marks_levels = True
                # What a filter still does in threads when its worker is done, is its own affair.
                return _serve_as_program(
                    path, formatter, _status_tags(parser) if args.status_tags else StatusTags(None)
                )
    except filter_file.FilterNotLoaded as fault:
        _log.error("filter not loaded: %s", fault, exc_info=fault.__cause__)
        status = _EXIT_FILTER_NOT_LOADED
    except FilterFault as fault:
        _log.error("filter not started: %s", fault, exc_info=fault.__cause__)
        status = _EXIT_START_FAILED
    return _left(status, ours)


def _left(status: int, ours: frozenset[threading.Thread]) -> int:
    """The exit status; but the process ends here if the filter's file has started threads that would keep it.

    Nobody waits for them: a filter that is no good, or on trial, has nothing to bring to an end.
    """
    if all(thread.daemon for thread in threading.enumerate() if thread not in ours):
        return status
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _look(path: str, args: argparse.Namespace) -> int:
    """The words that only look at filters and messages; a server need not load what does that."""
    match args.mode:
        case "structure":
            from defang_worker.structure import command  # noqa: PLC0415

            return command.run(args.files, as_json=args.json, extract_to=args.extract)
        case "check":
            from defang_worker.checking import command as checking  # noqa: PLC0415

            return checking.run(path, args)
        case _:
            from defang_worker.trial import command as trial  # noqa: PLC0415

            return trial.run(path, args)


def _status_tags(parser: argparse.ArgumentParser) -> StatusTags:
    try:
        return StatusTags(STATUS_DESCRIPTOR)
    except OSError:
        parser.error(f"status tags: descriptor {STATUS_DESCRIPTOR} is not open")


def _serve_as_template(path: str, formatter: log_lines.QueueIdFormatter, ours: frozenset[threading.Thread]) -> int:
    """Loads the filter and forks workers; the exit status of the template, or of the worker that this has become."""
    # A server that is started as a program needs no sockets.
    from defang_common.wire.template import HELLO, encode_fault  # noqa: PLC0415
    from defang_worker import arguments, preloading, template  # noqa: PLC0415
    from defang_worker.rehearsal import rehearse  # noqa: PLC0415

    # A collection would leave holes in pages, which every worker would fill on its own.
    gc.disable()
    control = template.Control()
    control.say(HELLO)
    try:
        site = filter_file.load(path)
    except filter_file.FilterNotLoaded as fault:
        # The multiplexor logs it, and tells whoever asked for the filter to be read.
        trace = "".join(traceback.format_exception(fault.__cause__)) if fault.__cause__ else ""
        control.say(encode_fault(f"{fault}\n{trace}".rstrip()))
        return _left(_EXIT_FILTER_NOT_LOADED, ours)
    preloading.load_for(path)
    rehearse(formatter)
    _tell_of_confinement(site)
    has_tags = template.serve(control)
    if has_tags is None:
        return _left(os.EX_OK, ours)
    arguments.show(b"-serveru" if has_tags else b"-server")
    workdir.become_worker()
    stacks.write_when_it_ends()
    tags = StatusTags(STATUS_DESCRIPTOR if has_tags else None)
    return _serve(site, _private_descriptors(), loop.Worker(site, tags, formatter), tags, is_forked=True)


def _tell_of_confinement(site: SiteFilter) -> None:
    """Says what is missing, for this process and those that it forks; what is asked wrongly, they say."""
    with suppress(Malformed):
        if confinement.is_asked(os.environ) and confinement.TOLD not in os.environ:
            from defang_worker.confinement.apply import tell_what_is_missing  # noqa: PLC0415

            tell_what_is_missing(confinement.decode(os.environ), site)


def _serve_as_program(path: str, formatter: log_lines.QueueIdFormatter, tags: StatusTags) -> int:
    stacks.write_when_it_ends()
    # Before the filter is loaded, which may print.
    descriptors = _private_descriptors()
    site = filter_file.load(path)
    _tell_of_confinement(site)
    return _serve(site, descriptors, loop.Worker(site, tags, formatter), tags)


def _serve(
    site: SiteFilter, descriptors: tuple[int, int], worker: loop.Worker, tags: StatusTags, *, is_forked: bool = False
) -> int:
    _confine(site, worker)
    # Ctrl-C at a multiplexor in the foreground reaches every process; its workers end when their input does.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _start(site, is_forked=is_forked)
    try:
        status.use(tags)
        loop.serve(worker, *descriptors)
    except OSError as fault:
        _log.error("the multiplexor is gone: %s", fault)  # there is nothing to see in a traceback
        _stop(site)
        return os.EX_IOERR
    return _stop(site)


def _confine(site: SiteFilter, worker: loop.Worker) -> None:
    """Does what the multiplexor asks in the environment; raises FilterFault. Most ask nothing, and load nothing."""
    try:
        if confinement.is_asked(os.environ):
            from defang_worker.confinement.apply import confine  # noqa: PLC0415

            asked = confinement.decode(os.environ)
            confine(asked, site)
            worker.cpu_limit_s = asked.cpu_limit_s
    except (Malformed, OSError) as fault:
        raise FilterFault(f"not confined as asked: {fault}") from fault


def _scan(path: str, directory: str) -> int:
    site = filter_file.load(path)
    _start(site)
    request = requests.Scan(queue_id=requests.NO_QUEUE_ID, directory=os.fsencode(directory))
    # However long it has been kept: the time that checks have begins now.
    with suppress(OSError):  # what is missing there, the scan tells
        os.utime(os.path.join(directory, COMMANDS))  # noqa: PTH118
    answered = scan.scan(site, request, StatusTags(None))
    return _stop(site) if answered == answers.SCAN_OK else 1


def _private_descriptors() -> tuple[int, int]:
    """The protocol's descriptors, moved away from 0 and 1.

    What the filter prints then goes to the log, and a program that it starts neither reads requests nor writes answers.
    """
    fd_in, fd_out = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return fd_in, fd_out


def _start(site: SiteFilter, *, is_forked: bool = False) -> None:
    if site.has("on_start"):
        site.call("on_start")
    # The template has frozen what a forked one has. To ask would count it, in a quarter of the time of a fork.
    if not is_forked or site.has("on_start"):
        gc.collect()
    gc.freeze()
    gc.set_threshold(_GC_THRESHOLD_OBJECTS, 10, 10)
    gc.enable()


def _stop(site: SiteFilter) -> int:
    if not site.has("on_stop"):
        return 0
    try:
        status = site.call("on_stop")
    except FilterFault as fault:
        _log.error("%s", fault, exc_info=fault.__cause__)
        return 1
    return status if isinstance(status, int) else 0


def _administer(path: str, args: argparse.Namespace) -> int:
    """The words for those who run the site; a server need not load what does that."""
    # Without a filter the usual settings serve; one that was named has to be there.
    is_there = hasattr(args, "filter") or os.path.exists(path)  # noqa: PTH110
    site = filter_file.load(path if is_there else filter_file.NO_FILTER)
    if args.mode == "features":
        from defang_worker.features import command as features  # noqa: PLC0415

        return features.run(site, as_json=args.json)
    from defang_worker.quarantine import command  # noqa: PLC0415

    return command.run(args, site.settings, filter_file.real_effects)


def _test(site: SiteFilter) -> int:
    callbacks = ", ".join(site.hooks) or "none"
    status = _validated(site) if site.has("on_validate") else 0
    if status == 0:
        sys.stdout.write(f"{site.path}: the filter can be used; callbacks: {callbacks}\n")
    return status


def _validated(site: SiteFilter) -> int:
    """What the filter's own test says, as an exit status."""
    if site.has("on_start"):
        site.call("on_start")
    status = site.call("on_validate")
    if not isinstance(status, int | None):
        raise FilterFault(f"on_validate: {site.path}: returned {status!r:.100}, not an exit status or None")
    return status or _stop(site)


if __name__ == "__main__":
    sys.exit(main())
