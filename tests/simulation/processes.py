"""Simulated processes, and a kernel that reports their deaths as the real one does."""

from __future__ import annotations

from adsum.model import Owner


class Processes:
    """The process table of a simulated machine. A number is free for another process as soon as its holder is dead.

    With `inodes`, as on Linux 6.9 and newer, two holders of one number differ in the inode of their pidfd and may share
    their start time; without, they differ in their start time alone.
    """

    def __init__(self, *, inodes: bool) -> None:
        self._inodes = inodes
        self._started = 0
        self._living: dict[int, Owner] = {}
        self.ever: list[Owner] = []
        # Processes that die while a batch is decided, and how often the kernel still says that they are alive.
        self.fuses: dict[Owner, int] = {}

    def start(self, pid: int) -> Owner:
        """A new process under a number that is free."""
        if pid in self._living:
            raise ValueError(f"{pid} is taken")
        self._started += 1
        owner = Owner(pid, 7, 2**40 + self._started) if self._inodes else Owner(pid, self._started, 0)
        self._living[pid] = owner
        self.ever.append(owner)
        return owner

    def kill(self, owner: Owner) -> None:
        if self.is_alive(owner):
            del self._living[owner.pid]

    def is_alive(self, owner: Owner) -> bool:
        return self._living.get(owner.pid) == owner

    def answer(self, owner: Owner) -> bool:
        """Whether a process is alive now; it may die between two questions."""
        if owner in self.fuses and self.is_alive(owner):
            if self.fuses[owner] == 0:
                self.kill(owner)
            self.fuses[owner] -= 1
        return self.is_alive(owner)

    def burn(self) -> None:
        """Every process that was to die has died."""
        for owner in self.fuses:
            self.kill(owner)
        self.fuses.clear()

    @property
    def living(self) -> list[Owner]:
        return sorted(self._living.values())

    @property
    def dead(self) -> list[Owner]:
        return [owner for owner in self.ever if not self.is_alive(owner)]


class SimulatedWatch:
    """The interface of `DeathWatch` over simulated processes. One belongs to one registrar and is lost with it."""

    def __init__(self, processes: Processes) -> None:
        self._processes = processes
        self.watched: dict[Owner, None] = {}
        self.scanned: set[Owner] = set()

    def __contains__(self, owner: object) -> bool:
        return owner in self.watched

    def watch(self, owner: Owner) -> bool:
        if not self._processes.answer(owner):
            return False
        self.watched[owner] = None
        return True

    def is_alive(self, owner: Owner) -> bool:
        return self._processes.answer(owner)

    def ends_now(self, owner: Owner) -> bool:
        return False

    def unwatch(self, owner: Owner) -> None:
        self.watched.pop(owner, None)

    def deaths(self) -> list[Owner]:
        """The watched owners that are dead; they stay watched until `unwatch`."""
        return [owner for owner in self.watched if not self._processes.is_alive(owner)]
