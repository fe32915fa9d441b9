"""A small model of what a registry must show of itself and of the other hosts of its cluster.

It knows no tables and no requests: only what has happened, in the words of docs/how-to/cluster.md. Each thing that
happens makes the events that a watch must report, in their order, one revision each.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

# A registration of another host: the epoch of its registry, its incarnation and its revision there.
Version = tuple[int, int, int]
# A member: its node and its local id.
Name = tuple[str, str]
DEATHS = ("died", "replaced")


class Seen(NamedTuple):
    """An event: its kind, and the host or the member that it is about."""

    kind: str
    host: str = ""
    member: Name | None = None


class Ended(NamedTuple):
    """A departure: the member, how it ended, and the exit of its process. One of another host has the epoch and the
    incarnation of its registration there."""

    member: Name
    how: str
    exit: int | None
    registration: tuple[int, int] | None = None


class OtherHost:
    """Another host. It was never missed before it was whole once (`is_known`)."""

    def __init__(self) -> None:
        self.state = "away"
        self.is_known = False
        self.boot = 0
        self.members: dict[str, Version] = {}


class Shown:
    """The registry. `own` and `others` are the last departures of its members and of those of other hosts."""

    def __init__(self, keep_departures: int) -> None:
        self.events: list[Seen] = []
        self.members: dict[str, int] = {}
        self.hosts: dict[str, OtherHost] = {}
        self.own: deque[Ended] = deque(maxlen=keep_departures)
        self.others: deque[Ended] = deque(maxlen=keep_departures)
        self.node = ""

    @property
    def revision(self) -> int:
        return len(self.events)

    # Members of this registry

    def changed(self, id: str, kind: str) -> None:
        """A member was registered or updated."""
        self.events.append(Seen(kind, member=(self.node, id)))
        self.members.setdefault(id, self.revision)

    def ended(self, id: str, how: str) -> None:
        """A member was unregistered, or its process died."""
        self._depart(self.own, (self.node, id), how, None)
        del self.members[id]

    def note_exit(self, id: str, code: int) -> None:
        """How the process of a member that has died ended."""
        for place in reversed(range(len(self.own))):
            if self.own[place].member[1] == id:
                self.own[place] = self.own[place]._replace(exit=code)
                return

    # Other hosts

    def lost(self, name: str) -> None:
        """The lease of a host is lost."""
        host = self.hosts[name]
        if host.state != "away":
            self.events.append(Seen("unreachable", name))
        host.state = "away"

    def silence(self) -> None:
        """The bridge here hears nothing any more. What each host is stays as it was; readers cannot rely on it."""
        self.events += [Seen("unreachable", name) for name, host in sorted(self.hosts.items()) if host.state != "away"]

    def heard_again(self) -> None:
        """The bridge here hears again, and no host has changed in between."""
        for name, host in sorted(self.hosts.items()):
            if host.state != "away":
                self.events.append(Seen("returned", name))
            if host.state == "here":
                self.events.append(Seen("whole", name))

    def met(self, name: str, boot: int, epoch: int) -> None:
        """The bridge of a host vouches for it. Where it has started anew, its earlier processes have ended."""
        host = self.hosts.setdefault(name, OtherHost())
        if host.boot not in (0, boot):
            for id, version in list(host.members.items()):
                if version[0] != epoch:
                    self.remote_ended(name, id, "died")
        host.boot = boot

    def vouched(self, name: str) -> None:
        """All that came with that is here. A host that was missed has returned."""
        host = self.hosts[name]
        if host.state == "away" and host.is_known:
            host.state = "returning"
            self.events.append(Seen("returned", name))

    def whole(self, name: str) -> None:
        """A host has said that all of its members are there."""
        host = self.hosts[name]
        if host.state != "here":
            host.state, host.is_known = "here", True
            self.events.append(Seen("whole", name))

    def gone(self, name: str, how: str) -> None:
        """A host has left, or was given up."""
        for id in list(self.hosts[name].members):
            self.remote_ended(name, id, how)
        del self.hosts[name]

    def remote(self, name: str, id: str, version: Version, how: str, exit: int | None) -> None:
        """A member of a host is now so. `how` the one before it ended, where that was another registration."""
        members = self.hosts[name].members
        before = members.get(id)
        if before == version:
            return
        if before is not None and before[:2] == version[:2]:
            self.events.append(Seen("updated", member=(name, id)))
        elif before is not None and how == "handed_over":
            del members[id]
            self._depart(self.others, (name, id), how, None, before[:2], kind="updated")
        else:
            self.remote_ended(name, id, how, exit)
            self.events.append(Seen("registered", member=(name, id)))
        members[id] = version

    def remote_ended(self, name: str, id: str, how: str, exit: int | None = None) -> None:
        """A member of a host is there no more."""
        version = self.hosts[name].members.pop(id, None)
        if version is not None:
            self._depart(self.others, (name, id), how, exit, version[:2])

    def remote_exit(self, name: str, id: str, registration: tuple[int, int], code: int) -> None:
        """How the process of a registration ended has become known after its death."""
        for place, one in enumerate(self.others):
            if one == Ended((name, id), one.how, None, registration) and one.how in DEATHS:
                self.others[place] = one._replace(exit=code)

    def _depart(
        self,
        ended: deque[Ended],
        member: Name,
        how: str,
        exit: int | None,
        registration: tuple[int, int] | None = None,
        kind: str = "",
    ) -> None:
        ended.append(Ended(member, how, exit, registration))
        self.events.append(Seen(kind or ("died" if how in DEATHS else "unregistered"), member=member))

    # What is shown

    def names(self, hosts: Iterable[str] = ()) -> set[Name]:
        """The members of this registry, and of these hosts."""
        found = {(self.node, id) for id in self.members}
        return found.union((name, id) for name in hosts for id in self.hosts[name].members)

    @property
    def here(self) -> set[str]:
        """The hosts that can be reached."""
        return {name for name, host in self.hosts.items() if host.state == "here"}

    @property
    def away(self) -> set[str]:
        """The hosts of which a member is marked as unreachable."""
        return self.hosts.keys() - self.here
