"""What the client does while etcd members are stopped, killed, without a leader, or all away.

The bounds on time are loose: they separate a client that goes on by itself from one that waits for gRPC or etcd (7 s
and more), and hold on a busy machine.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from adsum._etcd.address import ClusterAddress, EtcdMember, parse
from adsum._etcd.client import EtcdClient
from adsum._etcd.errors import EtcdError, OutcomeUnknown, Unavailable
from adsum._etcd.lease import LeaseKeeper
from adsum._etcd.watch import EtcdWatch
from tests.support.etcd import EtcdCluster, Member, free_ports
from tests.support.waiting import eventually_awaited

SOON = 5.0
WITHIN = 20.0


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    """Three members, which the tests of this module stop and resume, and do not kill."""
    with EtcdCluster(tmp_path_factory.mktemp("etcd"), members=3) as cluster:
        yield cluster


@pytest.fixture
async def three(shared: EtcdCluster) -> AsyncIterator[EtcdCluster]:
    """The same, with all members running before and after the test."""
    yield shared
    for member in shared.members:
        member.resume()
    await asyncio.to_thread(shared.wait_until_healthy)


async def leader_of(etcd: EtcdCluster) -> Member:
    """The member that leads."""
    async with EtcdClient(parse(etcd.address()), timeout=10) as client:
        status = await client.status()
        names = {info.id: info.name for info in await client.member_list()}
    return next(member for member in etcd.members if member.name == names[status.leader])


def others(etcd: EtcdCluster, member: Member) -> list[Member]:
    return [one for one in etcd.members if one is not member]


def client_of(etcd: EtcdCluster, first: Member, timeout: float = 1.0) -> EtcdClient:
    """A client that asks this member first."""
    return EtcdClient(parse(etcd.address()), first=etcd.members.index(first), timeout=timeout)


async def until_done(client: EtcdClient, key: bytes, value: bytes) -> int:
    """Put a key again and again until etcd says that it is there."""
    async with asyncio.timeout(WITHIN):
        while True:
            try:
                return await client.put(key, value)
            except (Unavailable, OutcomeUnknown):
                pass


async def test_a_read_goes_on_when_its_member_is_stopped(three: EtcdCluster) -> None:
    """A read leaves a member that is stopped in time, and is answered by the next within its deadline."""
    stopped = others(three, await leader_of(three))[0]
    async with client_of(three, stopped, timeout=2) as client:
        await client.put(b"/read", b"1")
        stopped.stop()
        began = time.monotonic()
        assert (await client.range(b"/read")).items[0].value == b"1"
        assert time.monotonic() - began < SOON
        assert client.member != f"127.0.0.1:{stopped.port}"


async def test_a_write_to_a_stopped_member_has_an_unknown_outcome(three: EtcdCluster) -> None:
    """A write that was sent and not answered is no failure and no success; the next goes to another member."""
    stopped = others(three, await leader_of(three))[0]
    async with client_of(three, stopped) as client:
        await client.put(b"/write", b"1")
        stopped.stop()
        began = time.monotonic()
        with pytest.raises(OutcomeUnknown, match="it may have been carried out") as caught:
            await client.put(b"/write", b"2")
        assert caught.value.member == f"127.0.0.1:{stopped.port}"
        await client.put(b"/write", b"3", timeout=SOON)
        assert time.monotonic() - began < SOON


async def test_an_unknown_outcome_may_be_carried_out_later(three: EtcdCluster) -> None:
    """A write that timed out while the leader had no majority is carried out when the others go on."""
    leader = await leader_of(three)
    for attempt in range(5):
        async with client_of(three, leader, timeout=10) as client:
            key = b"/late/%d" % attempt
            await client.range(key)
            for member in others(three, leader):
                member.stop()
            with pytest.raises(OutcomeUnknown):
                await client.put(key, b"", timeout=0.3)
            for member in others(three, leader):
                member.resume()
            await until_done(client, b"/late", b"")
            if (await client.range(key)).count:
                return
        # The others may have been stopped for so long that they chose another leader, which never had the write.
        leader = await leader_of(three)
    pytest.fail("none of 5 writes was carried out later")


async def test_a_refused_connection_is_no_unknown_outcome() -> None:
    """A write for which there was no connection is `Unavailable`, after its deadline and not later."""
    address = ClusterAddress((EtcdMember("127.0.0.1", free_ports(1)[0]),), "test")
    async with EtcdClient(address, timeout=0.5) as client:
        began = time.monotonic()
        with pytest.raises(Unavailable, match=r"could not put .* nothing was changed") as caught:
            await client.put(b"/a", b"")
        assert 0.3 < time.monotonic() - began < SOON
        assert caught.value.reason == "cluster_unavailable"


async def test_without_a_majority_nothing_is_carried_out(three: EtcdCluster) -> None:
    """A member that has lost its leader refuses writes and linearizable reads at once; it still answers the others."""
    alone, *rest = three.members
    async with EtcdClient(ClusterAddress((parse(three.address()).members[0],), "test")) as client:
        await client.put(b"/alone", b"1")
        for member in rest:
            member.stop()

        async def error() -> EtcdError | None:
            try:
                await client.put(b"/alone", b"2")
            except EtcdError as error:
                return error
            return None

        async with asyncio.timeout(WITHIN):
            # Until the member has noticed that it is alone, a write has an unknown outcome.
            while "no leader" not in str(found := await error()):
                assert isinstance(found, OutcomeUnknown | Unavailable)
        assert isinstance(found, Unavailable)
        with pytest.raises(Unavailable, match="no leader"):
            await client.range(b"/alone")
        # It may begin with the pause after those failures.
        assert (await client.range(b"/alone", serializable=True, timeout=10)).items[0].value in (b"1", b"2")
        assert (await client.status()).leader == 0
        assert alone.pid


async def test_a_watch_goes_on_when_its_member_is_stopped(three: EtcdCluster) -> None:
    """A watch leaves a member that is stopped, and has every change once."""
    stopped = others(three, await leader_of(three))[0]
    async with client_of(three, stopped) as watching, client_of(three, others(three, stopped)[0], 10) as writing:
        first = await writing.put(b"/watched", b"0")
        async with watching.watch(b"/watched", start_revision=first) as watch:
            seen = [change.item.value for change in (await anext(watch)).changes]
            assert watch.member == f"127.0.0.1:{stopped.port}"
            stopped.stop()
            began = time.monotonic()
            for number in range(1, 4):
                await writing.put(b"/watched", str(number).encode())
            async with asyncio.timeout(WITHIN):
                while len(seen) < 4:
                    seen += [change.item.value for change in (await anext(watch)).changes]
            assert time.monotonic() - began < SOON
            assert watch.member != f"127.0.0.1:{stopped.port}"
    assert seen == [b"0", b"1", b"2", b"3"]


async def test_a_lease_is_kept_when_its_member_is_stopped(three: EtcdCluster) -> None:
    """Keep-alives leave a member that is stopped long before the lease would end."""
    stopped = others(three, await leader_of(three))[0]
    async with client_of(three, stopped) as client:
        lease = await client.grant(6)
        async with client.keep_lease(lease.id, 6, every=0.2) as keeper:
            before = await anext(keeper)
            assert before.member == f"127.0.0.1:{stopped.port}"
            stopped.stop()
            async with asyncio.timeout(WITHIN):
                after = await anext(keeper)
        assert after.member != before.member
        assert after.sent < before.until
        assert await client.time_to_live(lease.id, timeout=10) is not None


async def test_a_killed_leader_is_survived(tmp_path: Path) -> None:
    """Writes, a watch and a lease go on after the leader is killed: every acknowledged write is seen, none twice."""
    with EtcdCluster(tmp_path, members=3) as etcd:
        leader = await leader_of(etcd)
        async with client_of(etcd, leader) as client, client_of(etcd, leader) as other:
            lease = await client.grant(5)
            first = await client.put(b"/n/start", b"")
            async with (
                other.watch(b"/n/", prefix=True, start_revision=first) as watch,
                other.keep_lease(lease.id, 5, every=0.3) as keeper,
                asyncio.TaskGroup() as group,
            ):
                seen: list[bytes] = []
                beats: list[float] = []
                reading = group.create_task(_collect(watch, seen))
                keeping = group.create_task(_keep(keeper, beats))
                written = []
                for number in range(60):
                    if number == 20:
                        leader.kill()
                    key = b"/n/%02d" % number
                    written.append((await until_done(client, key, b""), key))
                answered = len(beats)
                await eventually_awaited(lambda: seen[-1:] == [written[-1][1]] and len(beats) > answered, WITHIN)
                reading.cancel()
                keeping.cancel()
            assert await client.time_to_live(lease.id, timeout=10) is not None
            # A write of unknown outcome was repeated, so its key may have changed twice.
            revisions = {item.key: item.version for item in (await client.range(b"/n/", prefix=True)).items}
            assert {key: seen.count(key) for key in revisions} == revisions


async def test_a_watch_begins_on_a_member_that_is_behind(three: EtcdCluster) -> None:
    """A watch from a revision that its member has not reached waits for it, and is no restored cluster."""
    behind = others(three, await leader_of(three))[0]
    async with client_of(three, behind, 10) as client, client_of(three, others(three, behind)[0], 10) as writing:
        for _ in range(8):
            revision = await writing.put(b"/behind", b"1")
            async with client.watch(b"/behind", start_revision=revision + 1, silence=0.2) as watch:
                await anext(watch)
                assert watch.position == revision


async def test_an_outage_costs_no_processor_time(tmp_path: Path) -> None:
    """Callers that repeat at once, a watch and a lease wait while all members are away, and go on afterwards."""
    with EtcdCluster(tmp_path) as etcd:
        async with EtcdClient(parse(etcd.address())) as client:
            lease = await client.grant(60)
            await client.put(b"/a", b"1")
            seen: list[bytes] = []
            beats: list[float] = []
            failures = 0

            async def write_again_and_again() -> None:
                nonlocal failures
                while True:
                    try:
                        await client.put(b"/a", b"2")
                        return
                    except (Unavailable, OutcomeUnknown):
                        failures += 1

            async with (
                client.watch(b"/a") as watch,
                client.keep_lease(lease.id, 60, every=0.1) as keeper,
                asyncio.TaskGroup() as group,
            ):
                await anext(watch)
                reading = group.create_task(_collect(watch, seen))
                keeping = group.create_task(_keep(keeper, beats))
                await eventually_awaited(lambda: beats)
                etcd.members[0].kill()
                writing = [group.create_task(write_again_and_again()) for _ in range(20)]
                before = time.process_time()
                await asyncio.sleep(2)
                used = time.process_time() - before
                etcd.members[0].start()
                await asyncio.wait(writing, timeout=WITHIN)
                answered = len(beats)
                await eventually_awaited(lambda: len(beats) > answered and seen, WITHIN)
                reading.cancel()
                keeping.cancel()
            assert used < 0.7, f"{used:.2f} s of processor time in 2 s"
            assert 0 < failures <= 20 * 60


async def _collect(watch: EtcdWatch, keys: list[bytes]) -> None:
    async for batch in watch:
        keys += [change.item.key for change in batch.changes]


async def _keep(keeper: LeaseKeeper, beats: list[float]) -> None:
    async for beat in keeper:
        beats += [beat.sent]
