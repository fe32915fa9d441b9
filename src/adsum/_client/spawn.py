"""Starting a registrar: a client that finds none starts one, as `multiprocessing` starts its resource tracker."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from .._foreign import reraise_foreign
from .._instrument import instrument
from .._os import folder as folders
from .._os.descriptors import Descriptor, note
from .._os.forking import call_around_fork, call_at_exit
from .._os.liveness import descriptors_needed
from ..errors import BY_REASON, RegistrarUnavailable
from .launch import REMEDY, Launch
from .starting import StartingProcess

_LOCKED_PAUSE = 0.002
# Before the second and the third try. A registrar that was killed in its start is replaced at once; one that cannot
# start at all costs no more than these tries.
_PAUSES = (0.0, 0.2)
# By folder: a process that had not come to its fork when its caller's time was up. The next call waits for the same
# one, so that a short timeout cannot start one process after the other.
_unfinished: dict[Path, StartingProcess] = {}


def _nothing() -> None:
    """What usually comes first."""


def start_registrar(folder: Path, launch: Launch, until: float, *, first: Callable[[], None] = _nothing) -> bool:
    """Start a registrar for `folder` and wait until it serves. False where another one serves or is about to, and at
    `until` (monotonic); the caller dials again.

    No other client starts a registrar from the call of `first` until the new one serves. Errors: the one that kept it
    from serving; `RegistrarUnavailable` when it cannot be started at all, or ended three times and reported no error;
    `SystemBusy` where this process has no descriptor left.
    """
    folders.create(folder)
    began = time.monotonic()
    with descriptors_needed(), _alone(folder) as alone:
        if alone:
            first()
        word = _start(folder, launch, until) if alone else "other"
    if word == "other":
        # Another process holds the lock: a registrar about to serve, or about to leave. The caller dials again.
        time.sleep(max(0.0, min(_LOCKED_PAUSE, until - time.monotonic())))
    elif word == "ready":
        if (report := instrument.registrar_started) is not None:
            report(folder, time.monotonic() - began)
    elif word:
        reason, _, message = word.partition("\n")
        raise BY_REASON.get(reason, RegistrarUnavailable)(message or reason)
    return word == "ready"


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    """Whether no other process is starting a registrar for this folder; twenty at once would delay each other."""
    try:
        descriptor = os.open(folder / "starting", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        reraise_foreign(error)
        raise RegistrarUnavailable(f"cannot start a registrar in {folder}: {error}; see adsum doctor") from error
    with _not_inherited(descriptor):
        if not _is_locked_by_us(descriptor):
            yield False
            return
        try:
            yield True
        finally:
            # Not by closing alone: a forked child may have a copy, which would keep the lock (flock(2)).
            fcntl.flock(descriptor, fcntl.LOCK_UN)


# The descriptors of the starts that are in progress, by number.
_in_progress: dict[int, Descriptor] = {}


@contextlib.contextmanager
def _not_inherited(number: int) -> Iterator[None]:
    """Close a descriptor at the end of the block, and at once in a child that is forked inside the block."""
    _in_progress[number] = note(number)
    try:
        yield
    finally:
        if (noted := _in_progress.pop(number, None)) is not None:
            noted.close()


def _is_locked_by_us(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        reraise_foreign(error)
        return False
    return True


def _close_in_child() -> None:
    for noted in _in_progress.values():
        noted.close()
    _in_progress.clear()


call_around_fork(after_in_child=_close_in_child)


def _start(folder: Path, launch: Launch, until: float) -> str | None:
    """The report of the starting registrar; None at `until`. Tries again where it ends without a report."""
    for tries, pause in enumerate((*_PAUSES, None), 1):
        process = _take_unfinished(folder) or StartingProcess(folder, launch)
        report = _listen(folder, process, until)
        if report or report is None:
            return report
        if pause is None or time.monotonic() + pause >= until:
            raise RegistrarUnavailable(
                f"no registrar could be started in {folder}, in {tries} tries: {process.describe()}; see registrar.log "
                f"there; {REMEDY}"
            )
        time.sleep(pause)
    raise AssertionError("the last try returns or raises")


def _listen(folder: Path, process: StartingProcess, until: float) -> str | None:
    """Its report. At `until`, a process that has not forked yet is left for the next call, or ended if overdue."""
    try:
        report = process.report(until)
    except BaseException:
        process.kill()
        raise
    if report is not None:
        process.finish()
    elif process.has_forked:
        process.close()
    elif process.is_overdue:
        process.kill()
        raise RegistrarUnavailable(f"no registrar could be started in {folder}: {process.describe()}; {REMEDY}")
    else:
        _unfinished[folder] = process
    return report


def _take_unfinished(folder: Path) -> StartingProcess | None:
    process = _unfinished.pop(folder, None)
    if process is not None and process.starter != os.getpid():
        process.disown()
        return None
    return process


def _end_unfinished() -> None:
    while _unfinished:
        _, process = _unfinished.popitem()
        if process.starter == os.getpid():
            process.kill()


def _forget_unfinished() -> None:
    while _unfinished:
        _unfinished.popitem()[1].disown()


call_around_fork(after_in_child=_forget_unfinished)
call_at_exit(_end_unfinished)
