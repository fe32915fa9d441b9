"""Another host of a cluster, and what its bridge has in etcd: what the bridge here hears of it, and asks for.

A change that is made while the host has no lease waits, as in `adsum._bridge.etcd_writer`: the state is published, and
how the entry ended that was there before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import Literal, NamedTuple

import msgspec

from adsum import _wire as wire
from adsum.model import EPOCH, Entry, Metadata, ProcessId

from .shown import Shown, Version

IDS = tuple(f"agent {number}" for number in range(8))
HOWS = (("died", -9), ("died", None), ("unregistered", None), ("replaced", 1), ("owner_died", None))


class Published(NamedTuple):
    """The unpublished state of one id: how the entry ended that etcd has, where it has ended."""

    how: str = "unknown"
    exit: int | None = None
    has_ended: bool = False


class Host:
    """A host that flaps. `shown` notes what has been heard of it, as its requests are made."""

    def __init__(self, name: str, random: Random, shown: Shown) -> None:
        self.name, self._random, self._shown = name, random, shown
        self.boot = self.epoch = random.randrange(1, 2**32)
        self.revision = self.fence = 0
        self.table: dict[str, Version] = {}
        self._in_etcd: dict[str, Version] = {}
        # The registrations that died, as the bridge here has heard, with an exit that is not known yet.
        self._lack_exits: list[tuple[str, Version]] = []
        self._dirty: dict[str, Published] = {}
        # When it lost its lease, where it has none.
        self.lost_at: float | None = 0.0

    # What happens there

    def work(self) -> None:
        """A member is registered, updated, handed over, or ends."""
        id = self._random.choice(IDS)
        known = self.table.get(id)
        self.revision += 1
        if known is None:
            self.table[id] = (self.epoch, self.revision, self.revision)
            self._note(id, Published())
        elif self._random.random() < 0.4:
            self.table[id] = (self.epoch, known[1], self.revision)
            self._note(id, Published())
        elif self._random.random() < 0.1:
            self.table[id] = (self.epoch, self.revision, self.revision)
            self._note(id, Published("handed_over", None, has_ended=True))
        else:
            del self.table[id]
            how, exit = self._random.choice(HOWS)
            self._note(id, Published(how, exit, has_ended=True))

    def _note(self, id: str, change: Published) -> None:
        known = self._dirty.get(id)
        if known is None or not known.has_ended:
            self._dirty[id] = change

    def start_anew(self, *, boots: bool) -> None:
        """The registry there is made anew, or all of the machine has started anew."""
        self.boot += boots
        self.epoch += 1
        self.revision = len(self.table)
        self.table = {} if boots else {id: (self.epoch, n, n) for n, id in enumerate(self.table, 1)}
        self._dirty = {id: Published(has_ended=True) for id in sorted(self._in_etcd | self.table.keys())}

    # What the bridge here hears. `shown` notes each request as it is made.

    def lose(self, now: float) -> wire.RemoteHost:
        """Its lease is lost."""
        self.lost_at = now
        self._shown.lost(self.name)
        return self._said("unreachable")

    def come_back(self, fence: int) -> Iterator[wire.ApplyRemote]:
        """A new fence, then what differs, then the word that this is all: in one request, or in two, or in three. Or
        the lease is lost once more before that word, or the bridge here has to load before it."""
        self.fence, self.lost_at = fence, None
        match self._random.randrange(5):
            case 0:
                yield self._hear("here", list(self._dirty))
            case 1:
                yield self._hear("returning", list(self._dirty))
                yield self._hear("here")
            case 2:
                yield self._hear("returning")
                yield from self.publish()
                yield self._hear("here")
            case 3:
                yield self._hear("returning", list(self._dirty)[:2])
                # One that is not whole is not known to be as it was, under the same fence.
                self._shown.lost(self.name)
                yield wire.ApplyRemote(hosts=[msgspec.structs.replace(self._said("returning"), state="unreachable")])
                yield self._hear("returning", list(self._dirty))
                yield self._hear("here")
            case _:
                yield self._hear("returning", list(self._dirty)[:2])
                yield wire.ApplyRemote(hosts=[self.lose(0.0)])
                self.fence, self.lost_at = fence + 1, None
                yield self._hear("here", list(self._dirty))

    def load(self) -> Iterator[wire.ApplyRemote]:
        """The bridge here has to load, and hears all of this host again."""
        yield self._hear("returning")
        yield self._hear("returning", list(self.table.keys() | self._dirty.keys()))
        yield self._hear("here")

    def publish(self) -> Iterator[wire.ApplyRemote]:
        """What has changed while it has its lease."""
        if self._dirty:
            yield wire.ApplyRemote(changes=[self._change(id) for id in list(self._dirty)])

    def late_exits(self) -> Iterator[wire.ApplyRemote]:
        """How the process of a member that has died ended; or a word of it that is of no use."""
        if not self._lack_exits:
            return
        id, (epoch, incarnation, _) = self._lack_exits.pop(self._random.randrange(len(self._lack_exits)))
        match self._random.randrange(4):
            case 0:
                exit = wire.RemoteExit(self.name, self._id(id), epoch, incarnation + 10**6, 3)
            case 1:
                exit = wire.RemoteExit(self.name, self._id(id), epoch, incarnation, 2**40)
            case _:
                code = self._random.choice((0, 3, -9))
                self._shown.remote_exit(self.name, id, (epoch, incarnation), code)
                exit = wire.RemoteExit(self.name, self._id(id), epoch, incarnation, code)
        yield wire.ApplyRemote(exits=[exit])
        if exit.incarnation == incarnation and exit.code < 256 and self._random.random() < 0.3:
            # It was noted, once for all.
            yield wire.ApplyRemote(exits=[msgspec.structs.replace(exit, code=exit.code + 1)])

    def leave(self, how: str) -> wire.ApplyRemote:
        """It leaves, or another host gives it up. Its entries are deleted in the same transaction."""
        changes = [
            wire.RemoteChange(self.name, self._id(id), None, how)
            for id in sorted(self._in_etcd)
            if self._random.random() < 0.5
        ]
        self._shown.gone(self.name, how)
        self._in_etcd.clear()
        self._dirty = {id: Published() for id in self.table}
        return wire.ApplyRemote(hosts=[wire.RemoteHost(self.name, "gone", how=how)], changes=changes)

    def _hear(self, state: str, ids: Sequence[str] = ()) -> wire.ApplyRemote:
        """What the host is, with some of what is to be published."""
        self._shown.met(self.name, self.boot, self.epoch)
        changes = [self._change(id) for id in ids]
        self._shown.vouched(self.name)
        if state == "here":
            self._shown.whole(self.name)
        return wire.ApplyRemote(hosts=[self._said(state)], changes=changes)

    def _change(self, id: str) -> wire.RemoteChange:
        change = self._dirty.pop(id, Published())
        version = self.table.get(id)
        if (before := self._in_etcd.get(id)) is not None and change[:2] == ("died", None):
            self._lack_exits.append((id, before))
        if version is None:
            self._in_etcd.pop(id, None)
            self._shown.remote_ended(self.name, id, change.how, change.exit)
            return wire.RemoteChange(self.name, self._id(id), None, change.how, change.exit)
        self._in_etcd[id] = version
        self._shown.remote(self.name, id, version, change.how, change.exit)
        epoch, incarnation, revision = version
        entry = Entry(self._id(id), 7, 1, 2, incarnation, EPOCH, EPOCH, revision, Metadata(custom={"at": revision}))
        return wire.RemoteChange(self.name, self._id(id), entry, change.how, change.exit, epoch)

    def _said(self, state: str) -> wire.RemoteHost:
        nodes = frozenset([self.name])
        if state == "unreachable":
            return wire.RemoteHost(self.name, "unreachable", nodes=nodes)
        said: Literal["here", "returning"] = "here" if state == "here" else "returning"
        return wire.RemoteHost(self.name, said, b"boot %d" % self.boot, self.fence, nodes, epoch=self.epoch)

    def _id(self, id: str) -> ProcessId:
        return ProcessId("team", self.name, id)
