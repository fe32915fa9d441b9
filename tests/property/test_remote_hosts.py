"""What an etcd reader makes of what is in etcd, for invented histories of etcd and etcd readers that load at any
instant.

Hosts change, publish under fences, lose their leases, are adopted, rebooted, made anew, leave and are forgotten; late
writes arrive under old fences; the etcd reader follows at its own pace, loads again, and is replaced by another bridge.
The bridge's part and the engine are the real ones, without etcd and without tables. Two things must hold of what is
shown:

- it is a function of what the etcd reader has seen, whatever the requests were into which that was cut;
- where a host is here, each id is shown as the host's table had it at a moment since the fence for which the host was
  whole (the property of spec/cluster.pml).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import NamedTuple

from hypothesis import example, given, settings
from hypothesis import strategies as st

from adsum._bridge.keys import Keys
from adsum._bridge.records import (
    EndRecord,
    HostRecord,
    PublishedEntry,
    decode_ended,
    decode_host,
    decode_number,
    decode_published,
    encode,
)
from adsum._bridge.remote_hosts import RawChange, RemoteHosts
from adsum._engine.batch import Batch, Call, Instant
from adsum._engine.engine import Engine
from adsum._engine.memory import Memory
from adsum._store.layout import HostState, Record, key_of
from adsum._wire import ApplyRemote
from adsum.model import EPOCH, Entry, Kind, Limits, Metadata, ProcessId

from ..support.engine import FakeKernel, FakeView

KEYS = Keys("c")
HOSTS = ("b", "c")
IDS = ("0", "1", "2")
# An entry: the epoch of its registry, its incarnation and its revision there.
Version = tuple[int, int, int]


class Write(NamedTuple):
    """A transaction on its way: it is carried out if the host's key is of this revision."""

    fence: int
    operations: dict[bytes, bytes | None]


class Etcd:
    """The keys, and the changes of each revision."""

    def __init__(self) -> None:
        self.revision = 1
        self.keys: dict[bytes, RawChange] = {}
        self.log: list[list[RawChange]] = [[], []]

    def write(self, operations: dict[bytes, bytes | None]) -> int:
        self.revision += 1
        changes = []
        for key, value in operations.items():
            if value is None and self.keys.pop(key, None) is None:
                continue
            raw = RawChange(key, value, self.revision)
            if value is not None:
                self.keys[key] = raw
            changes.append(raw)
        self.log.append(changes)
        return self.revision

    def under(self, prefix: bytes) -> list[RawChange]:
        return [raw for key, raw in sorted(self.keys.items()) if key.startswith(prefix)]


class Host:
    """A host and its bridge."""

    def __init__(self, etcd: Etcd, name: str) -> None:
        self.etcd, self.name = etcd, name
        self.table: dict[str, Version] = {}
        self.versions: list[dict[str, Version]] = [{}]
        self.fenced_at: dict[int, int] = {}
        self.dirty: set[str] = set()
        self.ended: dict[str, str] = {}
        self.late: list[Write] = []
        self.boot, self.epoch, self.revision, self.fence = 1, 1, 0, 0

    @property
    def holds(self) -> bool:
        raw = self.etcd.keys.get(KEYS.host(self.name))
        return raw is not None and raw.revision == self.fence

    def key(self, id: str) -> bytes:
        return KEYS.entry(self.name, key_of(self.id(id)))

    def id(self, id: str) -> ProcessId:
        return ProcessId("ns", self.name, id)

    def change(self, id: str, how: int) -> None:
        """Register, update or end a member."""
        self.revision += 1
        known = self.table.get(id)
        if known is None:
            self.table[id] = (self.epoch, self.revision, self.revision)
        elif how == 0:
            self.table[id] = (self.epoch, known[1], self.revision)
        else:
            del self.table[id]
            self.ended.setdefault(id, "died" if how == 1 else "unregistered")
        self.dirty.add(id)
        self.versions.append(dict(self.table))

    def flush(self, most: int, *, is_late: bool) -> None:
        """Write some of what has changed; a late write arrives at another time as well, or only then."""
        ids = sorted(self.dirty)[:most]
        if not ids or not self.holds:
            return
        operations: dict[bytes, bytes | None] = {self.key(id): self.value(id) for id in ids}
        ended = [EndRecord(key_of(self.id(id)), self.ended[id]) for id in ids if id in self.ended]
        if ended:
            operations[KEYS.ended(self.name)] = encode(ended)
        write = Write(self.fence, operations)
        if is_late:
            # No answer: the bridge gives up its fence, and the write may be carried out before the next one.
            self.late.append(write)
            self.fence = 0
            return
        self.etcd.write(operations)
        self.dirty.difference_update(ids)
        for id in ids:
            self.ended.pop(id, None)

    def arrive(self) -> None:
        """A late write arrives."""
        if self.late:
            write = self.late.pop(0)
            raw = self.etcd.keys.get(KEYS.host(self.name))
            if raw is not None and raw.revision == write.fence:
                self.etcd.write(write.operations)

    def value(self, id: str) -> bytes | None:
        version = self.table.get(id)
        if version is None:
            return None
        epoch, incarnation, revision = version
        entry = Entry(self.id(id), 7, 1, 2, incarnation, EPOCH, EPOCH, revision, Metadata())
        return encode(PublishedEntry(entry, epoch))

    def establish(self) -> None:
        """Write the host's key, and compare."""
        raw = self.etcd.keys.get(KEYS.host(self.name))
        if raw is not None and decode_host(raw.value or b"").boot != b"%d" % self.boot:
            return
        record = HostRecord(b"%d" % self.boot, b"p", b"n", 3.0, "", self.epoch)
        self.fence = self.etcd.write({KEYS.host(self.name): encode(record)})
        self.fenced_at[self.fence] = len(self.versions) - 1
        self.dirty = {
            id
            for id in IDS
            if self.value(id) != (self.etcd.keys[key].value if (key := self.key(id)) in self.etcd.keys else None)
        }

    def say_whole(self) -> None:
        if self.holds and not self.dirty:
            self.etcd.write({KEYS.whole(self.name): encode(self.fence)})

    def lose(self) -> None:
        """The lease ends, rightly or wrongly."""
        if KEYS.host(self.name) in self.etcd.keys:
            self.etcd.write({KEYS.host(self.name): None, KEYS.whole(self.name): None, KEYS.ended(self.name): None})

    def make_anew(self, *, boots: bool) -> None:
        """The registry is gone; with `boots`, all of the host has started anew, after its lease has ended."""
        if boots and KEYS.host(self.name) in self.etcd.keys:
            return
        self.boot += boots
        self.epoch += 1
        self.revision = 0
        self.fence = 0
        self.table = {} if boots else {id: (self.epoch, n, n) for n, id in enumerate(sorted(self.table), 1)}
        self.revision = len(self.table)
        self.ended.clear()
        self.versions.append(dict(self.table))

    def clear(self, how: str, *, leaves: bool) -> None:
        """Leave in order, or be forgotten by another host."""
        if leaves != self.holds or (not leaves and KEYS.host(self.name) in self.etcd.keys):
            return
        operations: dict[bytes, bytes | None] = {raw.key: None for raw in self.etcd.under(KEYS.entries(self.name))}
        if not leaves and not operations:
            return
        operations |= {KEYS.ended(self.name): encode([EndRecord(b"", how)]), KEYS.whole(self.name): None}
        operations[KEYS.host(self.name)] = None
        self.etcd.write(operations)
        self.fence = 0


class Shown(NamedTuple):
    """A host as an etcd reader shows it: whether it is here, and its entries."""

    here: bool
    entries: dict[str, Version]


class Expected:
    """What an etcd reader must show, by what it has seen of one host. `whole_fence` is that for which it was whole."""

    def __init__(self) -> None:
        self.boot, self.epoch, self.fence, self.whole_fence = b"", 0, 0, 0
        self.here = False
        self.entries: dict[str, Version] = {}

    def see(self, name: str, raw: RawChange) -> None:
        if raw.key == KEYS.host(name):
            if raw.value is None:
                self.fence, self.epoch, self.here = 0, 0, False
                return
            record = decode_host(raw.value)
            if self.boot and record.boot != self.boot:
                self.entries = {id: one for id, one in self.entries.items() if one[0] == record.epoch}
            self.boot, self.epoch, self.fence = record.boot, record.epoch, raw.revision
        elif raw.key == KEYS.whole(name) and raw.value is not None and decode_number(raw.value) == self.fence:
            self.here, self.whole_fence = True, self.fence
        elif raw.key.startswith(KEYS.entries(name)):
            id = raw.key.rpartition(b"\0")[2].decode()
            if raw.value is None:
                self.entries.pop(id, None)
                return
            published = decode_published(raw.value)
            if self.epoch in (0, published.epoch):
                self.entries[id] = (published.epoch, published.entry.incarnation, published.entry.revision)


class Reader:
    """An etcd reader: the real bridge's part and the real engine, and beside them what they must show."""

    def __init__(self, etcd: Etcd) -> None:
        self.etcd = etcd
        self.remote_hosts = RemoteHosts(KEYS, "a")
        self.engine = Engine(Limits(), FakeKernel(), Memory())
        self.records: dict[bytes, Record] = {}
        self.revision = 0
        self.kinds: list[tuple[Kind, str]] = []
        self.seen = etcd.revision
        self.expected: dict[str, Expected] = {}
        self.load()

    def send(self, requests: Iterable[ApplyRemote]) -> None:
        for request in requests:
            view = FakeView(list(self.records.values()))
            view.revision = self.revision
            call = Call(b"s", 1, 2**62, request)
            decision = self.engine.decide(view, Batch(calls=[call]), Instant(EPOCH, 0))
            for change in decision.changes:
                self.revision = change.revision
                if change.is_of_host:
                    self.kinds.append((change.kind, change.key.decode()))
                elif change.after is None:
                    del self.records[change.key]
                else:
                    self.records[change.key] = change.after
            self.engine.memory.hosts.follow(decision.hosts, decision.changes)

    def known(self) -> dict[str, set[bytes]]:
        rows = self.engine.memory.hosts.rows.values()
        return {row.host: {k for k, r in self.records.items() if r.entry.owner == row.owner} for row in rows}

    def load(self) -> None:
        heads = [*self.etcd.under(KEYS.hosts), *self.etcd.under(KEYS.nodes), *self.etcd.under(KEYS.wholes)]
        load = self.remote_hosts.load(heads, self.known())
        self.send(load.begin())
        items = self.etcd.under(KEYS.all_entries)
        for first in range(0, len(items), 2):
            self.send(load.take(items[first : first + 2]))
        self.send(load.end())
        self.seen = self.etcd.revision
        self._expect_loaded()

    def _expect_loaded(self) -> None:
        before, self.expected = self.expected, {}
        for name in HOSTS:
            entries = self.etcd.under(KEYS.entries(name))
            head, whole = self.etcd.keys.get(KEYS.host(name)), self.etcd.keys.get(KEYS.whole(name))
            if not entries and head is None:
                continue
            expected = self.expected[name] = Expected()
            expected.boot = before[name].boot if name in before else b""
            for raw in (head, *entries, whole):
                if raw is not None:
                    expected.see(name, raw)

    def follow(self, most: int, group: int) -> None:
        """Follow so many revisions, so many at once."""
        until = min(self.etcd.revision, self.seen + most)
        while self.seen < until:
            upto = min(until, self.seen + group)
            some = self.etcd.log[self.seen + 1 : upto + 1]
            self.send(self.remote_hosts.apply(some))
            for changes in some:
                self._expect_changes(changes)
            self.seen = upto

    def _expect_changes(self, changes: list[RawChange]) -> None:
        for name in HOSTS:
            if any(raw.key == KEYS.host(name) and raw.value is not None for raw in changes):
                self.expected.setdefault(name, Expected())
            expected = self.expected.get(name)
            if expected is None:
                continue
            for raw in changes:
                expected.see(name, raw)
            said = next((raw.value for raw in changes if raw.key == KEYS.ended(name)), None)
            if said is not None and not expected.fence and any(not end.key for end in decode_ended(said)):
                del self.expected[name]

    def shown(self) -> dict[str, Shown]:
        found = {}
        for row in self.engine.memory.hosts.rows.values():
            own = [record.entry for record in self.records.values() if record.entry.owner == row.owner]
            entries = {
                one.process_id.local_id: (one.origin.epoch, one.origin.incarnation, one.origin.revision)
                for one in own
                if one.origin is not None
            }
            found[row.host] = Shown(row.state is HostState.here, entries)
        return found

    def check(self, hosts: dict[str, Host]) -> None:
        shown = self.shown()
        assert shown == {name: Shown(one.here, one.entries) for name, one in self.expected.items()}
        for name, one in shown.items():
            if one.here:
                host, since = hosts[name], hosts[name].fenced_at[self.expected[name].whole_fence]
                for id in IDS:
                    states = [version.get(id) for version in host.versions[since:]]
                    assert one.entries.get(id) in states, f"{name}/{id} was never so since the fence"
        self._check_kinds()

    def _check_kinds(self) -> None:
        """A host is missed once, and returns once, before it is whole again."""
        for name in HOSTS:
            kinds = [kind for kind, host in self.kinds if host == name]
            for before, after in itertools.pairwise(kinds):
                if after is Kind.returned:
                    assert before is Kind.unreachable
                if after is Kind.unreachable:
                    assert before is not Kind.unreachable


host = st.sampled_from(HOSTS)
steps = st.one_of(
    st.tuples(st.just("change"), host, st.sampled_from(IDS), st.integers(0, 2)),
    st.tuples(st.just("change"), host, st.sampled_from(IDS), st.integers(0, 2)),
    st.tuples(st.just("flush"), host, st.integers(1, 3)),
    st.tuples(st.just("flush"), host, st.integers(1, 3)),
    st.tuples(st.just("late"), host),
    st.tuples(st.just("arrive"), host),
    st.tuples(st.just("lose"), host),
    st.tuples(st.just("establish"), host),
    st.tuples(st.just("establish"), host),
    st.tuples(st.just("whole"), host),
    st.tuples(st.just("whole"), host),
    st.tuples(st.just("anew"), host, st.booleans()),
    st.tuples(st.just("leave"), host),
    st.tuples(st.just("forget"), host),
    st.tuples(st.just("follow"), st.integers(1, 6), st.integers(1, 4)),
    st.tuples(st.just("follow"), st.integers(1, 6), st.integers(1, 4)),
    st.tuples(st.just("load"), st.booleans()),
)


# An etcd reader loads while a host is back and has not said that it is whole.
@example([("whole", "b"), ("establish", "b"), ("follow", 6, 1), ("load", False)])
# A host starts anew, and is lost once more, before the etcd reader hears of either.
@example(
    [
        ("lose", "b"),
        ("anew", "b", True),
        ("change", "b", "1", 0),
        ("establish", "b"),
        ("flush", "b", 2),
        ("lose", "b"),
        ("load", False),
    ]
)
@settings(max_examples=300)
@given(st.lists(steps, min_size=30, max_size=100))
def test_a_mirror_shows_what_it_has_seen_and_nothing_that_never_was(history: list[tuple[object, ...]]) -> None:
    """In every history, an etcd reader shows only states that a host had, and the present ones when nothing more
    happens."""
    etcd = Etcd()
    hosts = {name: Host(etcd, name) for name in HOSTS}
    for one in hosts.values():
        one.establish()
    reader = Reader(etcd)
    for step in history:
        _take(step, hosts, reader)
        reader.check(hosts)
    # When nothing more happens, all hosts are here, and as they are.
    for one in hosts.values():
        one.establish()
        while one.dirty and one.holds:
            one.flush(3, is_late=False)
        one.say_whole()
    reader.follow(10**6, 3)
    reader.check(hosts)
    for name, one in hosts.items():
        assert reader.shown()[name] == Shown(one.holds, one.table)


def _take(step: tuple[object, ...], hosts: dict[str, Host], reader: Reader) -> None:
    match step:
        case ("follow", int(most), int(group)):
            reader.follow(most, group)
        case ("load", bool(restarts)):
            if restarts:
                # Another bridge, which has the tables and knows nothing.
                reader.remote_hosts = RemoteHosts(KEYS, "a")
            reader.load()
        case (str(what), str(name), *rest):
            _of_host(what, hosts[name], rest)
        case _:
            raise AssertionError(step)


def _of_host(what: str, host: Host, rest: list[object]) -> None:
    match what, *rest:
        case "change", str(id), int(how):
            host.change(id, how)
        case "flush", int(most):
            host.flush(most, is_late=False)
        case "anew", bool(boots):
            host.make_anew(boots=boots)
        case _:
            PLAIN[what](host)


PLAIN: dict[str, Callable[[Host], None]] = {
    "late": lambda host: host.flush(2, is_late=True),
    "arrive": Host.arrive,
    "lose": Host.lose,
    "establish": Host.establish,
    "whole": Host.say_whole,
    "leave": lambda host: host.clear("left", leaves=True),
    "forget": lambda host: host.clear("unreachable_forgotten", leaves=False),
}
