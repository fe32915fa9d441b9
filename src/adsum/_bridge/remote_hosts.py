"""What the bridge knows of the other hosts, and what it makes of the changes in etcd: requests for the registrar.

No I/O is in here. The entries themselves are in the tables of the registrar; this keeps one record for each host.

The order matters, and is that of the revisions. An entry that was deleted has its `EndRecord` in the same transaction,
so in the same revision. A host that loses its lease and gets another one between two requests has both: the second
begins a request of its own, or its entries would never have been hidden."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple, TypeVar

import msgspec

from .. import _wire as wire
from .._store.layout import key_of
from .keys import KeyParts, Keys, id_of
from .records import (
    EndRecord,
    HostRecord,
    decode_ended,
    decode_host,
    decode_number,
    decode_published,
)
from .request_builder import RequestBuilder

log = logging.getLogger("adsum.bridge")

T = TypeVar("T")

# What reading a value may raise that another host has written.
UNREADABLE = (msgspec.DecodeError, ValueError, TypeError, RecursionError, OverflowError)


class RawChange(NamedTuple):
    """A change of one key. `value` is None where it was deleted."""

    key: bytes
    value: bytes | None
    revision: int


class PublishedHost(msgspec.Struct):
    """One host. `fence` is 0 while it has no key; `whole` is the fence for which it has said that all is there."""

    fence: int = 0
    whole: int = 0
    record: HostRecord | None = None

    @property
    def state(self) -> Literal["here", "returning", "unreachable"]:
        if not self.fence:
            return "unreachable"
        return "here" if self.whole == self.fence else "returning"


class RemoteHosts:
    """The hosts of a cluster but `own`, and whose each node is."""

    def __init__(self, keys: Keys, own: str) -> None:
        self._keys = keys
        self._own = own
        self.hosts: dict[str, PublishedHost] = {}
        self.nodes: dict[str, str] = {}
        # How often each host was seen to be there; kept over a load.
        self.returns: Counter[str] = Counter()
        # Hosts of which etcd may have lost entries, with the keys of those here that it has not had since; kept over a
        # load, until the host has said that all is there.
        self.unconfirmed: dict[str, set[bytes]] = {}

    # From a load

    def load(self, heads: Iterable[RawChange], known: Mapping[str, set[bytes]], *, keeps: bool = False) -> Load:
        """Forget all, and begin with these keys of hosts and nodes, which are all that there are. `known` are the
        entries in the tables, by host and key. With `keeps`, etcd may have lost hosts and entries: those that are known
        and not there have not ended before their host says that all is there, or has left, or is forgotten."""
        self.hosts, self.nodes = {}, {}
        for item in heads:
            split = self._keys.split(item.key)
            if split is not None and item.value is not None:
                self._note(split, item)
        lost = known.keys() if keeps else known.keys() & self.unconfirmed.keys()
        # One that is back already has perhaps not written all of its entries.
        self.unconfirmed = {host: set(known[host]) for host in lost if self._state(host) != "here"}
        self.hosts = {**{host: PublishedHost() for host in self.unconfirmed}, **self.hosts}
        return Load(self, known)

    # From a watch

    def apply(self, revisions: Iterable[Sequence[RawChange]]) -> Iterator[wire.ApplyRemote]:
        """The requests for these changes, each group of which is one revision."""
        builder = RequestBuilder()
        for changes in revisions:
            yield from self._apply_one(builder, changes)
        yield from builder.flush()

    def _apply_one(self, builder: RequestBuilder, changes: Sequence[RawChange]) -> Iterator[wire.ApplyRemote]:
        others = [(split, one) for one in changes if (split := self.split_other(one.key)) is not None]
        said = self._ends(others)
        ends = {host: {end.key: end for end in some} for host, some in said.items()}
        # Those that have left in order, or that another host has forgotten.
        leaving = {host: ended[b""] for host, ended in ends.items() if b"" in ended}
        for split, one in others:
            if split.kind == "e":
                self.unconfirmed.get(split.host, set()).discard(split.rest)
                if (change := self.entry(split, one, ends.get(split.host, {}))) is not None:
                    yield from builder.add(change, len(one.value or b""))
                continue
            before = self.said(split.host) if split.host in self.hosts else None
            host = self._note(split, one)
            if host is None:
                continue
            after = self.said(host)
            if after.state == "here":
                yield from self._end_unconfirmed(builder, host)
            if after != before and host not in leaving:
                yield from builder.say(after)
        changed = {(split.host, split.rest) for split, _ in others if split.kind == "e"}
        for exit in self._exits(said, changed):
            yield from builder.note(exit)
        for host, end in leaving.items():
            if host in self.hosts and not self.hosts[host].fence:
                del self.hosts[host], self.returns[host]
                self.unconfirmed.pop(host, None)
                yield from builder.say(wire.RemoteHost(host, "gone", how=end.how))

    def _end_unconfirmed(self, builder: RequestBuilder, host: str) -> Iterator[wire.ApplyRemote]:
        """A host has said that all is there: what it has not written has ended."""
        for key in self.unconfirmed.pop(host, ()):
            yield from builder.add(wire.RemoteChange(host, id_of(key)), 0)

    # One key

    def split_other(self, key: bytes) -> KeyParts | None:
        """The parts of a key that another host has written."""
        split = self._keys.split(key)
        return None if split is None or split.host == self._own else split

    def _note(self, split: KeyParts, item: RawChange) -> str | None:
        """Take a key of a host or node; returns the host that it changes."""
        if split.kind == "o":
            return self._note_node(split.rest, item)
        if split.kind not in ("h", "w") or split.host == self._own:
            return None
        view = self.hosts.setdefault(split.host, PublishedHost())
        if split.kind == "w":
            view.whole = 0 if item.value is None else _decoded(decode_number, item, 0)
            return split.host
        view.record = None if item.value is None else _decoded(decode_host, item, None)
        self.returns[split.host] += view.record is not None
        view.fence = 0 if view.record is None else item.revision
        return split.host

    def _state(self, host: str) -> str:
        return self.hosts[host].state if host in self.hosts else "unreachable"

    def is_of_other(self, node: str) -> bool:
        """Whether a node belongs to another host."""
        return self.nodes.get(node, self._own) != self._own

    def _note_node(self, rest: bytes, item: RawChange) -> str | None:
        if item.value is None:
            # The entries of a host that cannot be reached keep their nodes.
            return None
        try:
            node = id_of(b"?\0%b\0?" % rest).node
        except ValueError as error:
            log.warning("left out the node %.200r: %.200s", rest, error)
            return None
        host = item.value.decode("ascii", "replace")
        self.nodes[node] = host
        return None if host == self._own or host not in self.hosts else host

    def entry(self, split: KeyParts, item: RawChange, ends: Mapping[bytes, EndRecord]) -> wire.RemoteChange | None:
        """What a key of an entry says; None for one that cannot be taken for true."""
        try:
            process_id = id_of(split.rest)
            if item.value is None:
                end = ends.get(split.rest) or ends.get(b"") or EndRecord(split.rest, "unknown")
                return wire.RemoteChange(split.host, process_id, None, end.how, end.exit)
            published = decode_published(item.value)
            if key_of(published.entry.process_id) != split.rest:
                raise ValueError(f"it is the entry of {published.entry.process_id}")
            if self.nodes.get(process_id.node, split.host) != split.host:
                raise ValueError(f"the node belongs to the host {self.nodes[process_id.node]}")
        except UNREADABLE as error:
            log.warning("left out what the host %r has under %.200r: %.200s", split.host, split.rest, error)
            return None
        if not self._is_of_present_registry(split.host, published.epoch):
            return None
        end = ends.get(split.rest) or EndRecord(split.rest, "unknown")
        return wire.RemoteChange(split.host, process_id, published.entry, end.how, end.exit, published.epoch)

    def _is_of_present_registry(self, host: str, epoch: int) -> bool:
        """Whether an entry is of the registry for which the host's bridge vouches: another one is gone, and its bridge
        has yet to delete what it had."""
        record = self.hosts[host].record if host in self.hosts else None
        return record is None or record.epoch in (0, epoch)

    def _exits(
        self, said: Mapping[str, list[EndRecord]], changed: Container[tuple[str, bytes]]
    ) -> Iterator[wire.RemoteExit]:
        """The exits of entries that have ended before: this revision does not change them."""
        for host, ends in said.items():
            for end in ends:
                if (host, end.key) not in changed and (exit := self._exit(host, end)) is not None:
                    yield exit

    def _exit(self, host: str, end: EndRecord) -> wire.RemoteExit | None:
        """How a process ended whose death was heard before; None where this says nothing about one."""
        record = self.hosts[host].record if host in self.hosts else None
        if record is None or end.exit is None or not end.incarnation or end.how != "died":
            return None
        try:
            return wire.RemoteExit(host, id_of(end.key), record.epoch, end.incarnation, end.exit)
        except ValueError as error:
            log.warning("left out an exit that the host %r has under %.200r: %.200s", host, end.key, error)
            return None

    def _ends(self, changes: Iterable[tuple[KeyParts, RawChange]]) -> dict[str, list[EndRecord]]:
        found: dict[str, list[EndRecord]] = {}
        for split, one in changes:
            if split.kind == "d" and one.value is not None:
                none: list[EndRecord] = []
                found[split.host] = _decoded(decode_ended, one, none)
        return found

    def said(self, host: str) -> wire.RemoteHost:
        view = self.hosts[host]
        nodes = frozenset(node for node, owner in self.nodes.items() if owner == host)
        if view.record is None:
            return wire.RemoteHost(host, "unreachable", nodes=nodes)
        one, state = view.record, view.state
        return wire.RemoteHost(host, state, one.boot, view.fence, nodes, epoch=one.epoch, tenure=one.nonce)


class Load:
    """The requests that make the tables what is loaded, in three steps: `begin`, `take` for all entries, `end`."""

    def __init__(self, remote_hosts: RemoteHosts, known: Mapping[str, set[bytes]]) -> None:
        self._remote_hosts = remote_hosts
        self._known = known
        self._loaded: dict[str, set[bytes]] = {}
        self._builder = RequestBuilder()

    def begin(self) -> Iterator[wire.ApplyRemote]:
        """Make the hosts known, and what is lost unreachable: also a host that is not whole. Its lease may have been
        lost since it was seen last, and then it is not known to be as it was."""
        self._say_all(self._remote_hosts.hosts)
        for name, host in self._builder.hosts.items():
            if host.state == "returning":
                self._builder.hosts[name] = msgspec.structs.replace(host, state="unreachable")
        yield from self._builder.flush(losing_only=True)

    def take(self, items: Iterable[RawChange]) -> Iterator[wire.ApplyRemote]:
        """Take some of the entries."""
        remote_hosts, builder = self._remote_hosts, self._builder
        for item in items:
            split = remote_hosts.split_other(item.key)
            if split is None:
                continue
            if split.host not in remote_hosts.hosts:
                # No bridge vouches for it now.
                remote_hosts.hosts[split.host] = PublishedHost()
                self._say_all([split.host])
                yield from builder.flush()
            remote_hosts.unconfirmed.get(split.host, set()).discard(split.rest)
            if (change := remote_hosts.entry(split, item, {})) is not None:
                self._loaded.setdefault(split.host, set()).add(split.rest)
                yield from builder.add(change, len(item.value or b""))

    def end(self) -> Iterator[wire.ApplyRemote]:
        """Remove what is not there any more, and say which hosts are here."""
        hosts, builder = self._remote_hosts.hosts, self._builder
        for host, entries in self._known.items():
            for key in entries - self._loaded.get(host, set()) if self._is_complete(host) else ():
                yield from builder.add(wire.RemoteChange(host, id_of(key)), 0)
        for host in self._known.keys() - hosts.keys():
            builder.hosts[host] = wire.RemoteHost(host, "gone")
        self._say_all(hosts)
        yield from builder.flush()

    def _is_complete(self, host: str) -> bool:
        """Whether an entry that is not in etcd has ended."""
        return host in self._remote_hosts.hosts and host not in self._remote_hosts.unconfirmed

    def _say_all(self, hosts: Iterable[str]) -> None:
        self._builder.hosts.update({host: self._remote_hosts.said(host) for host in hosts})


def _decoded(decode: Callable[[bytes], T], item: RawChange, otherwise: T) -> T:
    """A value, or `otherwise` for one that cannot be read."""
    try:
        return decode(item.value or b"")
    except UNREADABLE as error:
        log.warning("cannot read the key %.200r: %.200s", item.key, error)
        return otherwise
