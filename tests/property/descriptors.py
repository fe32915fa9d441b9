"""A kernel with few descriptors: a simulated process's pidfd is an eventfd, readable when the process is dead."""

from __future__ import annotations

import errno
import os

from adsum.model import Owner


class FewDescriptors:
    """Hands out pidfds of simulated processes, as `open_verified` does, while there are any to be had."""

    def __init__(self) -> None:
        self.allowed = 10**6
        self.living: set[Owner] = set()
        self._pidfds: dict[int, Owner] = {}
        self._inodes: dict[int, int] = {}

    def start(self, owner: Owner) -> None:
        self.living.add(owner)

    def kill(self, owner: Owner) -> None:
        self.living.discard(owner)
        for descriptor in self.open_for(owner):
            os.eventfd_write(descriptor, 1)

    def open_verified(self, owner: Owner) -> int | None:
        if len(self.open) >= self.allowed:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        if owner not in self.living:
            return None
        descriptor = os.eventfd(0, os.EFD_CLOEXEC)
        self._pidfds[descriptor] = owner
        return descriptor

    def closed(self, descriptor: int) -> None:
        self._pidfds.pop(descriptor, None)

    @property
    def open(self) -> dict[int, Owner]:
        """The open pidfds, each with the owner that it refers to."""
        return self._pidfds

    def open_for(self, owner: Owner) -> list[int]:
        return [descriptor for descriptor, whose in self._pidfds.items() if whose == owner]
