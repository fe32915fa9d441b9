"""Ports: the registrar's interfaces to the machine. A simulation passes its own implementations.

Real ones are `SystemClock`, `DeathWatch`, `LockedFiles` and `failpoints.from_environment`.
"""

from collections.abc import Callable, Collection
from typing import Protocol, TypeAlias

import msgspec

from .._engine.batch import Instant
from .._os.log import Log
from ..model import Owner


class Clock(Protocol):
    """The clocks. `monotonic` counts seconds, and `monotonic_ns` nanoseconds, of the same one; `boottime_ns` is that of
    the words of hosts (see `_store.hosts`)."""

    def instant(self) -> Instant: ...
    def monotonic(self) -> float: ...
    def monotonic_ns(self) -> int: ...
    def boottime_ns(self) -> int: ...
    def worked_ns(self) -> int:
        """The processor time that this process has used."""
        ...


class OwnerWatch(Protocol):
    """The committer's part of `_os.ports.DeathReports`: which owners are watched."""

    @property
    def scanned(self) -> Collection[Owner]: ...

    def __contains__(self, owner: object) -> bool: ...

    def watch(self, owner: Owner) -> bool:
        """Report the owner's death from now on. False when it is dead already, and is not watched."""

    def unwatch(self, owner: Owner) -> None: ...

    def ends_now(self, owner: Owner) -> bool:
        """Whether `owner` is ending, and has ended within a moment, for which this waits: once for an owner."""


class SessionFiles(Protocol):
    """Whether the kernel says that a session is over; `forget` removes the file of one that is."""

    def is_over(self, session: bytes) -> bool: ...
    def forget(self, session: bytes) -> None: ...


# Called with the name of each step. One of a test may kill this process, raise, or let time pass.
Failpoint: TypeAlias = Callable[[str], None]


class Ports(msgspec.Struct, frozen=True):
    """The ports of one registrar."""

    kernel: OwnerWatch
    session_files: SessionFiles
    clock: Clock
    failpoint: Failpoint
    log: Log
