"""Every call of the client, on a real server."""

from __future__ import annotations

import pytest

from adsum._etcd.address import ClusterAddress, EtcdMember
from adsum._etcd.client import EtcdClient
from adsum._etcd.errors import (
    Compacted,
    FutureRevision,
    LeaseExists,
    LeaseNotFound,
    Refused,
    RequestTooLarge,
    Unavailable,
)
from adsum._etcd.records import (
    Compare,
    Delete,
    Deletion,
    Get,
    KeyPage,
    KeyValue,
    Put,
    absent,
    prefix_end,
    unchanged_since,
)
from tests.support.etcd import EtcdCluster, free_ports, program, version


async def test_a_key_is_put_read_and_deleted(client: EtcdClient) -> None:
    """A put key is read with its value and revisions, and is absent after its deletion."""
    created = await client.put(b"/one/a", b"1")
    changed = await client.put(b"/one/a", b"2")
    page = await client.range(b"/one/a")
    assert page.items == (KeyValue(b"/one/a", b"2", created, changed, 2, 0),)
    assert page.revision >= changed > created
    deleted = await client.delete_range(b"/one/a")
    assert deleted.count == 1
    assert (await client.delete_range(b"/one/a")).count == 0
    assert (await client.range(b"/one/a")).items == ()


async def test_a_prefix_has_all_its_keys_and_no_other(client: EtcdClient) -> None:
    """A read of a prefix gives the keys that begin with it, in the order of their bytes."""
    for key in (b"/pre/", b"/pre/a", b"/pre/\xff", b"/pre0", b"/prd"):
        await client.put(key, key)
    page = await client.range(b"/pre/", prefix=True)
    assert [item.key for item in page.items] == [b"/pre/", b"/pre/a", b"/pre/\xff"]
    assert (await client.range(b"/pre/", prefix=True, count_only=True)).count == 3
    keys_only = await client.range(b"/pre/", prefix=True, keys_only=True)
    assert [item.value for item in keys_only.items] == [b""] * 3
    assert (await client.range(b"/pre/", end=b"/pre/b")).count == 2
    assert await client.delete_range(b"/pre/", prefix=True) == Deletion(client.revision, 3)
    assert (await client.range(b"", prefix=True, serializable=True)).count >= 2


def test_a_prefix_ends_before_the_next_one() -> None:
    """The end of a prefix is the first key after all that begin with it."""
    assert prefix_end(b"a") == b"b"
    assert prefix_end(b"a\xff\xff") == b"b"
    assert prefix_end(b"\xff") == prefix_end(b"") == b"\0"


async def test_pages_are_of_one_revision(client: EtcdClient) -> None:
    """All pages of a range show one revision, whatever is written in between."""
    for number in range(25):
        await client.put(b"/page/%02d" % number, b"before")
    pages: list[KeyPage] = []
    async for page in client.pages(b"/page/", size=10):
        pages.append(page)
        await client.put(b"/page/24", b"after")
        await client.delete_range(b"/page/20")
    assert [len(page.items) for page in pages] == [10, 10, 5]
    assert len({page.revision for page in pages}) == 1
    assert [item.key for page in pages for item in page.items] == [b"/page/%02d" % number for number in range(25)]
    assert {item.value for page in pages for item in page.items} == {b"before"}


async def test_an_older_revision_can_be_read(client: EtcdClient) -> None:
    """A read at a revision shows what was there then; a revision that does not exist yet is refused."""
    first = await client.put(b"/old", b"1")
    await client.put(b"/old", b"2")
    page = await client.range(b"/old", revision=first)
    assert (page.revision, page.items[0].value) == (first, b"1")
    with pytest.raises(FutureRevision):
        await client.range(b"/old", revision=first + 1000)


async def test_a_transaction_takes_the_branch_of_its_conditions(client: EtcdClient) -> None:
    """All conditions hold: the first branch is carried out, at one revision. Else the second is."""
    done = await client.transaction(
        [absent(b"/txn/a")], [Put(b"/txn/a", b"1"), Put(b"/txn/b", b"2"), Get(b"/txn/", prefix=True)], [Get(b"/txn/a")]
    )
    assert done.succeeded
    assert done.results[:2] == (None, None)
    assert [item.mod_revision for item in done.pages()[0].items] == [done.revision] * 2
    refused = await client.transaction([absent(b"/txn/a")], [Delete(b"/txn/", prefix=True)], [Get(b"/txn/a")])
    assert not refused.succeeded
    assert refused.pages()[0].items[0].value == b"1"
    cleared = await client.transaction([unchanged_since(b"/txn/a", done.revision)], [Delete(b"/txn/", prefix=True)])
    assert cleared.succeeded
    assert cleared.results == (Deletion(cleared.revision, 2),)


async def test_a_transaction_compares_every_field(client: EtcdClient) -> None:
    """Conditions compare value, version, lease and both revisions, by each relation."""
    lease = await client.grant(60)
    revision = await client.put(b"/cmp", b"m", lease=lease.id)
    true = [
        Compare(b"/cmp", "value", "==", b"m"),
        Compare(b"/cmp", "value", ">", b"a"),
        Compare(b"/cmp", "version", "==", 1),
        Compare(b"/cmp", "lease", "==", lease.id),
        Compare(b"/cmp", "create_revision", "<", revision + 1),
        Compare(b"/cmp", "mod_revision", "!=", revision - 1),
        Compare(b"/cmp/none", "lease", "==", 0),
        Compare(b"/cmp/none", "mod_revision", "==", 0),
    ]
    assert (await client.transaction(true)).succeeded
    for condition in (
        Compare(b"/cmp", "value", "<", b"a"),
        Compare(b"/cmp", "version", ">", 1),
        Compare(b"/cmp", "lease", "!=", lease.id),
        Compare(b"/cmp", "create_revision", "==", revision - 1),
        Compare(b"/cmp", "mod_revision", "<", revision),
    ):
        assert not (await client.transaction([*true, condition])).succeeded, condition
    await client.revoke(lease.id)


async def test_a_transaction_has_its_bounds(client: EtcdClient) -> None:
    """128 operations are carried out, 129 or two puts of one key are refused, and so is a value of 2 MiB."""
    puts = [Put(b"/many/%03d" % number, b"") for number in range(129)]
    assert (await client.transaction([], puts[:128])).succeeded
    with pytest.raises(RequestTooLarge, match="too many operations"):
        await client.transaction([], puts)
    with pytest.raises(Refused, match="duplicate key"):
        await client.transaction([], [puts[0], puts[0]])
    for size in (1_600_000, 4_000_000):
        with pytest.raises(RequestTooLarge):
            await client.put(b"/large", bytes(size))
    assert (await client.range(b"/large")).count == 0


async def test_a_lease_ends_with_its_keys(client: EtcdClient) -> None:
    """A revoked lease takes its keys with it; it can be looked at before, and not be revoked or used again."""
    lease = await client.grant(60)
    assert lease.granted == 60
    await client.put(b"/lease/a", b"", lease=lease.id)
    await client.put(b"/lease/b", b"", lease=lease.id)
    seen = await client.time_to_live(lease.id, keys=True)
    assert seen is not None
    assert (seen.id, seen.granted, sorted(seen.keys)) == (lease.id, 60, [b"/lease/a", b"/lease/b"])
    assert 50 < seen.remaining <= 60
    with pytest.raises(LeaseExists):
        await client.grant(60, lease=lease.id)
    assert await client.revoke(lease.id)
    assert (await client.range(b"/lease/", prefix=True)).items == ()
    assert not await client.revoke(lease.id)
    assert await client.time_to_live(lease.id) is None
    with pytest.raises(LeaseNotFound):
        await client.put(b"/lease/a", b"", lease=lease.id)


async def test_compacted_history_is_gone(client: EtcdClient) -> None:
    """A read at a revision before the compaction is refused."""
    first = await client.put(b"/compact", b"1")
    last = await client.put(b"/compact", b"2")
    await client.compact(last)
    with pytest.raises(Compacted):
        await client.range(b"/compact", revision=first)
    with pytest.raises(Compacted):
        await client.compact(first)
    assert (await client.range(b"/compact", revision=last)).items[0].value == b"2"


async def test_a_server_says_what_it_is(client: EtcdClient, etcd: EtcdCluster) -> None:
    """The status has version, leader and size; the list of members has this one; no alarm is raised."""
    await client.put(b"/status", b"")
    status = await client.status()
    assert status.version == version(program())
    assert status.leader == status.member_id != 0
    assert status.db_size >= status.db_size_in_use > 0
    assert not status.errors
    assert (status.cluster_id, status.revision) == (client.cluster_id, client.revision)
    (member,) = await client.member_list()
    assert (member.id, member.name) == (status.member_id, "m0")
    assert member.client_urls == (f"http://127.0.0.1:{etcd.members[0].port}",)
    assert await client.alarms() == ()
    there = client.address.members[0]
    assert (await client.status(there)).member_id == status.member_id
    await client.defragment(there)


async def test_keys_are_text_in_errors() -> None:
    """Also the NUL between the parts of an id, and what is no UTF-8, can be read and copied."""
    address = ClusterAddress((EtcdMember("127.0.0.1", free_ports(1)[0]),), "test")
    async with EtcdClient(address, timeout=0.1) as client:
        with pytest.raises(Unavailable) as caught:
            await client.put(b"/adsum/prod/n/default\0planner-\xff", b"")
    assert "could not put /adsum/prod/n/default\\x00planner-\\xff:" in str(caught.value)
