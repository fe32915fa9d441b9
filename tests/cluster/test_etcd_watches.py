"""A watch has every change once, in whole revisions, or says why it cannot."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from adsum._etcd import versions
from adsum._etcd.address import parse
from adsum._etcd.client import EtcdClient
from adsum._etcd.errors import ClusterChanged, Compacted, RevisionWentBack, WatchCanceled
from adsum._etcd.records import Delete, Put, WatchResponse
from adsum._etcd.watch import EtcdWatch
from tests.support.etcd import EtcdCluster, program, version

WITHIN = 20.0
needs_reliable_progress = pytest.mark.skipif(
    not versions.is_reliable(version(program())), reason="progress is no revision to rely on in this etcd"
)


async def with_changes(watch: EtcdWatch) -> WatchResponse:
    """The next batch that has changes."""
    async with asyncio.timeout(WITHIN):
        while not (batch := await anext(watch)).changes:
            pass
        return batch


async def up_to(watch: EtcdWatch, revision: int) -> None:
    """Read batches until one is at this revision."""
    async with asyncio.timeout(WITHIN):
        while (await anext(watch)).revision < revision:
            pass


async def test_changes_come_in_whole_revisions(client: EtcdClient) -> None:
    """Puts and deletes of a transaction are one revision of a batch, with the keys before them where asked for."""
    first = await client.put(b"/w/a", b"1")
    await client.put(b"/w/b", b"2")
    both = await client.transaction([], [Put(b"/w/b", b"3"), Delete(b"/w/a"), Put(b"/elsewhere", b"")])
    async with client.watch(b"/w/", prefix=True, start_revision=first, previous=True) as watch:
        seen = []
        while watch.position < both.revision:
            seen += list((await with_changes(watch)).by_revision())
    assert [revision for revision, _ in seen] == [first, first + 1, both.revision]
    changes = {change.item.key: change for change in seen[-1][1]}
    assert changes.keys() == {b"/w/a", b"/w/b"}
    assert changes[b"/w/a"].deleted
    assert changes[b"/w/b"].item.value == b"3"
    before = {key: change.previous.value for key, change in changes.items() if change.previous}
    assert before == {b"/w/a": b"1", b"/w/b": b"2"}


async def test_a_watch_from_now_on_has_no_older_change(client: EtcdClient) -> None:
    """Without a revision to begin at, a watch has what is changed after it was there."""
    await client.put(b"/now", b"before")
    async with client.watch(b"/now") as watch:
        await up_to(watch, 1)
        await client.put(b"/now", b"after")
        assert [change.item.value for change in (await with_changes(watch)).changes] == [b"after"]


async def test_a_large_revision_is_one_batch(client: EtcdClient) -> None:
    """etcd sends a revision of 3 MB in fragments; the batch has all of it."""
    keys = [b"/big/%03d" % number for number in range(100)]
    await client.transaction([], [Put(key, bytes(14_000)) for key in keys])
    done = await client.transaction([], [Put(key, b"x" * 14_000) for key in keys])
    async with client.watch(b"/big/", prefix=True, start_revision=done.revision, previous=True) as watch:
        batch = await with_changes(watch)
    assert [change.item.key for change in batch.changes] == keys
    assert {change.item.mod_revision for change in batch.changes} == {batch.revision} == {done.revision}


async def test_compacted_history_ends_a_watch(client: EtcdClient) -> None:
    """A watch from a revision that is compacted ends with the first one that is left."""
    first = await client.put(b"/c", b"1")
    await client.put(b"/c", b"2")
    last = await client.put(b"/c", b"3")
    await client.compact(last)
    async with client.watch(b"/c", start_revision=first) as watch:
        with pytest.raises(Compacted, match="load anew") as caught:
            await with_changes(watch)
    assert caught.value.compact_revision == last
    async with client.watch(b"/c", start_revision=last) as watch:
        assert (await with_changes(watch)).revision == last


async def test_a_canceled_watch_says_why(client: EtcdClient) -> None:
    """etcd cancels a watch of an empty range, and the error has its reason."""
    async with client.watch(b"b", end=b"a") as watch:
        with pytest.raises(WatchCanceled, match="range is empty"):
            await with_changes(watch)


async def test_a_silent_watch_gives_signs_of_life(client: EtcdClient) -> None:
    """Without changes a watch has empty batches, and `heard` moves on."""
    async with client.watch(b"/silent", silence=0.1) as watch:
        first = await anext(watch)
        heard = watch.heard
        assert first.changes == (await anext(watch)).changes == ()
        assert watch.heard > heard > 0


async def test_a_watch_of_what_is_to_come_gives_signs_of_life(client: EtcdClient) -> None:
    """A watch from the revision after the last one has empty batches too, and none of the last one's changes."""
    last = await client.put(b"/future", b"1")
    async with asyncio.timeout(WITHIN), client.watch(b"/future", start_revision=last + 1, silence=0.2) as watch:
        for _ in range(3):
            assert await anext(watch) == WatchResponse(last, ())
        await client.put(b"/future", b"2")
        assert [change.item.value for change in (await with_changes(watch)).changes] == [b"2"]


async def test_a_watch_begins_where_the_history_does(client: EtcdClient) -> None:
    """A watch from the first revision that is not compacted has all of it."""
    await client.put(b"/edge", b"1")
    oldest = await client.put(b"/edge", b"2")
    await client.compact(oldest)
    async with client.watch(b"/edge", start_revision=oldest) as watch:
        assert [change.item.value for change in (await with_changes(watch)).changes] == [b"2"]
        assert (await anext(watch)).revision == oldest


@needs_reliable_progress
async def test_progress_counts_where_keys_of_others_change(client: EtcdClient) -> None:
    """A quiet watch keeps its position near the present revision, so that a compaction does not end it."""
    first = await client.put(b"/loud", b"1")
    async with client.watch(b"/quiet", start_revision=first) as watch:
        revision = await client.put(b"/loud", b"2")
        await watch.request_progress()
        await up_to(watch, revision)
        await client.compact(revision)
        await watch.close()
        await client.put(b"/quiet", b"")
        assert (await with_changes(watch)).revision == revision + 1


async def test_a_watch_that_is_closed_goes_on_where_it_was(client: EtcdClient) -> None:
    """Iterating again after a break repeats nothing and leaves nothing out."""
    first = await client.put(b"/again", b"0")
    seen = []
    async with client.watch(b"/again", start_revision=first) as watch:
        for number in range(1, 6):
            seen.append((await with_changes(watch)).changes[0].item.value)
            await watch.close()
            await client.put(b"/again", str(number).encode())
    assert seen == [b"0", b"1", b"2", b"3", b"4"]


async def test_a_restored_cluster_is_noticed(tmp_path: Path) -> None:
    """A cluster that was restored from an older copy answers at a lower revision: watches and calls say so."""
    with EtcdCluster(tmp_path) as etcd:
        member = etcd.members[0]
        async with EtcdClient(parse(etcd.address()), timeout=10) as client:
            await client.put(b"/a", b"1")
            member.kill()
            shutil.copytree(member.folder, tmp_path / "copy")
            member.start()
            last = [await client.put(b"/a", str(number).encode()) for number in range(5)][-1]
            member.kill()
            shutil.rmtree(member.folder)
            (tmp_path / "copy").rename(member.folder)
            member.start()
            async with client.watch(b"/a", start_revision=last + 1) as watch:
                with pytest.raises(RevisionWentBack) as caught:
                    await with_changes(watch)
            assert (caught.value.known, caught.value.found) == (last, last - 5)
            async with (
                EtcdClient(parse(etcd.address()), timeout=10) as fresh,
                fresh.watch(b"/a", start_revision=last + 1) as watch,
            ):
                with pytest.raises(RevisionWentBack):
                    await with_changes(watch)
            with pytest.raises(RevisionWentBack, match="restored from an older copy"):
                await client.range(b"/a")


async def test_another_cluster_is_noticed(tmp_path: Path) -> None:
    """A server of another cluster at the same port is not taken for the one before."""
    with EtcdCluster(tmp_path) as etcd:
        member = etcd.members[0]
        async with EtcdClient(parse(etcd.address()), timeout=10) as client:
            revision = await client.put(b"/a", b"1")
            known = client.cluster_id
            member.kill()
            shutil.rmtree(member.folder)
            etcd.token = "another"
            member.start()
            async with client.watch(b"/a", start_revision=revision + 1) as watch:
                with pytest.raises(ClusterChanged) as caught:
                    await with_changes(watch)
            assert caught.value.known == known != caught.value.found
            with pytest.raises(ClusterChanged, match="members of one cluster"):
                await client.put(b"/a", b"2")
