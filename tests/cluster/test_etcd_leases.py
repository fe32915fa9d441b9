"""A lease is kept alive, and its loss is noticed."""

from __future__ import annotations

import asyncio
import itertools
import time

import pytest

from adsum._etcd.client import EtcdClient
from adsum._etcd.errors import LeaseNotFound
from adsum._etcd.lease import LeaseKeeper
from adsum._etcd.records import Renewal

WITHIN = 20.0


async def test_a_lease_is_kept_beyond_its_time_to_live(client: EtcdClient) -> None:
    """A lease of 2 s is there after 4 s of keep-alives, and its renewals say until when."""
    lease = await client.grant(2)
    await client.put(b"/kept", b"", lease=lease.id)
    began = time.clock_gettime(time.CLOCK_BOOTTIME)
    async with client.keep_lease(lease.id, lease.granted, every=0.3) as keeper:
        renewals: list[Renewal] = []
        while not renewals or renewals[-1].sent < began + 4:
            renewals.append(await anext(keeper))
    assert all(renewal.ttl == 2 and renewal.until == renewal.sent + 2 for renewal in renewals)
    assert all(later.sent - earlier.sent >= 0.3 for earlier, later in itertools.pairwise(renewals))
    assert (await client.range(b"/kept")).count == 1


async def test_a_lease_that_is_not_kept_ends_with_its_keys(client: EtcdClient) -> None:
    """Without keep-alives a lease of 2 s is gone before long, and a watch has the end of its key."""
    lease = await client.grant(2)
    revision = await client.put(b"/gone", b"", lease=lease.id)
    async with asyncio.timeout(WITHIN), client.watch(b"/gone", start_revision=revision + 1) as watch:
        while not (response := await anext(watch)).changes:
            pass
    assert response.changes[0].deleted
    assert await client.time_to_live(lease.id) is None
    async with client.keep_lease(lease.id, 2) as keeper:
        with pytest.raises(LeaseNotFound, match="is gone"):
            await anext(keeper)


async def test_a_revoked_lease_is_lost_at_the_next_keep_alive(client: EtcdClient) -> None:
    """A keeper hears of a revocation with its next keep-alive."""
    lease = await client.grant(60)
    async with client.keep_lease(lease.id, 60, every=0.1) as keeper:
        await anext(keeper)
        await client.revoke(lease.id)
        async with asyncio.timeout(WITHIN):
            with pytest.raises(LeaseNotFound, match=f"{lease.id:x}"):
                await to_the_end(keeper)


async def to_the_end(keeper: LeaseKeeper) -> None:
    async for _ in keeper:
        pass


@pytest.mark.parametrize("ttl", [2, 3, 5, 10, 60])
async def test_the_patience_is_a_small_part_of_the_time_to_live(client: EtcdClient, ttl: int) -> None:
    """Several members can be asked one after another before the lease ends, between two keep-alives too."""
    keeper = client.keep_lease(1, ttl)
    assert 0 < keeper.patience <= 1
    assert ttl / 3 + 3 * keeper.patience < ttl


async def test_several_leases_are_kept_at_once(client: EtcdClient) -> None:
    """Keepers of one client do not disturb each other."""
    leases = [await client.grant(60) for _ in range(10)]

    async def keep(lease: int) -> list[int]:
        async with client.keep_lease(lease, 60, every=0.05) as keeper:
            return [(await anext(keeper)).ttl for _ in range(5)]

    assert await asyncio.gather(*(keep(lease.id) for lease in leases)) == [[60] * 5] * 10


async def test_a_keeper_can_be_cancelled_at_any_step(client: EtcdClient) -> None:
    """A task that keeps a lease ends when it is cancelled, at whichever of its steps that happens."""
    lease = await client.grant(60)

    async def keep() -> None:
        async with client.keep_lease(lease.id, 60, every=0.0) as keeper:
            async for _ in keeper:
                pass

    for step in range(150):
        keeping = asyncio.create_task(keep())
        for _ in range(step):
            await asyncio.sleep(0)
        keeping.cancel()
        await asyncio.wait([keeping], timeout=10)
        assert keeping.cancelled(), f"cancelled after {step} steps"
