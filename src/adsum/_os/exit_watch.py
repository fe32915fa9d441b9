"""How processes ended, as the kernel reports it to the registrar.

At the death of a process only its parent can ask for its exit. From Linux 6.15 on the kernel keeps the exit with each
open pidfd, and gives it (PIDFD_GET_INFO) as soon as the parent has reaped the process. It reports the reaping as a
hang-up of the pidfd. So the registrar keeps the pidfds of the dead until then.
"""

from __future__ import annotations

import os

from ..model import Owner
from . import polling
from .pidfd import gives_exits, read_exit

# As many as there are departures that could take an exit. A parent may never reap.
MOST_KEPT = 1000


class ExitWatch:
    """Waits for the exits of dead processes. For one thread."""

    def __init__(self) -> None:
        self._epoll = polling.epoll()
        # By pidfd, the oldest first.
        self._owners: dict[int, Owner] = {}

    def fileno(self) -> int:
        """Readable when `exits` has something to report."""
        return self._epoll.fileno()

    def __len__(self) -> int:
        return len(self._owners)

    def keep(self, owner: Owner, pidfd: int) -> bool:
        """Take over the pidfd of a dead process, and report its exit once. False, and nothing is taken over, where the
        kernel gives no exits."""
        if not gives_exits(pidfd):
            return False
        if len(self._owners) >= MOST_KEPT:
            self.drop_oldest()
        try:
            # No event is asked for: the kernel reports a hang-up in any case (epoll_ctl(2)).
            self._epoll.register(pidfd, 0)
        except OSError:
            # There is no memory for it; then the exit stays unknown.
            return False
        self._owners[pidfd] = owner
        return True

    def exits(self) -> list[tuple[Owner, int]]:
        """The processes that were reaped since the last call, each with its exit."""
        found = []
        for pidfd, _ in self._epoll.poll(0):
            code = read_exit(pidfd)
            if code is not None:
                found.append((self._owners[pidfd], code))
            self._drop(pidfd)
        return found

    def drop_oldest(self) -> None:
        """Give up the process that died first: its descriptor is needed. Its exit stays unknown."""
        if self._owners:
            self._drop(next(iter(self._owners)))

    def close(self) -> None:
        """Give all descriptors back."""
        for pidfd in list(self._owners):
            self._drop(pidfd)
        self._epoll.close()

    def _drop(self, pidfd: int) -> None:
        del self._owners[pidfd]
        self._epoll.unregister(pidfd)
        os.close(pidfd)
