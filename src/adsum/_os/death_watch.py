"""Liveness of processes as the registrar needs it: it waits for deaths.

It keeps the pidfd of each owner in one epoll, as a reader does (see `liveness`).
"""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Callable, Iterator

from ..model import Owner
from . import polling
from .ending import is_ending
from .exit_watch import ExitWatch
from .identity import has_exited, open_verified
from .liveness import OUT_OF_DESCRIPTORS, is_running

MOST_DEATHS = 128
# How long the registrar waits for the end of a process that is ending: with 100 MB of memory that takes 10 ms or so.
ENDING_SECONDS = 0.02


class DeathWatch:
    """The registrar's implementation of `OwnerWatch`: one pidfd for each owner.

    Half of all descriptors are for sockets. When the other half is used up, the registrar scans further owners: it
    opens, checks and closes them one by one. Two descriptors are held back, so that a scan can always open a pidfd and
    a file in /proc.

    With `exits`, the pidfd of a dead owner goes over to it at `unwatch`. It may have the descriptors that the living
    leave. `lives` knows of some owners, without a system call, that they are alive, and not ending.
    """

    def __init__(self, exits: ExitWatch | None = None, lives: Callable[[Owner], bool] = lambda owner: False) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft < hard:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.capacity = max(16, hard // 2 - 32)
        self.scanned: set[Owner] = set()
        self._exits = exits
        self._lives = lives
        # Owners that took longer to end than the registrar waits.
        self._slow: set[Owner] = set()
        self._epoll = polling.epoll()
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
        """Watch `owner` from now on; False when it is dead. The pidfd is open before the identity is checked."""
        if owner in self:
            return self.is_alive(owner)
        if len(self._pidfds) < self.capacity:
            self._make_way()
            try:
                pidfd = open_verified(owner)
            except OSError as error:
                if error.errno not in OUT_OF_DESCRIPTORS:
                    raise
            else:
                if pidfd is None:
                    return False
                if self._can_wait_for(pidfd):
                    self._pidfds[owner] = pidfd
                    self._owners[pidfd] = owner
                    return True
        if not self._check(owner):
            return False
        self.scanned.add(owner)
        return True

    def _can_wait_for(self, pidfd: int) -> bool:
        """Put a pidfd into the epoll; close it where there is no memory, or fs.epoll.max_user_watches is reached."""
        try:
            self._epoll.register(pidfd, polling.EPOLLIN)
        except OSError as error:
            os.close(pidfd)
            if error.errno not in (errno.ENOMEM, errno.ENOSPC):
                raise
            return False
        return True

    def is_alive(self, owner: Owner) -> bool:
        """Whether `owner` is alive now, watched or not."""
        pidfd = self._pidfds.get(owner)
        return self._check(owner) if pidfd is None else not has_exited(pidfd)

    def ends_now(self, owner: Owner) -> bool:
        """Whether `owner` is ending, and has ended within `ENDING_SECONDS`, for which this waits: once for an owner, so
        that one which takes long to end holds up nothing else."""
        pidfd = self._pidfds.get(owner)
        if pidfd is None or owner in self._slow or self._lives(owner):
            return False
        if not is_ending(owner.pid):
            # Since it was asked whether it is alive, it may have ended whole, and be gone from /proc.
            return has_exited(pidfd)
        if polling.is_readable(pidfd, ENDING_SECONDS):
            return True
        self._slow.add(owner)
        return False

    def unwatch(self, owner: Owner) -> None:
        self._slow.discard(owner)
        pidfd = self._pidfds.pop(owner, None)
        if pidfd is None:
            self.scanned.discard(owner)
            return
        del self._owners[pidfd]
        self._epoll.unregister(pidfd)
        # Here it may be taken over. Of an owner that is alive, an entry was removed.
        if self._exits is None or not has_exited(pidfd) or not self._exits.keep(owner, pidfd):
            os.close(pidfd)

    def _make_way(self) -> None:
        """Take a descriptor from the dead where the living need it."""
        if self._exits is not None and len(self._pidfds) + len(self._exits) >= self.capacity:
            self._exits.drop_oldest()

    def deaths(self, most: int = MOST_DEATHS) -> list[Owner]:
        """At most so many of the watched owners that have died; they stay watched until `unwatch`."""
        return [self._owners[pidfd] for pidfd, _ in self._epoll.poll(0, most)]

    def scan(self) -> list[Owner]:
        """The dead among the owners that have no pidfd here."""
        return [owner for owner in self.scanned if not self._check(owner)]

    def close(self) -> None:
        for descriptor in [*self._owners, *self._spare]:
            os.close(descriptor)
        self._pidfds.clear()
        self._owners.clear()
        self._spare.clear()
        self.scanned.clear()
        self._epoll.close()

    def _check(self, owner: Owner) -> bool:
        try:
            return is_running(owner)
        except OSError as error:
            if error.errno not in OUT_OF_DESCRIPTORS:
                raise
        # With the descriptors that are held back the kernel can always be asked.
        while self._spare:
            os.close(self._spare.pop())
        try:
            return is_running(owner)
        finally:
            self._hold_back()

    def _hold_back(self) -> None:
        while len(self._spare) < 2:
            self._spare.append(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC))
