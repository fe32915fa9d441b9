"""Exits that become known after the death, on their way through the bridge: without etcd and without a registry."""

from __future__ import annotations

from adsum import _wire as wire
from adsum._bridge.exits import MOST_DEATHS, UnwrittenExits
from adsum._bridge.keys import Keys
from adsum._bridge.records import EndRecord, HostRecord, encode
from adsum._bridge.remote_hosts import RawChange, RemoteHosts
from adsum._store.layout import key_of
from adsum.model import ProcessId

KEYS = Keys("c")
ID = ProcessId("team", "b", "worker")
KEY = key_of(ID)
ENTRY = KEYS.entry("b", KEY)


def heard(*ends: EndRecord, with_entry: bool = False) -> list[wire.ApplyRemote]:
    """What is made of a transaction of the host b, which deletes the entry with `with_entry`."""
    remote_hosts = RemoteHosts(KEYS, "a")
    record = HostRecord(b"boot", b"place", b"nonce", 3.0, "", epoch=5)
    list(remote_hosts.apply([[RawChange(KEYS.host("b"), encode(record), 2)]]))
    deleted = [RawChange(ENTRY, None, 3)] if with_entry else []
    return list(remote_hosts.apply([[*deleted, RawChange(KEYS.ended("b"), encode(list(ends)), 3)]]))


def test_an_end_without_a_change_of_the_entry_is_about_an_earlier_one() -> None:
    """It is about that incarnation, in the registry for which the bridge of the host vouches."""
    requests = heard(EndRecord(KEY, "died", 3, 7), EndRecord(KEY, "died", -9, 8))
    assert [request.exits for request in requests] == [
        [wire.RemoteExit("b", ID, 5, 7, 3), wire.RemoteExit("b", ID, 5, 8, -9)]
    ]


def test_an_end_with_the_change_of_its_entry_is_that_one() -> None:
    """An exit that arrives with the end of its entry is part of that change, and no report of its own."""
    (request,) = heard(EndRecord(KEY, "died", 3, 7), with_entry=True)
    assert request.exits == []
    assert [(change.how, change.exit) for change in request.changes] == [("died", 3)]


def test_an_end_that_says_nothing_of_an_exit_is_left_out() -> None:
    """No exit, no incarnation, no death, or no id."""
    useless = [EndRecord(KEY, "died", None, 7), EndRecord(KEY, "died", 3), EndRecord(KEY, "unregistered", 3, 7)]
    assert heard(*useless, EndRecord(b"no id", "died", 3, 7)) == []


def test_an_exit_is_written_after_the_end_that_it_is_about() -> None:
    """It waits while that is on its way, and others do not wait with it; one transaction at a time."""
    exits = UnwrittenExits()
    first, second = EndRecord(KEY, "died", 3, 7), EndRecord(KEY, "died", 4, 8)
    exits.add(first)
    exits.add(second)
    assert exits.ready(lambda end: end == first, 10) == [second]
    assert exits.ready(lambda _: False, 1) == [first]
    exits.flying = True
    assert exits.ready(lambda _: False, 10) == []
    exits.flying = False
    exits.written([second])
    assert exits.ready(lambda _: False, 10) == [first]


def test_the_oldest_exits_give_way() -> None:
    """Where etcd is away for long, memory is bounded."""
    exits = UnwrittenExits()
    for incarnation in range(1, MOST_DEATHS + 3):
        exits.add(EndRecord(KEY, "died", 3, incarnation))
    assert [one.incarnation for one in exits.ready(lambda _: False, 2)] == [3, 4]
    assert len(exits.ready(lambda _: False, 2 * MOST_DEATHS)) == MOST_DEATHS
