"""Reports of how child processes ended, which this process registered with the objects that it has of them.

From Linux 6.15 on the registrar learns the exit of a process from the kernel, when the parent has reaped it. On older
kernels only the parent knows it. So where a `subprocess.Popen` or `multiprocessing.Process` is registered, a thread of
this process waits for its death, asks for its exit without reaping it, and sends that to the registrar.
"""

from __future__ import annotations

import math
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from .. import _wire as wire
from .._foreign import reraise_foreign
from .._os import identity, polling, threads
from .._os.child_exit import exit_of_child
from .._os.descriptors import Descriptor, Wakeup, note
from .._os.forking import add_fork_aware
from .._os.locks import locked
from .._store import page as pages
from ..errors import AdsumError
from ..model import Limits, Owner
from .connection import framed
from .dial import dial
from .launch import Launch

# So many children are waited for. Each takes a descriptor, which the program may need.
MOST_CHILDREN = 128
# How long one report may take.
REPORT_SECONDS = 1.0
# A thread that reaps a child at the moment of its death writes down the exit a moment later.
RETRY_SECONDS = 0.02
GIVE_UP_SECONDS = 1.0
# A registrar that does not answer is asked again, after the first pause, and the longest; and how long a known exit is
# kept for it.
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0
KEEP_SECONDS = 300.0


class _Child(NamedTuple):
    owner: Owner
    pidfd: Descriptor
    # A weak reference to the program's object.
    process: Callable[[], Any]


class ExitReports:
    """The children that one client waits for, and the thread that does. It ends with the last of them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._closed = False
        self._reset()
        add_fork_aware(self)

    def _reset(self) -> None:
        self._lock = threading.RLock()
        self._children: dict[Owner, _Child] = {}
        # Those that have ended, with an exit that is not known yet, and when to give up.
        self._unknown: dict[Owner, float] = {}
        # The exits that are known and not reported yet, with when to give up; and when to try.
        self._exits: dict[Owner, tuple[int, float]] = {}
        self._not_before, self._pause = 0.0, FIRST_PAUSE
        self._thread: threading.Thread | None = None
        self._wake: Wakeup | None = None

    def expect(self, owner: Owner, process: object) -> None:
        """Report how `process` ended when it has; nothing for an object that is none of a child. An exit that cannot be
        waited for stays unknown."""
        if process is None or isinstance(process, int):
            return
        if not (hasattr(process, "returncode") or hasattr(process, "_popen")):
            return
        try:
            self._expect(owner, process)
        except (AdsumError, OSError, TypeError) as error:
            # No descriptor or thread is left, or no weak reference to the object is possible.
            reraise_foreign(error)

    @locked
    def _expect(self, owner: Owner, process: object) -> None:
        if self._closed or owner in self._children or len(self._children) + len(self._exits) >= MOST_CHILDREN:
            return
        reference = weakref.ref(process)
        pidfd = identity.open_verified(owner)
        if pidfd is None:
            return
        self._children[owner] = _Child(owner, note(pidfd), reference)
        if self._thread is None:
            self._start()
        elif self._wake is not None:
            self._wake.ring()

    def _start(self) -> None:
        wake = Wakeup()
        thread = threading.Thread(target=self._run, args=(wake,), name="adsum-exits", daemon=True)
        # Kept before it starts, because an interrupt of `start` does not stop the thread.
        self._wake, self._thread = wake, thread
        try:
            threads.start(thread)
        except BaseException:
            self._release()
            raise

    @locked
    def close(self) -> None:
        """End the thread, and report no exit any more."""
        self._closed = True
        if self._wake is not None:
            self._wake.ring()

    def join(self) -> None:
        """Wait, for a moment at most, until the thread has ended."""
        threads.join(self._thread, REPORT_SECONDS)

    # The thread

    def _run(self, wake: Wakeup) -> None:
        while not self._may_end():
            self._wait(wake)
            for child in [child for child in list(self._children.values()) if self._has_ended(child)]:
                self._ended(child)
            self._report()

    @locked
    def _may_end(self) -> bool:
        if (self._children or self._exits) and not self._closed and self._wake is not None and self._wake.is_ours():
            return False
        self._release()
        return True

    def _release(self) -> None:
        for child in self._children.values():
            child.pidfd.close()
        wake = self._wake
        self._children, self._unknown, self._exits, self._thread, self._wake = {}, {}, {}, None, None
        if wake is not None:
            wake.close()

    def _wait(self, wake: Wakeup) -> None:
        waiting = polling.wait_set()
        waiting.register(wake, polling.POLLIN)
        for owner, child in list(self._children.items()):
            # One that has ended is readable all the time.
            if owner not in self._unknown and child.pidfd.is_ours():
                waiting.register(child.pidfd.number, polling.POLLIN)
        pauses = [RETRY_SECONDS] if self._unknown else []
        if self._exits:
            pauses.append(max(0.0, self._not_before - time.monotonic()))
        try:
            waiting.poll(math.ceil(min(pauses) * 1000) if pauses else None)
        except OSError:
            # Without memory the kernel waits for nothing (poll(2)).
            time.sleep(RETRY_SECONDS)
        wake.clear()

    def _has_ended(self, child: _Child) -> bool:
        if not child.pidfd.is_ours():
            # The program has closed it; the number may be of another process by now.
            self._drop(child)
            return False
        return identity.has_exited(child.pidfd.number)

    def _ended(self, child: _Child) -> None:
        code = exit_of_child(child.pidfd.number, child.owner.pid)
        if code is None:
            code = _recorded(child.process())
        until = self._unknown.setdefault(child.owner, time.monotonic() + GIVE_UP_SECONDS)
        if code is not None:
            self._drop(child)
            self._exits[child.owner] = code, time.monotonic() + KEEP_SECONDS
        elif time.monotonic() > until:
            self._drop(child)

    def _report(self) -> None:
        """Report the exits that are known. One registrar decides about all of them: where it does not answer, all are
        for later."""
        while self._exits and not self._closed and time.monotonic() >= self._not_before:
            owner, (code, until) = next(iter(self._exits.items()))
            if _reported(self._folder, owner, code):
                self._pause = FIRST_PAUSE
            elif time.monotonic() < until:
                self._not_before = time.monotonic() + self._pause
                self._pause = min(2 * self._pause, LONGEST_PAUSE)
                return
            # Where it is too late, the exit stays unknown.
            self._exits.pop(owner, None)

    @locked
    def _drop(self, child: _Child) -> None:
        self._unknown.pop(child.owner, None)
        if self._children.pop(child.owner, None) is not None:
            child.pidfd.close()

    # fork

    def quiesce(self) -> None:
        """Hold nothing: the thread, which may be reporting at this moment, stays in the parent."""

    def after_fork(self, *, child: bool) -> None:
        if child:
            # The children are the parent's, and the descriptors are copies of its own.
            copies, wake = [one.pidfd for one in self._children.values()], self._wake
            self._reset()
            for copy in copies:
                copy.close()
            if wake is not None:
                wake.close()


def _recorded(process: Any) -> int | None:
    """The exit that the program's own wait has written down; None where there is none, or where it may be wrong."""
    subprocess, multiprocessing = sys.modules.get("subprocess"), sys.modules.get("multiprocessing.process")
    if subprocess is not None and isinstance(process, subprocess.Popen):
        # 0 is also what a Popen says of a child whose status it could not get.
        return process.returncode or None
    if multiprocessing is not None and isinstance(process, multiprocessing.BaseProcess):
        # `exitcode` itself would reap the child.
        code = getattr(getattr(process, "_popen", None), "returncode", None)
        return code if isinstance(code, int) else None
    return None


def _reported(folder: Path, owner: Owner, code: int) -> bool:
    """Whether a registrar has answered, or there is no registry."""
    try:
        report(folder, owner, code, REPORT_SECONDS)
    except (AdsumError, OSError) as error:
        # It is stopped, or gone: it, or the next one, can be asked later.
        reraise_foreign(error)
        return False
    return True


def report(folder: Path, owner: Owner, code: int, seconds: float) -> bool:
    """Let the registrar note how a process ended; starts none. Whether it was noted: it was not known before, and an
    entry of the process has ended by its death. Errors: those of a request; `OSError` where the registrar leaves."""
    if pages.peek(folder) is None:
        return False
    until = time.monotonic() + seconds
    connection = dial(folder, Launch(Limits()), os.urandom(16), until, seconds, may_start=_never)
    try:
        request = wire.ExitOf(owner=owner, code=code)
        connection.send(framed(request, 1, until + connection.clock_ahead), until)
        reply = wire.decode_reply(connection.receive_first(until))
    except msgspec.MsgspecError as error:
        reraise_foreign(error)
        return False
    finally:
        connection.close()
    if isinstance(reply, wire.Failed):
        raise wire.error_from(reply)
    return isinstance(reply, wire.Done) and reply.changed


def _never() -> bool:
    return False
