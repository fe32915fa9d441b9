"""What a mirror makes of an etcd that has lost hosts and entries, which are still in the tables here."""

from __future__ import annotations

from collections.abc import Iterable

from adsum import _wire as wire
from adsum._bridge.keys import Keys
from adsum._bridge.records import HostRecord, PublishedEntry, encode
from adsum._bridge.remote_hosts import RawChange, RemoteHosts
from adsum._store.layout import key_of
from adsum.model import EPOCH, Entry, Metadata, ProcessId

KEYS = Keys("c")
HEAD = encode(HostRecord(b"boot", b"place", b"nonce", 2.0, "1"))


def entry(name: str) -> Entry:
    return Entry(ProcessId("default", "b", name), 1, 1, 1, 1, EPOCH, EPOCH, 1, Metadata())


def key(name: str) -> bytes:
    return key_of(entry(name).process_id)


def loaded(
    remote_hosts: RemoteHosts, heads: Iterable[RawChange], known: set[bytes], *, keeps: bool
) -> list[wire.ApplyRemote]:
    """The requests of a load in which etcd has no entry."""
    load = remote_hosts.load(heads, {"b": known}, keeps=keeps)
    return [*load.begin(), *load.take([]), *load.end()]


def ended(requests: Iterable[wire.ApplyRemote]) -> list[str]:
    return [one.process_id.local_id for request in requests for one in request.changes if one.entry is None]


def states(requests: Iterable[wire.ApplyRemote]) -> list[str]:
    return [host.state for request in requests for host in request.hosts]


def test_a_host_that_is_not_there_any_more_is_gone() -> None:
    """Without lost history: it has left, or was forgotten."""
    requests = loaded(RemoteHosts(KEYS, "a"), [], {key("1")}, keeps=False)
    assert states(requests) == ["gone"]


def test_a_host_that_etcd_has_lost_is_unreachable_and_its_entries_stay() -> None:
    """Also over the next load, which is one as all others."""
    remote_hosts = RemoteHosts(KEYS, "a")
    for keeps in (True, False):
        requests = loaded(remote_hosts, [], {key("1")}, keeps=keeps)
        assert set(states(requests)) == {"unreachable"}
        assert ended(requests) == []


def test_what_a_host_has_not_written_again_ends_when_it_has_said_that_all_is_there() -> None:
    """Not earlier: a host that is back is perhaps loaded before it has written its entries."""
    remote_hosts = RemoteHosts(KEYS, "a")
    requests = loaded(remote_hosts, [RawChange(KEYS.host("b"), HEAD, 2)], {key("1"), key("2")}, keeps=True)
    assert ended(requests) == []
    put = RawChange(KEYS.entry("b", key("1")), encode(PublishedEntry(entry("1"), 0)), 3)
    assert ended(remote_hosts.apply([[put]])) == []
    requests = list(remote_hosts.apply([[RawChange(KEYS.whole("b"), encode(2), 4)]]))
    assert (ended(requests), states(requests)) == (["2"], ["here"])
    assert remote_hosts.unconfirmed == {}
