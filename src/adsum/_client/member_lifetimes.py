"""The ends of threads and asyncio tasks, which no other process can know.

Nothing polls for a task: the task and its event loop each hold the only reference to a token. When the task is done it
drops its callbacks, when it is collected unfinished they go with it, and a loop that is closed drops what it had
scheduled. In every case the token is collected, and its finalizer runs (`weakref.finalize`).

A thread has a pidfd of its own (PIDFD_THREAD, Linux 6.9). On older kernels a thread of adsum's calls `is_alive` 50
times a second while there are threads to watch.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from typing import Any, TypeAlias

from .._foreign import reraise_foreign
from .._os import polling
from .._os.forking import call_around_fork
from .._os.liveness import descriptors_needed
from .._os.pidfd import open_pidfd
from .._os.threads import start_thread

# pidfd_open(2): the pidfd refers to the thread, not to its process. The value is that of O_EXCL.
PIDFD_THREAD = os.O_EXCL
CHECK_SECONDS = 0.02
_A_DAY = 24 * 3600.0

Ended: TypeAlias = Callable[[], None]
# A `threading.Thread` or an `asyncio.Task`; this module does not import asyncio.
Member: TypeAlias = Any


class EndCheck:
    """Whether a thread or task is over. It does not keep the member from being collected."""

    __slots__ = ("_member",)

    def __init__(self, member: Member) -> None:
        self._member = weakref.ref(member)

    def __call__(self) -> bool:
        member = self._member()
        if isinstance(member, threading.Thread):
            return not member.is_alive()
        return member is None or member.done() or member.get_loop().is_closed()


def when_over(member: Member, ended: Ended) -> None:
    """Call `ended` once, from any thread, when a thread or task is over."""
    if isinstance(member, threading.Thread):
        _threads.watch(member, _Once(ended))
    else:
        _watch_task(member, _Once(ended))


class _Token:
    """An object that is held; its collection is the event."""

    __slots__ = ("__weakref__",)

    def hold(self, *_: object) -> None:
        """A callback that holds this object and does nothing."""


class _Once:
    """Calls `ended` at its first call, and not again."""

    def __init__(self, ended: Ended) -> None:
        self._ended = ended
        self._lock = threading.Lock()
        self.is_attached = False
        self.leave: Callable[[_Once], None] | None = None

    def __call__(self) -> None:
        if self._lock.acquire(blocking=False):
            if self.leave is not None:
                self.leave(self)
            self._ended()

    def unless_attached(self) -> None:
        """The loop has dropped the callback that was to attach this, or has run it."""
        if not self.is_attached:
            self()


def _watch_task(task: Any, once: _Once) -> None:
    """Call `once` when a task is over in whatever way: return, exception, cancellation, collection, end of its loop."""
    loop = task.get_loop()
    if threading.get_ident() == getattr(loop, "_thread_id", None):
        _attach(task, once)
        return
    # The loop may be closed before it runs the callback; then it drops the callback, and with it this token. The
    # finalizer must not hold the task, or a loop that is never run could not be collected.
    dropped = _Token()
    weakref.finalize(dropped, once.unless_attached).atexit = False
    try:
        loop.call_soon_threadsafe(_attach, task, once, dropped)
    except RuntimeError:
        # The loop is closed.
        once()


def _attach(task: Any, once: _Once, _held: _Token | None = None) -> None:
    """In the thread of the task's loop."""
    once.is_attached = True
    loop = task.get_loop()
    if task.done() or loop.is_closed():
        once()
        return
    token = _Token()
    weakref.finalize(token, once).atexit = False
    task.add_done_callback(token.hold)
    _when_loop_ends(loop, once)


_waiting_for_loops: weakref.WeakKeyDictionary[Any, set[_Once]] = weakref.WeakKeyDictionary()


def _when_loop_ends(loop: Any, once: _Once) -> None:
    """In the loop's thread. However many tasks there are, the loop holds one token."""
    waiting = _waiting_for_loops.get(loop)
    if waiting is None:
        waiting = _waiting_for_loops[loop] = set()
        token = _Token()
        weakref.finalize(token, _call_all, waiting).atexit = False
        _hold_in_loop(loop, token)
    waiting.add(once)
    once.leave = waiting.discard


def _call_all(waiting: set[_Once]) -> None:
    for once in list(waiting):
        once()


def _hold_in_loop(loop: Any, token: _Token) -> None:
    """Let the loop hold a token: as the argument of a timer, which sets itself again a day later."""
    loop.call_later(_A_DAY, _hold_in_loop, loop, token)


class _ThreadWatch:
    """Waits for the ends of threads, in a thread of its own that runs while there are any to wait for."""

    def __init__(self) -> None:
        self._reset()
        call_around_fork(after_in_child=self._forget)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._watched: dict[threading.Thread, tuple[list[Ended], int]] = {}
        self._wake = -1
        self._running = False

    def _forget(self) -> None:
        """In a forked child: its only thread is the one that forked; the other threads run on in the parent."""
        for descriptor in [self._wake, *(pidfd for _, pidfd in self._watched.values())]:
            if descriptor >= 0:
                os.close(descriptor)
        self._reset()

    def watch(self, thread: threading.Thread, ended: Ended) -> None:
        """Call `ended` when `thread` is over. Errors: `SystemBusy` without descriptor or thread."""
        with self._lock:
            # All that can fail comes first, so that nothing is half done.
            if self._wake < 0:
                with descriptors_needed():
                    self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            if not self._running:
                start_thread(self._run, "adsum-threads")
                self._running = True
            if thread in self._watched:
                self._watched[thread][0].append(ended)
            else:
                self._watched[thread] = ([ended], _thread_pidfd(thread))
            os.eventfd_write(self._wake, 1)

    def _run(self) -> None:
        while True:
            waiting = polling.wait_set()
            with self._lock:
                if not self._watched:
                    self._running = False
                    return
                pidfds = [pidfd for _, pidfd in self._watched.values()]
            waiting.register(self._wake, polling.POLLIN)
            for pidfd in pidfds:
                if pidfd >= 0:
                    waiting.register(pidfd, polling.POLLIN)
            ready = waiting.poll(CHECK_SECONDS * 1000 if -1 in pidfds else None)
            if any(fd == self._wake for fd, _ in ready):
                os.eventfd_read(self._wake)
            self._collect()

    def _collect(self) -> None:
        with self._lock:
            over = [thread for thread, (_, pidfd) in self._watched.items() if _is_over(thread, pidfd)]
            gone = [self._watched.pop(thread) for thread in over]
        for callbacks, pidfd in gone:
            if pidfd >= 0:
                os.close(pidfd)
            for ended in callbacks:
                ended()


def _thread_pidfd(thread: threading.Thread) -> int:
    """A pidfd of the thread, or -1 where the kernel has none, the thread has not begun to run or may be a greenlet."""
    if thread.native_id is None or polling.has_greenlets():
        return -1
    try:
        return open_pidfd(thread.native_id, PIDFD_THREAD)
    except OSError as error:
        reraise_foreign(error)
        return -1


def _is_over(thread: threading.Thread, pidfd: int) -> bool:
    return not thread.is_alive() or (pidfd >= 0 and polling.is_readable(pidfd))


_threads = _ThreadWatch()
