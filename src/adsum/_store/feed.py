"""The change feed: a base state, then every change after it, then "lagged" when changes were missed.

A feed is a position in the history of a registry, and a copy of the state that its consumer keeps. It is the shape of
etcd's mirror syncer (client/v3/mirror): list at a revision, then follow from that revision. All consumers of changes
use it: watches (`adsum._watching`), telemetry, and the mirror behind `adsum top`.

A feed reads the tables itself, all new changes in one snapshot, and keeps at most as many changes as the history holds.
A slow consumer therefore costs only itself. It never waits: what to wait with is the business of `_client.bell`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, NamedTuple, Protocol, TypeVar

from .history import Step

B = TypeVar("B")
B_co = TypeVar("B_co", covariant=True)


class Position(NamedTuple):
    """A point in the history of a registry. `epoch` is 0 where there is no registry yet; `revision` is that of the last
    change before the point."""

    epoch: int
    revision: int


class ChangeSource(Protocol):
    """What a feed reads from. `adsum._store.reader.Reader` is one."""

    def position(self) -> tuple[int, int]:
        """The present position, as cheap as memory; never behind an acknowledged change."""
        ...

    def steps_since(self, epoch: int, revision: int) -> tuple[int, int, list[Step] | None]:
        """The present position and the changes up to it, oldest first; None for the changes where the history does not
        reach back to `revision`, or where the registry has another epoch (epoch 0 is any)."""
        ...


class ChangeFeed(Protocol[B_co]):
    """The port: base state, then changes, then "lagged". `tests/conformance/test_change_feed.py` is its suite."""

    @property
    def base(self) -> B_co:
        """The state at the point where the changes start; after a lag, at the point where they start again."""
        ...

    @property
    def position(self) -> Position:
        """Everything up to here has been taken."""
        ...

    def advance(self) -> bool:
        """Read the changes since the last call, if none is pending. False where changes were missed: the base is new,
        and the changes start again from it."""
        ...

    def take(self) -> Step | None:
        """The oldest pending change, which is pending no longer; None where none is."""
        ...

    def peek(self) -> Step | None:
        """The oldest pending change, which stays pending."""
        ...


class Base(NamedTuple, Generic[B]):
    """A state, the position of the last change that `pending` leads to, and the changes from the state to it."""

    position: Position
    state: B
    pending: tuple[Step, ...] = ()


class _At(NamedTuple):
    # Replaced as a whole, so a fork in the middle of a read finds both or neither.
    position: Position
    pending: deque[Step]


class TableFeed(Generic[B]):
    """The change feed of the tables. Not safe for threads: a consumer that several threads use holds a lock.

    `read_base` reads the present base state; `start` is where to begin instead of there.
    """

    def __init__(self, source: ChangeSource, read_base: Callable[[], Base[B]], start: Base[B] | None = None) -> None:
        self._source = source
        self._read_base = read_base
        self._base, self._at = self._begin(read_base() if start is None else start)

    @property
    def base(self) -> B:
        return self._base

    @property
    def position(self) -> Position:
        (epoch, revision), pending = self._at
        return Position(epoch, revision - len(pending))

    def advance(self) -> bool:
        at, pending = self._at
        # The registrar brings the page up to date before it rings the bell.
        if pending or self._source.position() == at:
            return True
        epoch, revision, steps = self._source.steps_since(at.epoch, at.revision)
        if steps is None:
            self.restart()
            return False
        self._at = _At(Position(epoch, revision), deque(steps))
        return True

    def take(self) -> Step | None:
        pending = self._at.pending
        return pending.popleft() if pending else None

    def peek(self) -> Step | None:
        pending = self._at.pending
        return pending[0] if pending else None

    def is_gone(self) -> bool:
        """Whether the registry that the feed follows was removed, and none has taken its place."""
        return self._at.position.epoch != 0 and self._source.position()[0] == 0

    def restart(self) -> None:
        """Read the base state again, and start from it."""
        self._base, self._at = self._begin(self._read_base())

    @staticmethod
    def _begin(start: Base[B]) -> tuple[B, _At]:
        return start.state, _At(start.position, deque(start.pending))
