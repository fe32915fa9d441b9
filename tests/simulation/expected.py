"""What is expected of the registry: replies, departures, and the turn they belong to."""

from __future__ import annotations

from collections.abc import Callable, Collection, Set
from datetime import datetime
from typing import Any, NamedTuple

from adsum.model import Owner

from .asks import Ask
from .reading import Held, held


class Expected(NamedTuple):
    """The reply that a request should get: the entries of a success, or the reason of a failure and its holder; or that
    it is queued, and will be answered later."""

    entries: tuple[Held, ...] = ()
    changed: bool = True
    reason: str | None = None
    queued: bool = False

    @property
    def succeeded(self) -> bool:
        """Whether the registry is another one for it, and a receipt has to be kept."""
        return self.reason is None and self.changed and not self.queued


class Left(NamedTuple):
    """A departure that should stand in the tables."""

    revision: int
    how: str
    entry: Held


class Refused(Exception):
    """A request that should fail."""

    def __init__(self, reason: str, holder: Held | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.holder = holder


class Turn(NamedTuple):
    """What one batch is decided on. `no_room` are the requests that were refused for want of memory, which depends on
    how LMDB packs its pages: the model believes it, and the checks ask whether it could be true. On those in `choking`
    the engine fails for no reason of theirs. `no_room_for` are the requests whose turn came, and for whom there was no
    memory."""

    is_alive: Callable[[Owner], bool]
    utc: datetime
    monotonic: int
    # When it is committed; the registrar may have been stopped in between.
    committed: int
    no_room: Collection[int] = ()
    choking: Collection[int] = ()
    no_room_for: Collection[tuple[bytes, int]] = ()


def compare(ask: Ask, wanted: Expected, reply: list[Any], lived: Set[Owner]) -> None:
    """Raise unless a reply is the expected one, and tells of nobody but those who lived when the batch came."""
    if wanted.queued:
        assert reply == ["queued", ask.number], f"{ask} was answered {reply}, should be queued"
        return
    failed = reply[0] == "failed"
    number, reason, changed = reply[1], reply[2] if failed else None, not failed and reply[3]
    told = [held(entry) for entry in ([reply[4]] if failed and reply[4] else [] if failed else reply[2])]
    wrong = f"{ask} was answered {reply}, should be {wanted}"
    assert (number, reason, changed) == (ask.number, wanted.reason, wanted.changed), wrong
    assert [public(entry) for entry in told] == [public(entry) for entry in wanted.entries], wrong
    assert not failed or reply[3], "a failure without words"
    dead = [entry for entry in told if Owner(*entry.owner) not in lived]
    assert not dead, f"S2: {ask} was told {dead}"


def public(entry: Held) -> Held:
    """An entry without what a reply or a departure need not tell of it."""
    return entry._replace(session=b"", before_late=None)
