"""What lives inside a process: threads and asyncio tasks, whose end this process alone can know.

Both are waited for without polling. A task, and its event loop, each hold the only reference to a token; when the task
ends it drops its callbacks, when it is collected unfinished they go with it, and a loop that closes drops what it had
scheduled: in every case the token dies and tells. A thread has a pidfd of its own (PIDFD_THREAD, Linux 6.9); on older
kernels `is_alive` is asked 50 times a second while there are threads to ask about.
"""

from __future__ import annotations

import os
import select
import threading
import weakref
from collections.abc import Callable
from typing import Any

# pidfd_open(2): the pidfd refers to the thread, not to its process. The value is O_EXCL's.
PIDFD_THREAD = os.O_EXCL
ASK_SECONDS = 0.02
_A_DAY = 24 * 3600.0

Ended = Callable[[], None]


class _Token:
    """Something to hold. Only its death matters."""

    __slots__ = ("__weakref__",)

    def hold(self, *_: object) -> None:
        """Called by whoever holds it; does nothing."""


class _Once:
    """Calls once, whoever calls first."""

    def __init__(self, ended: Ended) -> None:
        self._ended = ended
        self._lock = threading.Lock()
        self.leave: Callable[[_Once], None] | None = None

    def __call__(self) -> None:
        if self._lock.acquire(blocking=False):
            if self.leave is not None:
                self.leave(self)
            self._ended()


def when_task_ends(task: Any, ended: Ended) -> None:
    """Call `ended` once, from any thread, when an asyncio task is over in whatever way: return, exception,
    cancellation, collection, or the end of its loop."""
    once = _Once(ended)
    loop = task.get_loop()
    attached = threading.Event()

    def attach() -> None:
        attached.set()
        if task.done() or loop.is_closed():
            once()
            return
        token = _Token()
        weakref.finalize(token, once).atexit = False
        task.add_done_callback(token.hold)
        _when_loop_ends(loop, once)

    if threading.get_ident() == getattr(loop, "_thread_id", None):
        attach()
        return
    # The loop may close before it comes to this call, and then drops it.
    dropped = _Token()
    weakref.finalize(dropped, lambda: None if attached.is_set() else once()).atexit = False

    def attach_later(_held: _Token = dropped) -> None:
        attach()

    try:
        loop.call_soon_threadsafe(attach_later)
    except RuntimeError:
        # The loop is closed.
        once()


_waiting_for_loops: weakref.WeakKeyDictionary[Any, set[_Once]] = weakref.WeakKeyDictionary()


def _when_loop_ends(loop: Any, once: _Once) -> None:
    """Called in the loop's thread. However many tasks there are, the loop holds one token."""
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
    # The timer's callback holds the token; a day later it is set again, unless the loop is gone by then.
    def again(token: _Token = token) -> None:
        _hold_in_loop(loop, token)

    loop.call_later(_A_DAY, again)


def when_thread_ends(thread: threading.Thread, ended: Ended) -> None:
    """Call `ended` once, soon after the thread has ended."""
    _threads.watch(thread, _Once(ended))


class _ThreadWatch:
    """Waits for the ends of threads, in a thread of its own that exists while there are any to wait for."""

    def __init__(self) -> None:
        self._reset()
        os.register_at_fork(after_in_child=self._forget)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._watched: dict[threading.Thread, tuple[list[Ended], int]] = {}
        self._wake = -1
        self._running = False

    def _forget(self) -> None:
        """In a child: its only thread is the one that forked; what the others lived for is the parent's."""
        for descriptor in [self._wake, *(pidfd for _, pidfd in self._watched.values())]:
            if descriptor >= 0:
                os.close(descriptor)
        self._reset()

    def watch(self, thread: threading.Thread, ended: Ended) -> None:
        with self._lock:
            if thread in self._watched:
                self._watched[thread][0].append(ended)
            else:
                self._watched[thread] = ([ended], _thread_pidfd(thread))
            if self._wake < 0:
                self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            if not self._running:
                self._running = True
                threading.Thread(target=self._run, name="adsum-threads", daemon=True).start()
            os.eventfd_write(self._wake, 1)

    def _run(self) -> None:
        while True:
            poll = select.poll()
            with self._lock:
                if not self._watched:
                    self._running = False
                    return
                pidfds = [pidfd for _, pidfd in self._watched.values()]
            poll.register(self._wake, select.POLLIN)
            for pidfd in pidfds:
                if pidfd >= 0:
                    poll.register(pidfd, select.POLLIN)
            told = poll.poll(ASK_SECONDS * 1000 if -1 in pidfds else None)
            if any(fd == self._wake for fd, _ in told):
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
    """A pidfd for the thread alone, or -1 where the kernel has none or the thread has none yet."""
    if thread.native_id is None:
        return -1
    try:
        return os.pidfd_open(thread.native_id, PIDFD_THREAD)
    except OSError:
        return -1


def _is_over(thread: threading.Thread, pidfd: int) -> bool:
    if not thread.is_alive():
        return True
    if pidfd < 0:
        return False
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


_threads = _ThreadWatch()
