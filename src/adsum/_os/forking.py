"""All hooks around `fork` and at the end of the interpreter, in one place and one order.

An object with threads, locks or descriptors of its own registers itself with `add_fork_aware`; a module registers plain
functions with `call_around_fork` and `call_at_exit`.

- Before a fork: the modules' ``before`` functions, the latest first; then every object *quiesces*.
- After it, in parent and child: every object *resumes*, in the opposite order; then the modules' functions, the
  earliest first.
- At exit: the modules' functions, the latest first. Objects do nothing: functions that the program registered with
  `atexit` may call them later, and threads that such a function joins.

This is the order of `os.register_at_fork` itself, so that what is acquired first is released last. No other module of
adsum calls `os.register_at_fork` or `atexit.register`.

Where a thread starts a program (`no_fork_during`), another thread's fork waits, last of all, until it has started. The
child would keep a copy of the pipe through which `subprocess` waits for the exec, and so the wait would last as long as
the child.

A fork from C code does not run these hooks: that of uWSGI, for one. So every use of a thing that a fork copies begins
with ``if not own[0]: notice_fork()``. `own` is one byte of memory that the kernel clears in a child (MADV_WIPEONFORK,
madvise(2), Linux 4.14), so the check costs no system call. A child that notices runs what follows a fork in a child.
Nothing quiesced before such a fork, so the hooks of a child find locks that no thread will release: they replace them.
"""

from __future__ import annotations

import atexit
import mmap
import os
import threading
import weakref
from collections.abc import Callable
from typing import ParamSpec, Protocol, TypeVar

from .._foreign import reraise_foreign
from .locks import holding

# From linux/mman.h; the module `mmap` does not have it.
_MADV_WIPEONFORK = 18

P = ParamSpec("P")
R = TypeVar("R")


class _OwnByPid:
    """`own` where the kernel cannot clear memory at a fork."""

    def __init__(self) -> None:
        self._pid = os.getpid()

    def __getitem__(self, _: int) -> bool:
        return os.getpid() == self._pid

    def __setitem__(self, _: int, __: bool) -> None:
        self._pid = os.getpid()


def _own_memory() -> memoryview[bool] | _OwnByPid:
    """A place whose item 0 is true in the process that set it, and false in each child that was forked since."""
    page = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    try:
        page.madvise(_MADV_WIPEONFORK)
    except OSError:
        page.close()
        return _OwnByPid()
    return memoryview(page).cast("?")


# Whether this process has run the hooks since it was forked.
own = _own_memory()
own[0] = True


class ForkAware(Protocol):
    """An object that must not be in the middle of a change while the process forks."""

    def quiesce(self) -> None:
        """Before a fork, in the parent: hold everything that another thread may be changing."""

    def after_fork(self, *, child: bool) -> None:
        """Resume. In the child: drop everything inherited, without touching what the parent still uses. It may not have
        quiesced there (see `notice_fork`), and must not raise."""


_aware: weakref.WeakSet[ForkAware] = weakref.WeakSet()
_quiesced: list[ForkAware] = []
_before_fork: list[Callable[[], object]] = []
_after_in_parent: list[Callable[[], object]] = []
_after_in_child: list[Callable[[], object]] = []
_at_exit: list[Callable[[], object]] = []
# Held around each fork, and by a thread that starts a program.
_starting = threading.RLock()


def add_fork_aware(thing: ForkAware) -> None:
    """Call the hooks of `thing` at every `os.fork`, for as long as it lives."""
    _aware.add(thing)


def call_around_fork(
    *,
    before: Callable[[], object] | None = None,
    after_in_parent: Callable[[], object] | None = None,
    after_in_child: Callable[[], object] | None = None,
) -> None:
    """Call a module's functions at every `os.fork` from now on."""
    for hooks, hook in ((_before_fork, before), (_after_in_parent, after_in_parent), (_after_in_child, after_in_child)):
        if hook is not None:
            hooks.append(hook)


def call_at_exit(hook: Callable[[], object]) -> None:
    """Call a module's function when the interpreter ends."""
    _at_exit.append(hook)


def no_fork_during(call: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> R:
    """Make a call, and let no other thread fork before it returns. The call must not wait for another thread: that one
    may be forking."""
    return holding(_starting, call, *arguments, **named)


def notice_fork() -> None:
    """Run the hooks of a child, once, in a child whose fork Python did not see."""
    # A thread of the parent may hold an older lock.
    holding(_noticing.setdefault(os.getpid(), threading.RLock()), _notice)


def _notice() -> None:
    if not own[0] and not _hooks_run:
        _quiesced[:] = list(_aware)
        _after(child=True)


# By pid: held by the thread of a child that runs the hooks.
_noticing: dict[int, threading.RLock] = {}
# Not empty while the hooks of a child run. They may call the program, and the program may call back.
_hooks_run: list[bool] = []


def _before() -> None:
    if not own[0]:
        notice_fork()
    for hook in reversed(_before_fork):
        hook()
    _quiesced[:] = list(_aware)
    for thing in _quiesced:
        thing.quiesce()
    _starting.acquire()


def _after(*, child: bool) -> None:
    global _starting
    if child:
        _starting = threading.RLock()
    else:
        try:
            _starting.release()
        except RuntimeError as error:
            # The wait for it was interrupted.
            reraise_foreign(error)
    _hooks_run.append(True)
    try:
        for thing in reversed(_quiesced):
            thing.after_fork(child=child)
        _quiesced.clear()
        for hook in _after_in_child if child else _after_in_parent:
            hook()
    finally:
        own[0] = True
        _hooks_run.clear()


@atexit.register
def _exit() -> None:
    if not own[0]:
        notice_fork()
    for hook in reversed(_at_exit):
        hook()


os.register_at_fork(
    before=_before, after_in_parent=lambda: _after(child=False), after_in_child=lambda: _after(child=True)
)
