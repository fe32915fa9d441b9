"""Who lives, asked in two ways: a reader asks at the moment it reads, a registrar is told when somebody dies.

Both hold pidfds in an epoll of their own, where one system call answers for every process at once: a pidfd becomes
readable when its process exits, a zombie included, and stays so.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import select
import threading
from collections.abc import Iterable, Iterator

from ..errors import AdsumError, SystemBusy
from ..model import Owner
from .identity import open_verified

_OUT_OF_DESCRIPTORS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


@contextlib.contextmanager
def descriptors_needed() -> Iterator[None]:
    """Say in our words that there is no file descriptor left."""
    try:
        yield
    except OSError as error:
        if error.errno not in _OUT_OF_DESCRIPTORS or isinstance(error, AdsumError):
            raise
        raise SystemBusy(
            "this process has no file descriptor left for the registry; close some or raise RLIMIT_NOFILE"
        ) from error


def lives(owner: Owner) -> bool:
    """The kernel's word on `owner` now. Raises `OSError` when no descriptor can be had."""
    pidfd = open_verified(owner)
    if pidfd is None:
        return False
    os.close(pidfd)
    return True


_IN = select.EPOLLIN
_MOST_EVENTS = 64


class LivenessCheck:
    """A reader's view: `is_alive(owner)` at this very moment, with at most `capacity` descriptors kept open.

    The owners last opened are kept; for one of them the answer costs one `epoll_wait`, for another the opening of a
    pidfd and the check that it is the same process.
    """

    def __init__(self, capacity: int | None = None) -> None:
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self.capacity = capacity or max(8, min(1024, soft // 4))
        self._lock = threading.RLock()
        # The thread that is in the middle of a change, 0 for none.
        self._changing = 0
        self._epoll = select.epoll()
        self._pidfds: dict[Owner, int] = {}
        self._owners: dict[int, Owner] = {}

    def is_alive(self, owner: Owner) -> bool:
        """Whether `owner` lives now; a zombie does not, a stopped process does."""
        if owner in self._pidfds:
            all_known = not self._epoll.poll(0, _MOST_EVENTS) or self.collect()
            # Another thread may have been told of this death first, or have let go of a living owner to make room.
            if all_known and owner in self._pidfds:
                return True
        if self._interrupted():
            return self._ask(owner)
        with self._change():
            return owner in self._pidfds or self._track(owner)

    def alive_among(self, owners: Iterable[Owner]) -> set[Owner]:
        """Those of `owners` that live now, asked as one question where they fit the capacity."""
        wanted = set(owners)
        if len(wanted) <= self.capacity and not self._interrupted():
            with self._change():
                for owner in wanted:
                    if owner not in self._pidfds:
                        self._track(owner)
        if not self.collect():
            return {owner for owner in wanted if self._ask(owner)}
        # What is not tracked now died, or had to make room for another: ask again, one by one.
        return {owner for owner in wanted if owner in self._pidfds or self.is_alive(owner)}

    def collect(self) -> bool:
        """Forget the owners that died since the last look; False where that cannot be done now."""
        while died := self._epoll.poll(0, _MOST_EVENTS):
            if self._interrupted():
                return False
            with self._change():
                for pidfd, _ in died:
                    self._drop(pidfd)
        return True

    def _interrupted(self) -> bool:
        """Whether this is a signal handler, or a finalizer, that came in the middle of a change by its own thread.

        It cannot wait for the change to end, nor make another inside it. So it asks the kernel and keeps nothing.
        """
        return self._changing == threading.get_ident()

    def _ask(self, owner: Owner) -> bool:
        with descriptors_needed():
            return lives(owner)

    @contextlib.contextmanager
    def _change(self) -> Iterator[None]:
        with self._lock:
            self._changing = threading.get_ident()
            try:
                yield
            finally:
                self._changing = 0

    def close(self) -> None:
        with self._lock:
            for pidfd in self._owners:
                os.close(pidfd)
            self._pidfds.clear()
            self._owners.clear()
            self._epoll.close()

    def abandon(self) -> None:
        """In a child: close the copies of the parent's descriptors. Another thread may have held the lock at the fork,
        and unregistering would change the epoll that the parent still uses."""
        for pidfd in self._owners:
            os.close(pidfd)
        self._epoll.close()

    def _track(self, owner: Owner) -> bool:
        while len(self._owners) >= self.capacity:
            self._drop_oldest()
        pidfd = self._open(owner)
        if pidfd is None:
            return False
        self._owners[pidfd] = owner
        try:
            self._epoll.register(pidfd, _IN)
        except BaseException:
            self._drop(pidfd)
            raise
        self._pidfds[owner] = pidfd
        return True

    def _open(self, owner: Owner) -> int | None:
        while True:
            try:
                return open_verified(owner)
            except OSError as error:
                if error.errno not in _OUT_OF_DESCRIPTORS:
                    raise
                if not self._owners:
                    raise SystemBusy(
                        "this process has no file descriptor left to check who lives; close some or raise RLIMIT_NOFILE"
                    ) from error
                self._drop_oldest()

    def _drop_oldest(self) -> None:
        self._drop(next(iter(self._owners)))

    def _drop(self, pidfd: int) -> None:
        # Forgotten last: what an interrupt leaves half dropped is dropped again when there is need of room.
        owner = self._owners.get(pidfd)
        if owner is None:
            # Two threads were told of the same death.
            return
        self._pidfds.pop(owner, None)
        try:
            # Closing alone does not do it while a child that has not come to our handlers yet holds a copy.
            self._epoll.unregister(pidfd)
        except FileNotFoundError:
            # An interrupt came before it was registered, or after this.
            pass
        finally:
            del self._owners[pidfd]
            os.close(pidfd)


class DeathWatch:
    """A registrar's view: one pidfd for each owner, and the list of those that died.

    Half of all descriptors are for sockets. When the other half runs out, further owners are scanned: opened, checked
    and closed one by one. Two descriptors are held back, so that a scan can always open a pidfd and a file in /proc.
    """

    def __init__(self) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft < hard:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.capacity = max(16, hard // 2 - 32)
        self.scanned: set[Owner] = set()
        self._epoll = select.epoll()
        self._pidfds: dict[Owner, int] = {}
        self._owners: dict[int, Owner] = {}
        self._spare: list[int] = []
        self._hold_back()

    def fileno(self) -> int:
        """Readable when a watched owner has died (an epoll can be waited for in another one, epoll(7))."""
        return self._epoll.fileno()

    def __contains__(self, owner: object) -> bool:
        return owner in self._pidfds or owner in self.scanned

    def __len__(self) -> int:
        return len(self._pidfds) + len(self.scanned)

    def __iter__(self) -> Iterator[Owner]:
        yield from self._pidfds
        yield from self.scanned

    def watch(self, owner: Owner) -> bool:
        """Watch `owner` from now on; False when it is dead already. The pidfd is open before identity is checked."""
        if owner in self:
            return self.is_alive(owner)
        if len(self._pidfds) < self.capacity:
            try:
                pidfd = open_verified(owner)
            except OSError as error:
                if error.errno not in _OUT_OF_DESCRIPTORS:
                    raise
            else:
                if pidfd is None:
                    return False
                self._epoll.register(pidfd, _IN)
                self._pidfds[owner] = pidfd
                self._owners[pidfd] = owner
                return True
        if not self._lives(owner):
            return False
        self.scanned.add(owner)
        return True

    def is_alive(self, owner: Owner) -> bool:
        """The kernel's word on `owner` now, watched or not."""
        pidfd = self._pidfds.get(owner)
        if pidfd is None:
            return self._lives(owner)
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        return not poll.poll(0)

    def unwatch(self, owner: Owner) -> None:
        pidfd = self._pidfds.pop(owner, None)
        if pidfd is None:
            self.scanned.discard(owner)
            return
        del self._owners[pidfd]
        self._epoll.unregister(pidfd)
        os.close(pidfd)

    def deaths(self) -> list[Owner]:
        """The watched owners that have died; they stay watched until `unwatch`."""
        return [self._owners[pidfd] for pidfd, _ in self._epoll.poll(0, 1024)]

    def scan(self) -> list[Owner]:
        """The dead among the owners that no descriptor watches."""
        return [owner for owner in self.scanned if not self._lives(owner)]

    def _lives(self, owner: Owner) -> bool:
        try:
            return lives(owner)
        except OSError as error:
            if error.errno not in _OUT_OF_DESCRIPTORS:
                raise
        # With the descriptors that are held back the kernel can always be asked.
        while self._spare:
            os.close(self._spare.pop())
        try:
            return lives(owner)
        finally:
            self._hold_back()

    def _hold_back(self) -> None:
        while len(self._spare) < 2:
            self._spare.append(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC))
