"""What the registrar remembers of claims between batches: which slots each claimer holds, and which claims wait.

The slots are in the entries, so they outlive a registrar, and the next one finds its way from a claimer to its slots by
reading all entries once. The claims that wait are in memory alone: their clients ask again when a registrar has died,
with the positions that they had, so the order stays.
"""

from bisect import insort
from collections.abc import Collection, Iterable, Iterator

import msgspec

from .._store.layout import Change
from .._store.query import Query
from ..model import ClaimRecord, Entry, Owner


class WaitingClaim(msgspec.Struct, frozen=True, order=True):
    """A claim that waits for a slot. `position` orders them; `session` and `number` name the request."""

    position: int
    session: bytes
    number: int
    owner: Owner
    claim: int
    query: Query


class Claimers:
    """The claims of one registry. `waiting` are those that wait, first come first; `turn` is the incarnation that was
    claimed last."""

    def __init__(self) -> None:
        # By claimer: the number of each of its claims, and the key of the member.
        self._held: dict[Owner, dict[int, bytes]] = {}
        # By incarnation, of members that are claimed.
        self.counts: dict[int, int] = {}
        self.waiting: list[WaitingClaim] = []
        self.turn = 0

    def __bool__(self) -> bool:
        """Whether there is any claim."""
        return bool(self._held or self.waiting)

    def __iter__(self) -> Iterator[Owner]:
        """The claimers that hold a slot."""
        return iter(self._held)

    def held_by(self, owner: Owner) -> dict[int, bytes]:
        """A copy of the claims of a process: their numbers, and the keys of the members."""
        return dict(self._held.get(owner, {}))

    def inherit(self, key: bytes, entry: Entry) -> None:
        """Take up the claims on an entry, which an earlier registrar granted."""
        for record in entry.claims:
            self._held.setdefault(claimer_of(record), {})[record.number] = key
        if entry.claims:
            self.counts[entry.incarnation] = len(entry.claims)

    def follow(self, changes: Iterable[Change], joined: Iterable[WaitingClaim], left: Collection[WaitingClaim]) -> None:
        """A batch was committed."""
        for change in changes:
            ended, begun = claims_of(change)
            for record in ended:
                self._drop(claimer_of(record), record.number)
            if change.before is not None and change.before.entry.claims:
                self.counts.pop(change.before.entry.incarnation, None)
            if change.after is not None and change.after.entry.claims:
                self.inherit(change.key, change.after.entry)
                if begun:
                    self.turn = change.after.entry.incarnation
        for waiting in joined:
            insort(self.waiting, waiting)
        if left:
            gone = set(left)
            self.waiting = [waiting for waiting in self.waiting if waiting not in gone]

    def _drop(self, owner: Owner, number: int) -> None:
        held = self._held.get(owner, {})
        held.pop(number, None)
        if not held:
            self._held.pop(owner, None)


def claimer_of(record: ClaimRecord) -> Owner:
    """The process whose death ends the claim."""
    return Owner(record.pid, record.start_time, record.pidfd_inode)


def claims_of(change: Change) -> tuple[list[ClaimRecord], list[ClaimRecord]]:
    """The claims that a change ended, and those that it began."""
    before = () if change.before is None else change.before.entry.claims
    after = () if change.after is None else change.after.entry.claims
    if before == after:
        return [], []
    return [one for one in before if one not in after], [one for one in after if one not in before]
