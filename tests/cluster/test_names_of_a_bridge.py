"""The moments in which a name could get two holders, or none: the part of a bridge that asks etcd for names, with a
real etcd, and with a registry in whose place the test answers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from adsum import _wire as wire
from adsum._bridge.keys import Keys
from adsum._bridge.names import HostNames
from adsum._bridge.records import NameRecord, decode_name, encode
from adsum._etcd.client import EtcdClient
from adsum._etcd.errors import OutcomeUnknown
from adsum._etcd.records import Compare, KeyPage, KeyValue, Operation, Transaction, unchanged_since
from adsum._store.layout import Standby, key_of
from adsum._validation import MetadataFields
from adsum.model import Entry, Owner, ProcessId
from tests.support.waiting import eventually_awaited

from .bridging import remote

HOST = "a"
ID = ProcessId("default", HOST, "leader")
OWNER = Owner(4711, 1, 2)


class FakeRegistry:
    """The tables of a host, as its bridge sees them. `table` is what it has read; `present` what is there by now."""

    def __init__(self) -> None:
        self.requests: list[Standby] = []
        self.table: dict[bytes, Entry] = {}
        self.present: dict[bytes, Entry] | None = None
        self.answers: list[wire.NameAnswer] = []
        self.retokens: list[wire.Retoken] = []
        self.on_wake = lambda: None

    def name_requests(self) -> list[Standby]:
        return list(self.requests)

    def catch_up(self) -> None:
        if self.present is not None:
            self.table, self.present = self.present, None

    async def ask(self, request: wire.AnyRequest) -> wire.Done:
        if isinstance(request, wire.Retoken):
            self.retokens.append(request)
            return wire.Done(0, [])
        assert isinstance(request, wire.NameAnswer)
        self.answers.append(request)
        found = [one for one in self.requests if (one.session, one.number) == (request.session, request.stand_by)]
        for one in found:
            self.requests.remove(one)
            if request.token:
                self.register(one, request.token)
        return wire.Done(0, [], changed=bool(found))

    def register(self, standby: Standby, token: int) -> None:
        entry = remote(standby.process_id.local_id, host=HOST)
        self.table = {**self.table, key_of(ID): msgspec.structs.replace(entry, fencing_token=token)}

    def unregister(self) -> None:
        self.table = {}


class FakeTenure:
    """Holds the host's key for as long as the test wants."""

    def __init__(self, host_key: bytes, fence: int, lease: int) -> None:
        self.host = HOST
        self.fence, self.lease = fence, lease
        self.number = 1
        self.holds = True
        self.ended: list[Exception] = []
        self._key = host_key

    def guard(self) -> Compare:
        return unchanged_since(self._key, self.fence)

    def end(self, reason: Exception) -> None:
        self.ended.append(reason)


class PausedEtcd:
    """An etcd whose answers to transactions are held back while `gate` is clear, or lost once."""

    def __init__(self, client: EtcdClient) -> None:
        self._client = client
        self.gate = asyncio.Event()
        self.gate.set()
        self.loses = 0
        self.carried_out = 0

    async def transaction(
        self, compares: Sequence[Compare], success: Sequence[Operation] = (), failure: Sequence[Operation] = ()
    ) -> Transaction:
        done = await self._client.transaction(compares, success, failure)
        self.carried_out += 1
        await self.gate.wait()
        if self.loses:
            self.loses -= 1
            raise OutcomeUnknown("no answer")
        return done

    async def range(self, key: bytes) -> KeyPage:
        return await self._client.range(key)

    def pages(self, prefix: bytes) -> Any:
        return self._client.pages(prefix)


class Scene:
    """One bridge's names, in a cluster of the test's own."""

    def __init__(self, client: EtcdClient, cluster: str) -> None:
        self.client = client
        self.keys = Keys(cluster)
        self.etcd = PausedEtcd(client)
        self.local = FakeRegistry()
        self._number = 0

    async def begin(self) -> Scene:
        lease = (await self.client.grant(60)).id
        key = self.keys.host(HOST)
        fence = await self.client.put(key, b"", lease=lease)
        self.tenure = FakeTenure(key, fence, lease)
        self.names = HostNames(self.etcd, self.keys, self.local, self.tenure)  # type: ignore[arg-type]
        await self.names.reconcile()
        return self

    def ask(self, *, waits: bool = False) -> Standby:
        """A process of this host asks for the name."""
        self._number += 1
        standby = Standby(ID, OWNER, MetadataFields(), b"session", self._number, self._number, True, waits)
        self.local.requests.append(standby)
        self.names.look()
        return standby

    async def key(self) -> KeyValue | None:
        """The name, as etcd has it."""
        page = await self.client.range(self.keys.name("default", "leader"))
        return page.items[0] if page.items else None

    async def put_key(self, request: bytes, host: str = HOST) -> int:
        """The name is in etcd, as this request has left it there."""
        record = NameRecord(host, key_of(ID), request)
        return await self.client.put(
            self.keys.name("default", "leader"), encode(record), lease=self.tenure.lease if host == HOST else 0
        )


@pytest.fixture
async def scene(client: EtcdClient, request: pytest.FixtureRequest) -> Any:
    made = await Scene(client, f"c{abs(hash(request.node.name))}").begin()
    yield made
    await made.names.close()


async def test_the_name_of_a_holder_that_has_just_ended_is_not_taken_over(scene: Scene) -> None:
    """Its key is still there, and is about to be deleted: the next holder gets a key of its own, and a larger token."""
    left = await scene.put_key(b"session:99")
    scene.ask()
    await eventually_awaited(lambda: scene.local.answers)
    key = await scene.key()
    assert scene.local.answers[0].token > left
    assert key is not None
    assert key.create_revision == scene.local.answers[0].token


async def test_the_name_of_a_member_is_left_to_it(scene: Scene) -> None:
    """Also where the bridge has not read yet that it has become one."""
    standby = scene.ask()
    await eventually_awaited(lambda: scene.local.answers)
    scene.local.present, scene.local.table = scene.local.table, {}
    assert standby not in scene.local.requests
    scene.ask()
    await eventually_awaited(lambda: len(scene.local.answers) == 2)
    assert (scene.local.answers[1].token, scene.local.answers[1].reason) == (0, "already_registered")
    assert await scene.key() is not None


async def test_a_new_fence_leaves_a_name_that_was_granted_at_this_moment(scene: Scene) -> None:
    """The member is in the tables, and the bridge has not read it: its key stays."""
    scene.ask()
    await eventually_awaited(lambda: scene.local.answers)
    scene.local.present, scene.local.table = scene.local.table, {}
    await scene.names.reconcile()
    key = await scene.key()
    assert key is not None
    assert key.create_revision == scene.local.answers[0].token


async def test_a_new_fence_frees_what_no_member_and_no_request_has(scene: Scene) -> None:
    """A bridge with a new fence deletes a name of its host that no entry has, and leaves the name of another host."""
    await scene.put_key(b"session:99")
    await scene.names.reconcile()
    assert await scene.key() is None
    other = await scene.put_key(b"session:99", host="b")
    await scene.names.reconcile()
    key = await scene.key()
    assert key is not None
    assert key.mod_revision == other, "that of another host"


async def test_a_request_that_is_given_up_in_the_middle_frees_the_name(scene: Scene) -> None:
    """Its question has created the key, and no process waits for the answer any more: it is deleted."""
    scene.etcd.gate.clear()
    standby = scene.ask()
    before = scene.etcd.carried_out
    await eventually_awaited(lambda: scene.etcd.carried_out > before - 1 and scene.etcd.carried_out >= 1)
    assert await scene.key() is not None
    scene.local.requests.remove(standby)
    scene.names.look()
    await asyncio.sleep(0)
    scene.etcd.gate.set()
    for _ in range(500):
        if await scene.key() is None:
            break
        await asyncio.sleep(0.01)
    assert await scene.key() is None


async def test_a_lost_answer_ends_the_fence_and_is_asked_again(scene: Scene) -> None:
    """The key that the first question created is known as its own, and a late copy of it is void under a new fence."""
    scene.etcd.loses = 1
    standby = scene.ask()
    await eventually_awaited(lambda: scene.local.answers)
    key = await scene.key()
    assert key is not None
    assert decode_name(key.value).request == b"session:%d" % standby.number
    assert scene.local.answers[0].token == key.create_revision
    assert len(scene.tenure.ended) == 1


async def test_a_name_is_asked_for_only_when_those_of_the_members_are_known(scene: Scene) -> None:
    """After a new fence a member may be about to get its name back: until that is decided, no other request may take
    its key for one that was left behind."""
    scene.ask()
    await eventually_awaited(lambda: scene.local.answers)
    token = scene.local.answers[0].token
    # The lease was lost, and with it the name; the bridge has another fence.
    await scene.client.delete_range(scene.keys.name("default", "leader"))
    scene.tenure.fence = await scene.client.put(scene.keys.host(HOST), b"", lease=scene.tenure.lease)
    scene.tenure.number += 1
    scene.ask()
    await asyncio.sleep(0.2)
    assert len(scene.local.answers) == 1
    assert await scene.key() is None
    await scene.names.reconcile()
    await eventually_awaited(lambda: scene.local.retokens)
    assert scene.local.retokens[0].token > token


async def test_the_name_of_another_host_with_the_same_token_is_left_to_it(scene: Scene) -> None:
    """An etcd that started empty gives the same revisions again: a token alone does not say whose a name is. The member
    here loses the name, and its end deletes nothing."""
    other = await scene.put_key(b"session:99", host="b")
    entry = msgspec.structs.replace(remote("leader", host=HOST), fencing_token=other)
    scene.local.table = {key_of(ID): entry}
    scene.tenure.number += 1
    await scene.names.reconcile()
    assert [one.token for one in scene.local.retokens] == [0]
    await scene.names._release(scene.keys.name("default", "leader"), other)
    key = await scene.key()
    assert key is not None
    assert (decode_name(key.value).host, key.mod_revision) == ("b", other)


async def test_a_new_tenure_with_the_same_fence_looks_at_the_names_anew(scene: Scene) -> None:
    """An etcd that started empty may give the fence that it gave before."""
    assert scene.names.is_reconciled
    scene.tenure.number += 1
    assert not scene.names.is_reconciled
