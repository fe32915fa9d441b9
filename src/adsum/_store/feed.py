"""The change feed: a base state, then every change after it, then "lagged" when changes were missed.

The technique is that of etcd's mirror syncer (go.etcd.io/etcd/client/v3/mirror, syncer.go): list the state at a
revision, then follow the changes from that revision. A feed holds its position in the history of a registry. Every
consumer of changes reads one: a watch through `adsum._client.follower`, telemetry, and the mirror behind `adsum top`.

A feed reads the tables itself, all new changes in one snapshot, and keeps at most as many changes as the history holds.
The registrar does not know the feeds, so a slow consumer costs only itself. A feed never waits; `_client.bell` holds
what its consumer waits with.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar

from .history import Step

B = TypeVar("B")
B_co = TypeVar("B_co", covariant=True)


class Position(NamedTuple):
    """A point in the history of a registry. `epoch` is 0 where there is no registry yet; `revision` is that of the last
    change before the point."""

    epoch: int
    revision: int


# The position of a reader where there is no registry.
NOWHERE = Position(0, 0)


def position_of(revision: int | None) -> Position | None:
    """The position at a revision that a program kept. A `Revision` carries its epoch; a plain number has none."""
    return None if revision is None else Position(getattr(revision, "epoch", 0), int(revision))


class ChangeSource(Protocol):
    """What a feed reads changes from. `adsum._store.reader.Reader` is one."""

    def position(self) -> Position:
        """The present position, as cheap as memory; never behind an acknowledged change."""
        ...

    def steps_since(self, position: Position) -> tuple[Position, list[Step] | None]:
        """The present position and the changes up to it, oldest first; None for the changes where the history does not
        reach back to `position`, or where the registry has another epoch (epoch 0 is any)."""
        ...


class ChangeFeed(Protocol[B_co]):
    """The port: base state, then changes, then "lagged". `tests/conformance/test_change_feed.py` is its suite.

    No method waits, so a feed serves a thread and an event loop alike: the consumer waits for the bell, and then calls
    `advance`. A feed is not safe for threads; a consumer that several threads use holds a lock around each call.
    """

    @property
    def base(self) -> B_co:
        """The state at the point where the changes start; after a lag, at the point where they start again."""
        ...

    @property
    def position(self) -> Position:
        """Everything up to here has been taken. A new feed can resume from it."""
        ...

    def advance(self) -> bool:
        """Read the changes since the last call, if none is pending. False where changes were missed, here or before the
        base that the feed was made with: the base is new, and the changes start again from it."""
        ...

    def peek(self) -> Step | None:
        """The oldest pending change, which stays pending; None where none is pending."""
        ...

    def take(self) -> Step | None:
        """The oldest pending change, which is pending no longer; None where none is pending."""
        ...

    def is_gone(self) -> bool:
        """Whether the registry that the feed follows was removed, and no other has taken its place. No change reports
        that, and `advance` returns True: a consumer that shows the present calls `restart`, others wait."""
        ...

    def restart(self) -> None:
        """Read the base state again, and start from it."""
        ...


class Base(NamedTuple, Generic[B]):
    """Where a feed starts: a state, the changes after it that are already known, the position they lead to, and that
    of the state; without `start`, that of the state follows from the number of the changes."""

    newest: Position
    state: B
    pending: Sequence[Step] = ()
    start: Position | None = None


class _FeedProgress(NamedTuple, Generic[B]):
    """What a feed has read. `newest` is the position that the pending changes lead to; `lagged` says that the consumer
    has yet to learn that changes were missed before `base`."""

    base: B
    newest: Position
    pending: deque[Step]
    lagged: bool


class TableFeed(Generic[B]):
    """The change feed of the tables, a `ChangeFeed`.

    - `source`: returns what to read from; called at every read, because a feed may outlive one client of its registry.
    - `read_base`: reads the state at a position and the changes after it; the present state where the position is None,
      or where the history does not reach back to it.
    - `since`: the position to resume from, with epoch 0 where it is not known; None for the present. Where the history
      does not reach back to it, the first `advance` returns False.
    """

    def __init__(
        self,
        source: Callable[[], ChangeSource],
        read_base: Callable[[Position | None], Base[B]],
        since: Position | None = None,
    ) -> None:
        self._source = source
        self._read_base = read_base
        # Replaced as a whole: a thread may fork while another is in the middle of a call, and the child goes on with
        # the progress before that call or after it.
        self._progress = self._start(since)

    @property
    def base(self) -> B:
        return self._progress.base

    @property
    def position(self) -> Position:
        _, newest, pending, _ = self._progress
        # A feed may leave out changes, so what comes before the next one has been taken, whatever its revision is.
        return newest if not pending else Position(newest.epoch, pending[0].revision - 1)

    @property
    def epoch(self) -> int:
        """That of the registry that the changes are of; 0 where there is no registry yet."""
        return self._progress.newest.epoch

    def advance(self) -> bool:
        base, newest, pending, lagged = self._progress
        if lagged:
            self._progress = _FeedProgress(base, newest, pending, lagged=False)
            return False
        if pending:
            return True
        source = self._source()
        # The registrar writes the new revision on the page before it rings the bell, so an equal position means that
        # there is no change to read.
        if source.position() == newest:
            return True
        present, steps = source.steps_since(newest)
        if steps is None:
            self.restart()
            return False
        self._progress = _FeedProgress(base, present, deque(steps), lagged=False)
        return True

    def peek(self) -> Step | None:
        pending = self._progress.pending
        return pending[0] if pending else None

    def take(self) -> Step | None:
        pending = self._progress.pending
        return pending.popleft() if pending else None

    def is_gone(self) -> bool:
        return self._progress.newest.epoch != 0 and self._source().position().epoch == 0

    def restart(self) -> None:
        self._progress = self._start(None)

    def _start(self, since: Position | None) -> _FeedProgress[B]:
        newest, state, pending, known = self._read_base(since)
        start = known or Position(newest.epoch, newest.revision - len(pending))
        lagged = since is not None and (since.revision != start.revision or since.epoch not in (0, start.epoch))
        return _FeedProgress(state, newest, deque(pending), lagged)
