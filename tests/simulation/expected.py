"""The replies and departures that are expected, and the turn they belong to."""

from __future__ import annotations

from collections.abc import Callable, Collection, Set
from datetime import datetime
from typing import Any, NamedTuple

from adsum.model import Owner

from .asks import Ask
from .reading import PlainEntry, plain_entry


class Expected(NamedTuple):
    """The reply that a request should get: the entries of a success, or the reason of a failure and its holder; or that
    it is queued, and will be answered later."""

    entries: tuple[PlainEntry, ...] = ()
    changed: bool = True
    reason: str | None = None
    queued: bool = False

    @property
    def succeeded(self) -> bool:
        """Whether the request changed the registry, and a receipt has to be kept."""
        return self.reason is None and self.changed and not self.queued


class ExpectedDeparture(NamedTuple):
    """A departure that should be in the tables."""

    revision: int
    how: str
    entry: PlainEntry
    exit: int | None = None


class Refused(Exception):
    """A request that should fail."""

    def __init__(self, reason: str, holder: PlainEntry | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.holder = holder


class Turn(NamedTuple):
    """The conditions under which one batch is decided.

    - `no_room`: positions of requests that were refused because memory was short. That depends on how LMDB packs its
      pages: the model believes it, and the checks ask whether it could be true.
    - `failing`: positions of requests on which the engine fails, by an injected defect.
    - `no_room_for`: the standbys whose turn came when there was no memory for them.
    """

    is_alive: Callable[[Owner], bool]
    utc: datetime
    monotonic: int
    # When it is committed; the registrar may have been stopped in between.
    committed: int
    no_room: Collection[int] = ()
    failing: Collection[int] = ()
    no_room_for: Collection[tuple[bytes, int]] = ()


def compare(ask: Ask, wanted: Expected, reply: list[Any], lived: Set[Owner]) -> None:
    """Raise unless a reply is the expected one, and its entries belong to processes that lived when the batch came."""
    if wanted.queued:
        # Behind the number comes the position.
        assert reply[:2] == ["queued", ask.number], f"{ask} was answered {reply}, should be queued"
        return
    failed = reply[0] == "failed"
    number, reason, changed = reply[1], reply[2] if failed else None, not failed and reply[3]
    entries = [plain_entry(entry) for entry in ([reply[4]] if failed and reply[4] else [] if failed else reply[2])]
    wrong = f"{ask} was answered {reply}, should be {wanted}"
    assert (number, reason, changed) == (ask.number, wanted.reason, wanted.changed), wrong
    assert [public(entry) for entry in entries] == [public(entry) for entry in wanted.entries], wrong
    assert not failed or reply[3], "a failure without words"
    dead = [entry for entry in entries if Owner(*entry.owner) not in lived]
    assert not dead, f"S2: {ask} was answered with {dead}"


def public(entry: PlainEntry) -> PlainEntry:
    """An entry without its private fields."""
    return entry._replace(session=b"", before_late=None)
