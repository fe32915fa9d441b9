"""Liveness as two ports: the reader's question, and the registrar's watch over all owners.

`tests/conformance/test_liveness.py` is their suite; `liveness.LivenessCheck` and `death_watch.DeathWatch` are today's
implementations. The rule for all: unknown is never dead.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Protocol

from ..model import Owner


class ReaderLiveness(Protocol):
    """Who is alive, asked at the moment of a read. Safe for threads, and in signal handlers."""

    def is_alive(self, owner: Owner) -> bool:
        """Whether `owner` is alive now. A zombie is not; a stopped process is. Errors: `SystemBusy` where the process
        has no descriptor left to find out."""
        ...

    def alive_among(self, owners: Iterable[Owner]) -> set[Owner]:
        """The owners among `owners` that are alive now. Errors: as `is_alive`."""
        ...

    def is_ending(self, owner: Owner) -> bool:
        """Whether no thread of `owner`, which was alive a moment ago, will run its program again. False where that is
        not known."""
        ...

    def close(self) -> None:
        """Give all descriptors back."""
        ...

    def abandon(self) -> None:
        """In a forked child: close the copies of the parent's descriptors, and change nothing that the parent uses."""
        ...


class DeathReports(Protocol):
    """The deaths of all watched owners, in one place. For one thread."""

    @property
    def scanned(self) -> Collection[Owner]:
        """The watched owners for which no descriptor was left; `scan` finds their deaths."""
        ...

    def fileno(self) -> int:
        """A descriptor that is readable while `deaths` has something to report."""
        ...

    def watch(self, owner: Owner) -> bool:
        """Report the owner's death from now on. False where it is dead already, and is not watched."""
        ...

    def unwatch(self, owner: Owner) -> None:
        """Report the owner's death no longer."""
        ...

    def is_alive(self, owner: Owner) -> bool:
        """Whether `owner` is alive now, watched or not."""
        ...

    def ends_now(self, owner: Owner) -> bool:
        """Whether `owner` is ending, and has ended within a moment, for which this waits."""
        ...

    def deaths(self) -> list[Owner]:
        """Watched owners that have died, and have a descriptor; reported until `unwatch`."""
        ...

    def scan(self) -> list[Owner]:
        """The dead among the `scanned` owners."""
        ...

    def close(self) -> None:
        """Give all descriptors back."""
        ...
