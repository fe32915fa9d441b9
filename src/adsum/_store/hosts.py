"""The words of hosts on the board: whether this registry hears from the cluster, and which other hosts it can reach.

An entry of another host has no process here that could be asked. Its host has a word instead, which the registrar
writes: `number`, the owner of all its entries, names it. So a host that cannot be reached takes its entries out of
every answer with one store, and no row is touched. The word has a count in front of the state: a reader that sees the
same word before and after its snapshot knows that the host did not change meanwhile.

The bridge, which hears from the cluster, writes when it last did. Every reader compares that with its own clock. So the
other hosts become unreachable for it also where the bridge and the registrar are gone, or stopped. The clock is
CLOCK_BOOTTIME, which counts the time in which the machine was suspended (clock_gettime(2)).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from ..model import Owner
from .page_layout import HOSTS

# In the head of the board: when the bridge last heard from the cluster, and for how long that counts, in nanoseconds;
# the revision of this registry up to which all is in etcd; that of etcd up to which all is here; and how long the lease
# of this host surely lasts.
_HEARD = 3
_TTL = 4
_PUBLISHED = 5
_APPLIED = 6
_VOUCHED = 7
_HERE = 1


def boottime_ns() -> int:
    """The clock of `HostWords` on this machine, which goes on while that is suspended."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class HostWords:
    """The words about hosts of one board, for a process whose clock `boottime` is. `head` are its first words."""

    def __init__(self, words: memoryview, head: memoryview, boottime: Callable[[], int]) -> None:
        self._words = words
        self._head = head
        self._boottime = boottime

    # The reader's side

    def hears(self) -> bool:
        """Whether the bridge has heard from the cluster, not longer ago than it said that counts."""
        head = self._head
        return bool(head[_HEARD] and self._boottime() - head[_HEARD] <= head[_TTL])

    def has_heard(self) -> bool:
        """Whether a bridge has heard from the cluster since the board was made."""
        return bool(self._head[_HEARD])

    def heard_seconds(self) -> float | None:
        """How long ago the bridge last heard from the cluster; None for never."""
        heard = int(self._head[_HEARD])
        return (self._boottime() - heard) / 1e9 if heard else None

    def is_vouched_for(self) -> bool:
        """Whether the lease of this host in the cluster surely lasts."""
        return bool(self._head[_VOUCHED] > self._boottime())

    def is_here(self, owner: Owner) -> bool:
        """Whether the host that `owner` represents can be reached."""
        return bool(self._words[owner.start_time % HOSTS] & _HERE) and self.hears()

    def here_among(self, owners: Iterable[Owner]) -> set[Owner]:
        """The hosts among `owners` that can be reached."""
        words = self._words
        here = {owner for owner in owners if words[owner.start_time % HOSTS] & _HERE}
        return here if here and self.hears() else set()

    def unchanged_among(self, owners: Iterable[Owner], before: bytes) -> set[Owner]:
        """The hosts among `owners` whose words are as in `before`, a copy of all of them."""
        then, words = memoryview(before).cast("Q"), self._words
        return {owner for owner in owners if then[owner.start_time % HOSTS] == words[owner.start_time % HOSTS]}

    def copy(self) -> bytes:
        """All words at this moment."""
        return self._words.tobytes()

    @property
    def ttl_ns(self) -> int:
        """For how long that counts."""
        return int(self._head[_TTL])

    @property
    def published(self) -> int:
        """The revision of this registry up to which every change of its members is in etcd."""
        return int(self._head[_PUBLISHED])

    @property
    def applied(self) -> int:
        """The revision of etcd up to which every change of other hosts is in the tables."""
        return int(self._head[_APPLIED])

    # The bridge's side

    def note_heard(self, at: int, ttl: int) -> None:
        """The bridge heard from the cluster, at this time, which counts for so long. In nanoseconds."""
        self._head[_TTL] = ttl
        self._head[_HEARD] = at

    def note_progress(self, published: int | None, applied: int | None, vouched: int | None) -> None:
        """How far the bridge is; None leaves a word as it is."""
        for at, value in ((_PUBLISHED, published), (_APPLIED, applied), (_VOUCHED, vouched)):
            if value is not None:
                self._head[at] = max(0, value)

    # The registrar's side

    def set_here(self, number: int, here: bool) -> None:
        """The host with this number can be reached, or not."""
        word = self._words[number]
        if bool(word & _HERE) != here:
            self._words[number] = (((word >> 1) + 1) << 1 | here) & 0xFFFF_FFFF_FFFF_FFFF
