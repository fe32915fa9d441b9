"""Liveness of processes as a reader asks for it, at the moment of a read.

It keeps pidfds in an epoll, so one system call answers for all processes at once. A pidfd becomes readable when its
process exits, also while that is a zombie, and stays readable (pidfd_open(2), epoll(7)). The registrar waits for deaths
in the same way (see `death_watch`).
"""

from __future__ import annotations

import errno
import os
import resource
import threading
import time
from collections.abc import Callable, Iterable
from typing import ParamSpec, TypeVar

from .._foreign import reraise_foreign
from ..errors import RegistrarUnavailable, SystemBusy
from ..model import Owner
from . import polling
from .descriptors import Descriptor, Wakeup, close_epoll, note
from .ending import is_ending
from .forking import notice_fork, own
from .identity import has_exited, open_verified
from .locks import locked

P = ParamSpec("P")
R = TypeVar("R")

OUT_OF_DESCRIPTORS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


class descriptors_needed:  # noqa: N801 - it is used as a function; a class enters and leaves at a fifth of the time
    """A context manager that translates an error about a missing file descriptor into `SystemBusy`, also where it is
    the cause of a `RegistrarUnavailable`."""

    def __enter__(self) -> None:
        return

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if not isinstance(error, (OSError, RegistrarUnavailable)):
            return
        reraise_foreign(error)
        cause = error.__cause__ if isinstance(error, RegistrarUnavailable) else error
        if isinstance(cause, OSError) and cause.errno in OUT_OF_DESCRIPTORS:
            raise SystemBusy(
                f"this process has no file descriptor left for the registry ({cause}); close some or raise "
                "RLIMIT_NOFILE"
            ) from cause


def is_running(owner: Owner) -> bool:
    """Whether `owner` is alive now, according to the kernel. Raises `OSError` when no descriptor is left."""
    pidfd = open_verified(owner)
    if pidfd is None:
        return False
    os.close(pidfd)
    return True


_MOST_EVENTS = 64
# How long a process whose lifeline has broken is looked at in /proc: a thread may not be past its last step yet.
ENDING_SECONDS = 0.1


class LivenessCheck:
    """The reader's implementation of `ReaderLiveness`, with at most `capacity` pidfds kept open.

    For an owner whose pidfd is open an answer costs one `epoll_wait`; for another it costs opening a pidfd and checking
    the identity. When the capacity is reached, the pidfd that was opened first is closed.

    It opens nothing before the first question, so a process that forks to become a daemon, and then closes every
    descriptor, closes none of these.
    """

    def __init__(self, capacity: int | None = None) -> None:
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self.capacity = capacity or max(8, min(1024, soft // 4))
        self._lock = threading.RLock()
        # The thread that is changing the maps, 0 for none.
        self._changing = 0
        self._closed = False
        self._asked_until: dict[Owner, float] = {}
        self._reset()

    def _reset(self) -> None:
        # None while there are no pidfds.
        self._epoll: polling.epoll | None = None
        self._mark: Wakeup | None = None
        # An owner is here only while its pidfd is in the epoll, because threads ask without the lock.
        self._pidfds: dict[Owner, int] = {}
        self._owners: dict[int, Owner] = {}
        self._noted: dict[int, Descriptor] = {}
        # How many pidfds were dropped, which a thread compares before and after it asks.
        self._dropped = 0

    def is_alive(self, owner: Owner) -> bool:
        """Whether `owner` is alive now. A zombie is not; a stopped process is."""
        dropped, pidfd = self._dropped, self._pidfds.get(owner)
        if pidfd is not None and (epoll := self._epoll) is not None:
            try:
                quiet = not epoll.poll(0, _MOST_EVENTS)
            except (OSError, ValueError) as error:
                reraise_foreign(error)
                # Another thread may have closed this, or the program its descriptors.
                if self._epoll is epoll and self.is_ours():
                    raise
                self.verify()
            else:
                if not quiet and self._has_exited(owner, pidfd):
                    return False
                # Another thread may have collected this death, or closed the pidfd of a living owner to make room.
                if (quiet and self._dropped == dropped) or (self.collect() and owner in self._pidfds):
                    return True
        if self._keeps_nothing():
            return self._ask(owner)
        return self._change(self._is_tracked, owner)

    def _has_exited(self, owner: Owner, pidfd: int) -> bool:
        """Whether the pidfd that is kept for `owner` says so. False proves nothing. The pidfd is closed by a later
        question, about an owner that lives: this read wants its answer."""
        noted = self._noted.get(pidfd)
        # The number may be that of another owner's pidfd by now, opened by another thread or a signal handler. On
        # kernels before 6.9 all pidfds are one file, whose inode is not in `owner`.
        if noted is None or noted.file[1] != owner.pidfd_inode:
            return False
        # Last, so that it was ours when it was asked.
        return has_exited(pidfd) and noted.is_ours()

    def alive_among(self, owners: Iterable[Owner]) -> set[Owner]:
        """The owners among `owners` that are alive now, by one system call where they fit the capacity."""
        wanted = set(owners)
        if len(wanted) <= self.capacity and not self._keeps_nothing():
            self._change(self._track_all, wanted)
        if not self.collect():
            return {owner for owner in wanted if self._ask(owner)}
        # An owner without a pidfd now has died, or had to make room: ask for it alone.
        return {owner for owner in wanted if owner in self._pidfds or self.is_alive(owner)}

    def is_ending(self, owner: Owner) -> bool:
        """Whether no thread of `owner`, which was alive a moment ago, will run its program again. One that goes on is
        not asked about for long: its end is known by its pidfd, as for those without a lifeline."""
        now = time.monotonic()
        if len(self._asked_until) >= self.capacity:
            self._asked_until.clear()
        return now <= self._asked_until.setdefault(owner, now + ENDING_SECONDS) and is_ending(owner.pid)

    def collect(self) -> bool:
        """Close the pidfds of owners that have died. False where that is not possible now."""
        while (epoll := self._epoll) is not None:
            try:
                died = epoll.poll(0, _MOST_EVENTS)
            except (OSError, ValueError) as error:
                reraise_foreign(error)
                if self._epoll is epoll and self.is_ours():
                    raise
                # The epoll is another file's number now, so it says nothing about the dead.
                died = None
            if died == []:
                break
            if self._keeps_nothing():
                return False
            if died is None or not any(pidfd in self._owners for pidfd, _ in died):
                # Another thread has collected them, or these are events of another epoll under the number of ours.
                self.verify()
                continue
            self._change(self._drop_all, died)
        return True

    def is_ours(self) -> bool:
        """Whether the epoll, if there is one, is still the one that was opened."""
        epoll, mark = self._epoll, self._mark
        return epoll is None or mark is None or mark.wakes(epoll, 0)

    def verify(self) -> None:
        """Begin anew where the program closed the descriptors, which it does when it becomes a daemon."""
        if not self.is_ours() and not self._keeps_nothing():
            self._change(self.abandon)

    def _keeps_nothing(self) -> bool:
        """Whether no pidfd can be kept now: this is closed, or the parent's, or a signal handler or a finalizer
        interrupted a change by its own thread. It can neither wait for the change to end nor begin another one, so it
        asks the kernel."""
        if not own[0]:
            notice_fork()
            return True
        return self._closed or self._changing == threading.get_ident()

    def _ask(self, owner: Owner) -> bool:
        with descriptors_needed():
            return is_running(owner)

    @locked
    def _change(self, change: Callable[P, R], /, *arguments: P.args, **named: P.kwargs) -> R:
        """Make a change of the maps."""
        try:
            self._changing = threading.get_ident()
            return change(*arguments, **named)
        finally:
            self._changing = 0

    @locked
    def close(self) -> None:
        """Keep nothing from now on. A thread that still asks gets an answer."""
        self._closed = True
        self.abandon()

    def abandon(self) -> None:
        """Close the descriptors that are still ours, and change nothing else: in a forked child they are copies, and
        unregistering a pidfd would change the epoll that the parent uses."""
        epoll, mark, pidfds = self._epoll, self._mark, list(self._noted.values())
        dropped = self._dropped + 1
        self._reset()
        self._dropped = dropped
        for pidfd in pidfds:
            pidfd.close()
        if epoll is not None and mark is not None:
            close_epoll(epoll, mark, 0)

    def _is_tracked(self, owner: Owner) -> bool:
        return owner in self._pidfds or self._track(owner)

    def _track_all(self, owners: Iterable[Owner]) -> None:
        for owner in owners:
            self._is_tracked(owner)

    def _drop_all(self, died: Iterable[tuple[int, int]]) -> None:
        for pidfd, _ in died:
            self._drop(pidfd)

    def _track(self, owner: Owner) -> bool:
        while len(self._owners) >= self.capacity:
            self._drop_oldest()
        pidfd = self._open(owner)
        if pidfd is None:
            return False
        self._owners[pidfd] = owner
        try:
            self._noted[pidfd] = note(pidfd)
            self._opened_epoll().register(pidfd, polling.EPOLLIN)
        except OSError as error:
            self._drop(pidfd)
            reraise_foreign(error)
            # No memory, or fs.epoll.max_user_watches is reached. It was alive just now, and is asked again next time.
            return True
        except BaseException:
            self._drop(pidfd)
            raise
        self._pidfds[owner] = pidfd
        return True

    def _opened_epoll(self) -> polling.epoll:
        if self._epoll is None:
            with descriptors_needed():
                mark, epoll = Wakeup(), polling.epoll()
            epoll.register(mark, 0)
            self._mark, self._epoll = mark, epoll
        return self._epoll

    def _open(self, owner: Owner) -> int | None:
        while True:
            try:
                return open_verified(owner)
            except OSError as error:
                reraise_foreign(error)
                if error.errno not in OUT_OF_DESCRIPTORS:
                    raise
                if not self._owners:
                    raise SystemBusy(
                        "this process has no file descriptor left to check liveness; close some or raise RLIMIT_NOFILE"
                    ) from error
                self._drop_oldest()

    def _drop_oldest(self) -> None:
        self._drop(next(iter(self._owners)))

    def _drop(self, pidfd: int) -> None:
        # Removed last: a pidfd that an interrupt leaves half dropped is dropped again when room is needed.
        owner = self._owners.get(pidfd)
        if owner is None:
            # Two threads collected the same death.
            return
        self._dropped += 1
        self._pidfds.pop(owner, None)
        noted = self._noted.get(pidfd)
        # Not noted where an interrupt came just after it was opened.
        is_ours = noted is None or noted.is_ours()
        try:
            # Closing is not enough while a forked child that has not run our hooks yet holds a copy.
            if self._epoll is not None and is_ours:
                self._epoll.unregister(pidfd)
        except FileNotFoundError as error:
            # An interrupt came before it was registered, or after it was unregistered.
            reraise_foreign(error)
        finally:
            # No interrupt comes between these, because nothing is called: forgotten is closed.
            del self._owners[pidfd]
            if noted is not None:
                del self._noted[pidfd]
            if is_ours:
                os.close(pidfd)
