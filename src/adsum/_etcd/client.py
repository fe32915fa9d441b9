"""The client: every call that adsum makes to etcd. The interface is described at the head of this package."""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator, Sequence
from types import TracebackType

from . import records
from .address import ClusterAddress, EtcdMember
from .calls import Caller, EtcdMethod
from .errors import LeaseNotFound
from .lease import LeaseKeeper
from .records import (
    Alarm,
    Compare,
    Deletion,
    KeyPage,
    Lease,
    MemberInfo,
    Operation,
    Status,
    Transaction,
    as_text,
    compare_fields,
    encoded,
    prefix_end,
)
from .watch import SILENCE, EtcdWatch

TIMEOUT = 1.0
PAGE_SIZE = 5000


class EtcdClient:
    """A client of one cluster, for one event loop: ``async with EtcdClient(parse(text)) as etcd: ...``."""

    def __init__(
        self,
        address: ClusterAddress,
        *,
        timeout: float = TIMEOUT,
        first: int | None = None,
        password: str | None = None,
    ) -> None:
        """Reads the files of TLS; connects at the first call.

        `first` is the number of the member to ask first, one at random without it. Where the address names a user,
        `password` is theirs, ADSUM_ETCD_PASSWORD without it. `InvalidClusterAddress` where a file cannot be read.
        """
        self.address = address
        self.timeout = timeout
        members = len(address.members)
        if password is None:
            password = os.environ.get("ADSUM_ETCD_PASSWORD", "")
        self._caller = Caller(address, random.randrange(members) if first is None else first, password)

    @property
    def member(self) -> str:
        """The etcd member that calls go to at present."""
        return self._caller.members.member

    @property
    def cluster_id(self) -> int:
        """The id of the cluster, 0 before the first answer."""
        return self._caller.cluster_id

    @property
    def revision(self) -> int:
        """The highest revision that an answer had."""
        return self._caller.revision

    def forget_cluster(self) -> None:
        """Take the next answer for that of a cluster not seen before. For after `ClusterChanged` and
        `RevisionWentBack`; watches and leases of before are void."""
        self._caller.forget_cluster()

    async def close(self) -> None:
        """Close all connections. Calls in progress end with `Unavailable` or `OutcomeUnknown`."""
        await self._caller.members.close()

    async def __aenter__(self) -> EtcdClient:
        return self

    async def __aexit__(self, _kind: object, _error: BaseException | None, _traceback: TracebackType | None) -> None:
        await self.close()

    # Keys.

    async def range(
        self,
        key: bytes,
        *,
        prefix: bool = False,
        end: bytes = b"",
        revision: int = 0,
        limit: int = 0,
        serializable: bool = False,
        keys_only: bool = False,
        count_only: bool = False,
        timeout: float | None = None,
    ) -> KeyPage:
        """Read a key, all keys with a prefix, or those from `key` up to `end`, at the present or an older revision.

        Linearizable, so it needs a majority; a `serializable` read is answered by the member alone, and may be old.
        """
        call = EtcdMethod("Range", f"read {as_text(key)}", needs_leader=not serializable, orders=not serializable)
        fields: dict[str, object] = {
            "key": key or b"\0",
            "range_end": prefix_end(key) if prefix else end,
            "revision": revision,
            "limit": limit,
            "serializable": serializable,
            "keys_only": keys_only,
            "count_only": count_only,
        }
        return records.page(await self._call(call, timeout, fields), revision)

    async def pages(
        self, key: bytes, *, revision: int = 0, size: int = PAGE_SIZE, timeout: float | None = None
    ) -> AsyncIterator[KeyPage]:
        """Read all keys with a prefix, all at one revision, in pages of `size` keys. `Compacted` if that takes too long
        for etcd's history."""
        begin, end = key, prefix_end(key)
        while True:
            page = await self.range(begin, end=end, revision=revision, limit=size, timeout=timeout)
            yield page
            if not page.more:
                return
            revision = page.revision
            begin = page.items[-1].key + b"\0"

    async def put(self, key: bytes, value: bytes, *, lease: int = 0, timeout: float | None = None) -> int:
        """Set a key, and return the revision of the change. `LeaseNotFound`, `NoSpace`, `RequestTooLarge`."""
        call = EtcdMethod("Put", f"put {as_text(key)}", writes=True, orders=True)
        response = await self._call(call, timeout, {"key": key, "value": value, "lease": lease})
        return int(response.header.revision)

    async def delete_range(
        self, key: bytes, *, prefix: bool = False, end: bytes = b"", timeout: float | None = None
    ) -> Deletion:
        """Delete a key, all keys with a prefix, or those from `key` up to `end`."""
        call = EtcdMethod("DeleteRange", f"delete {as_text(key)}", writes=True, orders=True)
        fields: dict[str, object] = {"key": key or b"\0", "range_end": prefix_end(key) if prefix else end}
        response = await self._call(call, timeout, fields)
        return Deletion(response.header.revision, response.deleted)

    async def transaction(
        self,
        compares: Sequence[Compare],
        success: Sequence[Operation] = (),
        failure: Sequence[Operation] = (),
        *,
        timeout: float | None = None,
    ) -> Transaction:
        """Carry out `success` if all conditions hold, else `failure`, at one revision.

        At most 128 of each, and 1.5 MiB in all (`RequestTooLarge`); no key may be put twice (`Refused`). With `NoSpace`
        it is refused if either branch has a put.
        """
        writes = any(not isinstance(one, records.Get) for one in (*success, *failure))
        call = EtcdMethod("Txn", "carry out a transaction", writes=writes, orders=True)
        fields: dict[str, object] = {
            "compare": [compare_fields(compare) for compare in compares],
            "success": encoded(success),
            "failure": encoded(failure),
        }
        return records.transaction(await self._call(call, timeout, fields))

    async def compact(self, revision: int, *, timeout: float | None = None) -> None:
        """Have etcd forget the history before a revision. `Compacted` if it has already."""
        call = EtcdMethod("Compact", f"compact up to revision {revision}", writes=True)
        await self._call(call, timeout, {"revision": revision, "physical": True})

    # Leases.

    async def grant(self, ttl: int, *, lease: int = 0, timeout: float | None = None) -> Lease:
        """A new lease, under an id that etcd chooses unless it is given. etcd lengthens a `ttl` that is shorter than
        one and a half election time-outs, usually 2 s. `LeaseExists`, `NoSpace`."""
        call = EtcdMethod("LeaseGrant", "grant a lease", writes=True)
        response = await self._call(call, timeout, {"TTL": ttl, "ID": lease})
        return Lease(response.ID, response.TTL, response.TTL)

    async def revoke(self, lease: int, *, timeout: float | None = None) -> bool:
        """End a lease, and delete its keys, at one revision. False if there was none."""
        call = EtcdMethod("LeaseRevoke", f"revoke lease {lease:x}", writes=True)
        try:
            await self._call(call, timeout, {"ID": lease})
        except LeaseNotFound:
            return False
        return True

    async def time_to_live(self, lease: int, *, keys: bool = False, timeout: float | None = None) -> Lease | None:
        """What is left of a lease, with the keys on it where asked for. None if there is none."""
        call = EtcdMethod("LeaseTimeToLive", f"look at lease {lease:x}")
        response = await self._call(call, timeout, {"ID": lease, "keys": keys})
        if response.TTL < 0:
            return None
        return Lease(response.ID, response.grantedTTL, response.TTL, tuple(response.keys))

    def keep_lease(self, lease: int, ttl: float, *, every: float | None = None) -> LeaseKeeper:
        """Keep a lease alive with a sign each `every` seconds, a third of `ttl` without it. See `LeaseKeeper`."""
        return LeaseKeeper(self._caller, lease, ttl, every)

    # Changes.

    def watch(
        self,
        key: bytes,
        *,
        prefix: bool = False,
        end: bytes = b"",
        start_revision: int = 0,
        previous: bool = False,
        silence: float = SILENCE,
    ) -> EtcdWatch:
        """Watch a key, all keys with a prefix, or those from `key` up to `end`, from a revision on; 0 is from now on.
        See `EtcdWatch`."""
        range_end = prefix_end(key) if prefix else end
        return EtcdWatch(self._caller, key or b"\0", range_end, start_revision, previous=previous, silence=silence)

    # The cluster.

    async def status(self, member: EtcdMember | None = None, *, timeout: float | None = None) -> Status:
        """What a member says of itself; without `member`, the one that is asked at present."""
        call = EtcdMethod("Status", "ask for the status", needs_leader=False)
        seconds = self.timeout if timeout is None else timeout
        if member is None:
            return records.status(await self._caller.call(call, seconds, {}))
        channel = self._caller.members.open(member)
        try:
            return records.status(await self._caller.call_at(channel, call, seconds))
        finally:
            await channel.close()

    async def member_list(self, *, timeout: float | None = None) -> tuple[MemberInfo, ...]:
        """The members of the cluster, by a majority's word."""
        response = await self._call(EtcdMethod("MemberList", "list the members"), timeout, {"linearizable": True})
        return records.members(response)

    async def alarms(self, *, timeout: float | None = None) -> tuple[Alarm, ...]:
        """The alarms that are raised."""
        return records.alarms(await self._call(EtcdMethod("Alarm", "ask for alarms"), timeout, {"action": 0}))

    async def disarm(self, alarm: Alarm, *, timeout: float | None = None) -> None:
        """Clear an alarm. A full database must have been compacted and defragmented before."""
        call = EtcdMethod("Alarm", f"clear the alarm {alarm.kind}", writes=True)
        fields: dict[str, object] = {
            "action": 2,
            "memberID": alarm.member_id,
            "alarm": records.alarm_number(alarm.kind),
        }
        await self._call(call, timeout, fields)

    async def defragment(self, member: EtcdMember, *, timeout: float = 30.0) -> None:
        """Have a member give back the space that compaction freed. It answers nothing else meanwhile."""
        channel = self._caller.members.open(member)
        try:
            await self._caller.call_at(channel, EtcdMethod("Defragment", f"defragment {member}", writes=True), timeout)
        finally:
            await channel.close()

    async def _call(self, call: EtcdMethod, timeout: float | None, fields: dict[str, object]) -> records.Wire:
        return await self._caller.call(call, self.timeout if timeout is None else timeout, fields)
