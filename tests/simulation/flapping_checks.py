"""What is read of a registry whose other hosts come and go, compared with the model of what it must show."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import cast

from adsum import _wire as wire
from adsum._client.follower import Follower
from adsum._store import snapshot
from adsum._store.environment import Environment
from adsum._store.layout import DEPARTURES, HISTORIES, HostState
from adsum._store.query import Query
from adsum._store.reader import Reader
from adsum._store.tables import bytes_used
from adsum.model import Departure, Entry, Event, Kind, Owner, ProcessId, Reach

from .processes import Processes
from .shown import Ended, Name, Seen, Shown
from .world import World

TEAM = Query("team")
EVERYTHING = Query(None)


class SimulatedLiveness:
    """The interface of `LivenessCheck` over simulated processes."""

    def __init__(self, processes: Processes) -> None:
        self._processes = processes

    def is_alive(self, owner: Owner) -> bool:
        return self._processes.is_alive(owner)

    def alive_among(self, owners: Iterable[Owner]) -> set[Owner]:
        return set(filter(self._processes.is_alive, owners))

    def is_ending(self, owner: Owner) -> bool:
        return False

    def close(self) -> None:
        """There is no descriptor."""

    abandon = close


class SharedTables:
    """The tables of the registrar, whichever has them open: LMDB must not open the same tables twice in one process."""

    def __init__(self, world: World, generation: int) -> None:
        self._world, self.generation = world, generation

    def __getattr__(self, name: str) -> object:
        return getattr(self._world.environment, name)

    def close(self) -> None:
        """The registrar closes them."""


def shared_tables(world: World, generation: int) -> Environment:
    return cast(Environment, SharedTables(world, generation))


class Watched:
    """A watch, and the events that it has yet to report. `lags` counts how often it missed some."""

    def __init__(self, reader: Reader, query: Query, shown: Shown) -> None:
        self._shown, self._query = shown, query
        self._follower = Follower(reader, query, None, None)
        self._taken = shown.revision
        self.lags = 0

    def catch_up(self) -> None:
        """Compare what it reports with what has happened since the last time."""
        expected = deque(
            (revision, seen)
            for revision, seen in enumerate(self._shown.events[self._taken :], self._taken + 1)
            if not self._query.here or (seen.member is not None and seen.member[0] == self._shown.node)
        )
        while (event := self._follower.take()) is not None:
            if event.kind is Kind.lagged:
                self.lags += 1
                names = self._shown.names(self._shown.hosts)
                assert {_name(entry) for entry in self._follower.snapshot} == names
                expected.clear()
                continue
            assert expected, f"{event} was reported, and has not happened"
            revision, seen = expected.popleft()
            assert (event.revision, _seen(event)) == (revision, seen)
        assert not expected, f"not reported were {expected}"
        assert self._follower.revision == self._shown.revision
        self._taken = self._shown.revision

    @property
    def behind(self) -> int:
        """How many events it has not been asked for."""
        return self._shown.revision - self._taken


class Checks:
    """Reads with one reader that lives as long as the registry, so that all that it keeps is tried."""

    def __init__(self, world: World, shown: Shown, keep: int) -> None:
        self._world, self._shown, self._keep = world, shown, keep
        self._reader = Reader(
            world.folder,
            lambda: SimulatedLiveness(world.processes),
            open_tables=lambda _folder, generation, _size: shared_tables(world, generation),
            boottime=world.clock.boottime_ns,
        )
        self.watch = Watched(self._reader, EVERYTHING, shown)
        self.slow_watch = Watched(self._reader, EVERYTHING, shown)
        self.own_watch = Watched(self._reader, Query(None, here=True), shown)
        self._steps = self._requests = 0
        self._counters = [0] * len(world.page.counters)
        self._words: list[int] = []
        self._most_hosts = 0
        self._day_one = self._day_one_ends = 0

    def close(self) -> None:
        self._reader.close()

    # After each request

    def after_a_request(self, request: wire.ApplyRemote) -> None:
        shown, here = self._shown, self._shown.here
        self._most_hosts = max(self._most_hosts, len(shown.hosts))
        assert self._world.page.revision == shown.revision
        assert self._world.page.entries == len(shown.names(shown.hosts))
        for change in request.changes[:3]:
            self._lookup(change.process_id, here)
        for host in request.hosts:
            for id in list(shown.hosts[host.host].members)[:3] if host.host in shown.hosts else ():
                self._lookup(ProcessId("team", host.host, id), here)
        self.watch.catch_up()
        self._requests += 1
        if self._requests % 4:
            self._find(here)
        else:
            self.reads()

    def _lookup(self, id: ProcessId, here: set[str]) -> None:
        host = self._shown.hosts.get(id.node)
        version = None if host is None else host.members.get(id.local_id)
        entry, anywhere = self._reader.lookup(id), self._reader.lookup_anywhere(id)
        assert (anywhere is None) == (version is None), f"{id} is {version}, and was found as {anywhere}"
        assert (entry is None) == (version is None or id.node not in here), f"{id} of {here} was found as {entry}"
        for one in (entry, anywhere):
            if one is not None and one.origin is not None:
                assert (one.origin.epoch, one.origin.incarnation, one.origin.revision) == version
        if anywhere is not None:
            assert anywhere.reach == (Reach.remote if id.node in here else Reach.unreachable)

    def reads(self, *, hears: bool = True) -> None:
        """Members of hosts that can be reached, by default; all of them where that is asked for, and marked."""
        shown = self._shown
        here = shown.here if hears else set()
        self._find(here)
        assert self._reader.count(TEAM) == len(shown.names(here))
        found = self._reader.find(TEAM._replace(unreachable=True))
        assert {_name(entry) for entry in found} == shown.names(shown.hosts)
        marked = {_name(entry) for entry in found if entry.reach is Reach.unreachable}
        assert marked == {name for name in shown.names(shown.hosts) if name[0] not in {shown.node, *here}}

    def _find(self, here: set[str]) -> None:
        assert {_name(entry) for entry in self._reader.find(TEAM)} == self._shown.names(here)

    def silence(self, ttl: float) -> None:
        """The bridge has not been heard for longer than its lease lasts: no other host can be reached. Watches have an
        event for each where the registrar has noticed it."""
        self._world.clock.advance(ttl * 1.01)
        self.reads(hears=False)
        self._note_hearing()
        self.reads(hears=False)

    def heard_again(self) -> None:
        """The bridge hears again after a silence."""
        self._note_hearing()
        self.reads()

    def _note_hearing(self) -> None:
        if (batch := self._world.core.hosts.hearing()) is not None:
            self._world.core.committer.commit(batch, lambda _answers: None)
            if batch.hears:
                self._shown.heard_again()
            else:
                self._shown.silence()
        self.watch.catch_up()

    # After each step

    def after_a_step(self) -> None:
        self._steps += 1
        if self._steps % 150 == 0:
            # Other hosts have made more changes since than a history keeps; this one has not.
            assert self.own_watch.behind > self._keep
            self.own_watch.catch_up()
        if self._steps % 100 == 0:
            self.all()

    def all(self) -> None:
        """Everything that is not looked at after each request."""
        self._departures()
        self._never_back()
        self._bounded()
        assert self._world.audit() == []
        if self._steps % 500 == 0:
            self.slow_watch.catch_up()
        assert self.own_watch.lags == self.watch.lags == 0

    def _departures(self) -> None:
        own = [_ended(one) for one in self._reader.reports.departures(self._keep, here=True)]
        assert own == list(reversed(self._shown.own))
        found = self._reader.reports.departures(2 * self._keep)
        others = [_ended(one) for one in found if one.entry.origin is not None]
        assert others == list(reversed(self._shown.others))
        assert len(found) == len(own) + len(others)

    def _never_back(self) -> None:
        """Change counters are even, and neither they nor the counts of the words of hosts go back."""
        counters = list(self._world.page.counters)
        assert not any(count & 1 for count in counters)
        assert all(before <= after for before, after in zip(self._counters, counters, strict=True))
        words = list(memoryview(self._world.host_words.copy()).cast("Q"))
        assert all(before >> 1 <= after >> 1 for before, after in zip(self._words, words, strict=False))
        self._counters, self._words = counters, words

    def _bounded(self) -> None:
        """The registry has a row and a word for each host that it knows, and none for those that are gone."""
        shown, world = self._shown, self._world
        environment = world.environment
        with environment.lmdb.begin() as txn:
            rows = {row.host: row for row in snapshot.hosts(txn, environment)}
            sizes = {name: txn.stat(table)["entries"] for name, table in environment.tables.items()}
            used = bytes_used(txn, environment, list(environment.tables))
        assert {name for name, row in rows.items() if row.state is HostState.here} == shown.here
        assert rows.keys() == shown.hosts.keys()
        assert world.engine.memory.hosts.rows == rows
        assert world.engine.memory.hosts.entries == sum(len(host.members) for host in shown.hosts.values())
        numbers = {row.number for row in rows.values()}
        assert len(numbers) == len(rows)
        assert max(numbers, default=0) <= self._most_hosts
        here = {number for number, word in enumerate(self._words) if word & 1}
        assert here == {row.number for row in rows.values() if row.state is HostState.here}
        assert all(sizes[table] <= self._keep for table in (*HISTORIES, *DEPARTURES))
        assert sizes["entries"] == sizes["ids"] == len(shown.names(shown.hosts))
        assert sizes["receipts"] <= 4
        self._no_growth(used + environment.file_bytes())

    def _no_growth(self, size: int) -> None:
        """The tables are no larger than on the first day."""
        now = self._world.clock.nanoseconds
        self._day_one_ends = self._day_one_ends or now + 86_400 * 10**9
        if now < self._day_one_ends:
            self._day_one = max(self._day_one, size)
        else:
            assert size <= 1.5 * self._day_one, f"{size} bytes, after {self._day_one} on the first day"


def _name(entry: Entry) -> Name:
    return entry.process_id.node, entry.process_id.local_id


def _ended(one: Departure) -> Ended:
    origin = one.entry.origin
    registration = None if origin is None else (origin.epoch, origin.incarnation)
    return Ended(_name(one.entry), one.how, one.exit, registration)


def _seen(event: Event) -> Seen:
    return Seen(event.kind.value, event.host, None if event.entry is None else _name(event.entry))
