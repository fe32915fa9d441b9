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
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from .._foreign import reraise_foreign
from .._os import polling, threads
from .._os.descriptors import Descriptor, Wakeup, note
from .._os.forking import call_around_fork, notice_fork, own
from .._os.liveness import descriptors_needed
from .._os.locks import locked
from .._os.pidfd import open_pidfd
from ..errors import SystemBusy

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
        _threads.watch(member, _OneTimeCall(ended))
    else:
        _watch_task(member, _OneTimeCall(ended))


class _Token:
    """An object that is held; its collection is the event."""

    __slots__ = ("__weakref__",)

    def hold(self, *_: object) -> None:
        """A callback that holds this object and does nothing."""


class _OneTimeCall:
    """Calls `ended` at its first call, and not again."""

    def __init__(self, ended: Ended) -> None:
        self._ended = ended
        self._lock = threading.Lock()
        self.is_attached = False
        self.leave: Callable[[_OneTimeCall], None] | None = None

    def __call__(self) -> None:
        if self._lock.acquire(blocking=False):
            if self.leave is not None:
                self.leave(self)
            self._ended()

    def unless_attached(self) -> None:
        """The loop has dropped the callback that was to attach this, or has run it."""
        if not self.is_attached:
            self()


def _watch_task(task: Any, once: _OneTimeCall) -> None:
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


def _attach(task: Any, once: _OneTimeCall, _held: _Token | None = None) -> None:
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


_waiting_for_loops: weakref.WeakKeyDictionary[Any, set[_OneTimeCall]] = weakref.WeakKeyDictionary()


def _when_loop_ends(loop: Any, once: _OneTimeCall) -> None:
    """In the loop's thread. However many tasks there are, the loop holds one token."""
    waiting = _waiting_for_loops.get(loop)
    if waiting is None:
        waiting = _waiting_for_loops[loop] = set()
        token = _Token()
        weakref.finalize(token, _call_all, waiting).atexit = False
        _hold_in_loop(loop, token)
    waiting.add(once)
    once.leave = waiting.discard


def _call_all(waiting: set[_OneTimeCall]) -> None:
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
        self._lock = threading.RLock()
        # With the pidfd of each thread, where it has one.
        self._watched: dict[threading.Thread, tuple[list[Ended], Descriptor | None]] = {}
        self._wake: Wakeup | None = None
        self._running: threading.Thread | None = None

    def _forget(self) -> None:
        """In a forked child: its only thread is the one that forked; the other threads run on in the parent."""
        wake, watched = self._wake, self._watched
        self._reset()
        _close_all([pidfd for _, pidfd in watched.values()], wake)

    def watch(self, thread: threading.Thread, ended: Ended) -> None:
        """Call `ended` when `thread` is over. Errors: `SystemBusy` without a descriptor or thread to wait with."""
        if not own[0]:
            notice_fork()
        self._watch(thread, ended)

    @locked
    def _watch(self, thread: threading.Thread, ended: Ended) -> None:
        wake = self._opened()
        if thread in self._watched:
            self._watched[thread][0].append(ended)
        else:
            self._watched[thread] = ([ended], _thread_pidfd(thread))
        wake.ring()

    def _opened(self) -> Wakeup:
        """What wakes the thread that waits. Opened and started where they are not, and where the program closed the
        descriptors: then the same threads are watched with others, in another thread."""
        wake = self._wake
        if wake is not None and not wake.is_ours():
            _close_all([pidfd for _, pidfd in self._watched.values()], wake)
            for thread, (callbacks, _) in list(self._watched.items()):
                self._watched[thread] = (callbacks, _thread_pidfd(thread))
            wake = self._wake = self._running = None
        if wake is None:
            with descriptors_needed():
                wake = self._wake = Wakeup()
        if self._running is None:
            self._start(wake)
        return wake

    def _start(self, wake: Wakeup) -> None:
        # Kept before it starts, because an interrupt of `start` does not stop the thread.
        self._running = threading.Thread(target=self._run, args=(wake,), name="adsum-threads", daemon=True)
        try:
            threads.start(self._running)
        except SystemBusy:
            self._running = None
            raise

    def _run(self, wake: Wakeup) -> None:
        # `watch` holds the lock until it has added the first thread.
        while True:
            waiting = polling.wait_set()
            pidfds = self._to_watch(wake)
            if pidfds is None:
                return
            waiting.register(wake, polling.POLLIN)
            for pidfd in pidfds:
                if pidfd is not None:
                    waiting.register(pidfd.number, polling.POLLIN)
            waiting.poll(CHECK_SECONDS * 1000 if None in pidfds else None)
            wake.clear()
            self._collect()

    @locked
    def _to_watch(self, wake: Wakeup) -> list[Descriptor | None] | None:
        """The pidfds of the threads to watch; None where there are none, or where another thread watches them."""
        if self._opened() is not wake:
            return None
        if not self._watched:
            self._running = None
            return None
        return [pidfd for _, pidfd in self._watched.values()]

    def _collect(self) -> None:
        for callbacks, pidfd in self._take_ended():
            _close_all([pidfd])
            for ended in callbacks:
                ended()

    @locked
    def _take_ended(self) -> list[tuple[list[Ended], Descriptor | None]]:
        over = [thread for thread, (_, pidfd) in self._watched.items() if _is_over(thread, pidfd)]
        return [self._watched.pop(thread) for thread in over]


def _close_all(descriptors: Iterable[Descriptor | None], wake: Wakeup | None = None) -> None:
    for one in (*descriptors, wake):
        if one is not None:
            one.close()


def _thread_pidfd(thread: threading.Thread) -> Descriptor | None:
    """A pidfd of the thread; None where the kernel has none, the thread has not begun to run or may be a greenlet."""
    if thread.native_id is None or polling.has_greenlets():
        return None
    try:
        return note(open_pidfd(thread.native_id, PIDFD_THREAD))
    except OSError as error:
        reraise_foreign(error)
        return None


def _is_over(thread: threading.Thread, pidfd: Descriptor | None) -> bool:
    if not thread.is_alive():
        return True
    return pidfd is not None and pidfd.is_ours() and polling.is_readable(pidfd.number)


_threads = _ThreadWatch()
