"""`AsyncRegistry`: the twin of `adsum.registry.Registry`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar, Unpack, overload

from .._amendment import UpdateKeywords
from .._calls import whole
from .._client.connection_pool import seconds
from .._client.keeper import OnLost
from .._client.target import AnyProcess, WholeProcess
from .._event_delivery import OnEvent, check_on_event
from .._everywhere import NameMode, is_wanted, refuse_owner
from .._member_functions import MemberId, check_member_id
from .._reads import AnyId, RegistryReads, Where
from .._store.query import Conditions
from .._validation import AnyHealth, AsyncMetadataKeywords, MetadataKeywords
from .._waiting import GoneCondition, WaitCondition
from ..errors import SystemBusy
from ..model import Entry, Limits
from . import catching_up, many
from .answer import answered, granted, registered
from .claim import AsyncClaimCall
from .cluster_names import register_everywhere
from .heartbeat import LoopHeartbeat, is_from_loop
from .live_entries import AsyncLiveEntries
from .loop import LoopCalls, require_loop
from .member_functions import async_member_function
from .only_async import OnlyAsync
from .registration import AsyncRegistration
from .registrations import AsyncRegistrations
from .thread import in_thread
from .waiting import wait
from .watch import AsyncWatch

A = TypeVar("A", bound="AsyncRegistry")
P = ParamSpec("P")
T = TypeVar("T")


class AsyncRegistry(RegistryReads, OnlyAsync):
    """A registry of living processes, for asyncio. Made by `adsum.open_async`.

    It has the calls of `Registry`, with the same meanings and errors. Calls that write are awaited; reads are plain
    calls, because they never wait. It belongs to no event loop: await it in whichever loop of asyncio runs, in any
    thread. Where none runs, under trio for one, an awaited call raises `NoEventLoop` before it does anything.

    - `folder`, `namespace`, `node`, `timeout`, `limits`, `registrar_command`: what it was opened with.
    - A write whose await is cancelled may have been applied, or not. A registration is undone then.
    - It survives `fork`, and can be pickled, like a `Registry`.

    The examples below are typed at ``python -m asyncio``. They begin with ``registry = adsum.open_async()``, and with
    an empty registry; those of the reads, which are the same for both, with a `Registry`.

    >>> async with adsum.open_async(namespace="robots") as robots:
    ...     registration = await robots.register("arm", resources={"joints": 6})
    ...     print(robots["arm"].metadata.resources)
    {'joints': 6}
    """

    def __init__(
        self,
        name: str = "default",
        *,
        path: str | os.PathLike[str] | None = None,
        namespace: str = "default",
        node: str | None = None,
        timeout: float | None = None,
        limits: Limits | None = None,
        registrar_command: Sequence[str] | None = None,
        on_lost: OnLost | None = None,
        cluster: str | None = None,
    ) -> None:
        own_timeout = seconds(timeout)
        super().__init__(
            name,
            path=path,
            namespace=namespace,
            node=node,
            limits=limits,
            registrar_command=registrar_command,
            on_lost=on_lost,
            cluster=cluster,
        )
        self._calls = LoopCalls(self._client, self.namespace, self._named_node, own_timeout)

    @property
    def timeout(self) -> float | None:
        """Seconds for each write that names no timeout; None for the registry's own `Limits.registration_timeout`.

        >>> adsum.open_async(timeout=2).timeout
        2.0
        """
        return self._calls.timeout

    def __reduce__(self) -> tuple[Any, ...]:
        named = str(self.folder), self.namespace, self._named_node
        return _reopen, (type(self), *named, self.timeout, self.limits, self.registrar_command, self._cluster)

    def __await__(self: A) -> Generator[None, None, A]:
        """``await adsum.open_async()`` gives the registry too: the caller need not know that opening does not wait."""
        yield from ()
        return self

    async def __aenter__(self: A) -> A:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close this object, its watches, and its connections. Closing twice is fine.

        Entries of processes stay, because they belong to the processes. Entries of threads and tasks that were
        registered through this object end, and so do its standbys and this process's claims. Every later call raises
        `RegistryClosed`.

        >>> await registry.close()
        >>> registry.lookup("planner-1")
        Traceback (most recent call last):
        adsum.errors.RegistryClosed: this registry was closed; open another
        """
        require_loop()
        try:
            await in_thread(self._close)
        except SystemBusy:
            # Here, then: it waits a moment for the registrar.
            self._close()

    def _close(self) -> None:
        self._close_reads()
        self._calls.close()

    async def register(
        self,
        id: AnyId,
        process: AnyProcess | None = None,
        *,
        replace: bool = False,
        owned_by: AnyId | Entry | None = None,
        everywhere: bool = False,
        timeout: float | None = None,
        **metadata: Unpack[AsyncMetadataKeywords],
    ) -> AsyncRegistration:
        """Register this process, or `process`, under `id`, for as long as it lives. When the await returns, every
        process finds the entry (L5). If it is cancelled, the registration is undone.

        - `process`: a pid, `subprocess.Popen`, `multiprocessing.Process`, `threading.Thread`, `asyncio.Task`, or any
          object with a ``.pid``; this process by default. For the running task give ``asyncio.current_task()``. An
          entry of a thread or task ends with it: immediately for readers in this process; for others once the
          registrar has been notified.
        - `replace`: where the same process holds the id already, register it anew: a new incarnation with this metadata
          alone. For a notebook cell that runs twice, and for a program that calls exec on itself. With `everywhere`, a
          name that the process has in the whole cluster keeps its token, and one that it holds on this host alone
          becomes one of the cluster; without, a name of the whole cluster is not given up: `AlreadyRegistered`.
        - `owned_by`: the id or entry of another member. With its process the new entry ends too, in the same commit
          (departure ``owner_died``). The process of the new entry is not ended; ``adsum run --owned-by`` does that.
        - `everywhere`: True for a name that only one member of the whole cluster holds; see `Registry.register`.
        - `timeout`: seconds; the registry's `Limits.registration_timeout` (1 s) by default, counted from when a
          registrar serves. The request is not applied after it (L1).
        - `metadata`: the fields of `Metadata`. ``heartbeat="loop"`` promises a heartbeat each second and lets the event
          loop send three in that time, so a loop that is blocked for 1.5 s shows as degraded to every process. With
          ``heartbeat="thread"`` a thread sends them: only a process in which no Python code runs is late then.

        Where `process` is a process of `asyncio`, a `Popen` or a `multiprocessing.Process`, a thread waits for its end,
        without reaping it, and lets the registrar know the exit (`Departure.exit`).

        Errors: `AlreadyRegistered`, whose ``entry`` is the holder's; `InvalidProcessId`; `InvalidMetadata`;
        `DeadProcess`; `RegistryFull`; `SystemBusy`; `Timeout`; `NotRegistered` where `owned_by` names no living member.

        >>> async def work():
        ...     registration = await registry.register("worker-1", asyncio.current_task())
        ...     return "worker-1" in registry
        >>> await asyncio.create_task(work()), "worker-1" in registry
        (True, False)
        """
        from_loop = is_from_loop(metadata, process)
        if is_wanted(everywhere):
            refuse_owner(owned_by)
            registration = await register_everywhere(self._calls, id, process, metadata, timeout, replace=replace)
        else:
            write = self._calls.register([(id, metadata)], process, replace=replace, owned_by=owned_by)
            registration = AsyncRegistration(self._calls, (await registered(self._calls, write, timeout)).entries[0])
        if from_loop:
            self._beat(registration.entry)
        return registration

    def register_nowait(
        self,
        id: AnyId,
        process: AnyProcess | None = None,
        *,
        replace: bool = False,
        owned_by: AnyId | Entry | None = None,
        timeout: float | None = None,
        **metadata: Unpack[AsyncMetadataKeywords],
    ) -> asyncio.Future[AsyncRegistration]:
        """Begin to register, in the running event loop. Returns a future of the registration; cancelling it undoes the
        registration. The arguments and the errors, which are all the future's, are those of `register`.

        >>> future = registry.register_nowait("planner-1")
        >>> (await future).process_id.local_id
        'planner-1'
        """
        return require_loop().create_task(
            self.register(id, process, replace=replace, owned_by=owned_by, timeout=timeout, **metadata)
        )

    async def get_or_register(
        self,
        id: AnyId,
        process: AnyProcess | None = None,
        *,
        owned_by: AnyId | Entry | None = None,
        timeout: float | None = None,
        **metadata: Unpack[AsyncMetadataKeywords],
    ) -> tuple[Entry, bool]:
        """Get the entry of the living holder and False, or register and get the new entry and True.

        The registrar decides this in one step, so of many callers exactly one gets True. The arguments are those of
        `register`, ``heartbeat="loop"`` and ``"thread"`` included. Errors: as `register`, without `AlreadyRegistered`.

        >>> (await registry.get_or_register("leader"))[1], (await registry.get_or_register("leader"))[1]
        (True, False)
        """
        from_loop = is_from_loop(metadata, process)
        write = self._calls.register([(id, metadata)], process, or_get=True, owned_by=owned_by)
        done = await registered(self._calls, write, timeout)
        if from_loop and done.changed:
            self._beat(done.entries[0])
        return done.entries[0], done.changed

    async def register_many(
        self,
        items: Sequence[tuple[AnyId, MetadataKeywords]],
        process: AnyProcess | None = None,
        *,
        replace: bool = False,
        owned_by: AnyId | Entry | None = None,
        timeout: float | None = None,
    ) -> AsyncRegistrations:
        """Register several ids, each with its metadata, for one process: all of them, visible at once, or none.

        `process`, `replace`, `owned_by`, `timeout` are those of `register`. Returns the registrations, a list in the
        order of `items`; as an asynchronous context manager it unregisters them all at the end of the block. If the
        await is cancelled, all are undone.

        Errors: as `register`; `TypeError` where an item is no pair.

        >>> arms = await registry.register_many([("arm-left", {"type": "service"}), ("arm-right", {})])
        >>> [arm.entry.incarnation for arm in arms]
        [1, 2]
        """
        return await many.register_many(self._calls, items, process, timeout, replace=replace, owned_by=owned_by)

    async def update(
        self,
        id: AnyId,
        *,
        merge: bool = False,
        add: Mapping[str, int | float] | None = None,
        if_revision: int | None = None,
        if_incarnation: int | None = None,
        timeout: float | None = None,
        **metadata: Unpack[UpdateKeywords],
    ) -> Entry:
        """Replace the given metadata fields of an entry, each as a whole, merge into them, or add to numbers in them.
        Returns the new entry. The registrar decides from the newest entry: of several processes' changes none is lost.

        Any process that may open the registry may update any entry.

        - `merge`: merge `custom`, `resources`, `capabilities`, `coordination_variables` and `protocols`; replace the
          others. In a mapping each key given gets its value, None removes the key, and a mapping inside is merged
          likewise (JSON Merge Patch, RFC 7396). A set adds its members to the present ones. To remove some, write it as
          a mapping: ``capabilities={"review": True, "draft": None}``.
        - `add`: numbers to add, by path, after the fields: ``{"custom.done": 1, "resources.tokens": -20}``. What is
          absent counts as 0. In `custom` a path may go on into mappings: ``custom.stats.done``.
        - `if_revision`: update only while the entry's `revision` is this one (compare and swap); None for any. A
          heartbeat alone does not change it.
        - `if_incarnation`: update only this incarnation; None for any holder.
        - `timeout`: seconds, as in `register`.

        Errors: `NotRegistered`; `Stale`, whose ``entry`` is the present one, where another incarnation holds the id, or
        the entry has another revision; `InvalidMetadata`, also where `add` finds no number; `RegistryFull` where the
        entry grows and there is no room; `SystemBusy`; `Timeout`; `VersionMismatch` where the registrar is of a version
        that knows no `merge`, `add` and `if_revision`.

        >>> registration = await registry.register("planner-1", capabilities={"planning"}, endpoint="tcp://10.0.0.5:9001")
        >>> entry = await registry.update("planner-1", capabilities={"review"})
        >>> sorted(entry.metadata.capabilities), entry.metadata.endpoint
        (['review'], 'tcp://10.0.0.5:9001')
        >>> entry = await registry.update("planner-1", merge=True, custom={"model": "small"}, add={"custom.done": 1})
        >>> entry.metadata.custom
        {'model': 'small', 'done': 1}
        >>> await registry.update("planner-1", if_revision=1, endpoint=None)
        Traceback (most recent call last):
        adsum.errors.Stale: ...
        """
        write = self._calls.amend(id, metadata, if_incarnation, merge=merge, add=add, if_revision=if_revision)
        return (await answered(self._calls, write, timeout)).entries[0]

    async def update_health(
        self, id: AnyId, status: AnyHealth, *, if_incarnation: int | None = None, timeout: float | None = None
    ) -> Entry:
        """Set the health status of an entry, and its `last_health_check` to now. Returns the new entry.

        `status` is a `HealthStatus`: ``healthy``, ``degraded`` or ``unhealthy``. The other arguments and the errors are
        those of `update`.

        >>> registration = await registry.register("planner-1")
        >>> (await registry.update_health("planner-1", "degraded")).metadata.health_status.value
        'degraded'
        """
        write = self._calls.update(id, {"health_status": status}, if_incarnation, checked=True)
        return (await answered(self._calls, write, timeout)).entries[0]

    async def update_many(
        self, items: Sequence[tuple[AnyId, UpdateKeywords]], *, timeout: float | None = None
    ) -> list[Entry]:
        """Replace metadata fields of several entries, each with its own: of all of them, visible at once, or of none.

        - `items`: pairs of an id and the fields to replace, each as a whole.
        - `timeout`: seconds, as in `register`.

        Returns the new entries, in the order of `items`. Errors: as `update`; `InvalidProcessId` where an id is named
        twice; `TypeError` where an item is no pair; `VersionMismatch` where the registrar is of an older version.

        >>> arms = await registry.register_many([("arm-left", {}), ("arm-right", {})])
        >>> entries = await registry.update_many([("arm-left", {"type": "service"}), ("arm-right", {})])
        >>> [entry.metadata.type.value for entry in entries]
        ['service', 'agent']
        """
        return await many.update_many(self._calls, items, timeout)

    async def unregister(self, id: AnyId, *, if_incarnation: int | None = None, timeout: float | None = None) -> bool:
        """Remove an entry. Returns whether there was one. The process may register again, as a new incarnation.

        - `if_incarnation`: remove only this incarnation; None for any holder.
        - `timeout`: seconds, as in `register`.

        Errors: `Stale` where another incarnation holds the id; `InvalidProcessId`; `SystemBusy`; `Timeout`.

        >>> registration = await registry.register("planner-1")
        >>> await registry.unregister("planner-1"), await registry.unregister("planner-1")
        (True, False)
        """
        write = self._calls.unregister(id, if_incarnation)
        return (await answered(self._calls, write, timeout)).changed

    async def unregister_many(self, ids: Iterable[AnyId], *, timeout: float | None = None) -> list[bool]:
        """Remove several entries, all at once. Returns for each id, in order, whether there was an entry.

        `timeout` is in seconds, as in `register`. Errors: `InvalidProcessId`, and then no entry is removed;
        `SystemBusy`; `Timeout`; `VersionMismatch` where the registrar is of an older version.

        >>> arms = await registry.register_many([("arm-left", {}), ("arm-right", {})])
        >>> await registry.unregister_many(["arm-left", "arm-middle", "arm-right"])
        [True, False, True]
        """
        return await many.unregister_many(self._calls, ids, timeout)

    async def heartbeat(self, id: AnyId, *, timeout: float | None = None) -> Entry:
        """Send a heartbeat for an entry of this process that promises them (``register(..., heartbeat=5.0)``).

        Returns the entry. Its `last_health_check` is now; this alone is no change of the registry, and has no revision
        and no event. It is left in shared memory, where every process sees it, and asks no other process. If the
        registrar had set a status because a heartbeat was late, it is a request, and the entry has its former status
        again; that is a change. With ``heartbeat="loop"`` there is no need for this call.

        Errors: `NotRegistered`; `PermissionDenied` where another process owns the entry; `SystemBusy`; `Timeout`.

        >>> registration = await registry.register("planner-1", heartbeat=5.0)
        >>> (await registry.heartbeat("planner-1")).metadata.health_status.value
        'healthy'
        """
        entry = self._calls.leave_heartbeat(id, None, timeout)
        if entry is not None:
            return entry
        write = self._calls.heartbeat(id, None)
        return (await answered(self._calls, write, timeout)).entries[0]

    def member(
        self, id: MemberId, *, timeout: float | None = None, **metadata: Unpack[AsyncMetadataKeywords]
    ) -> Callable[[Callable[P, Awaitable[T]]], Callable[P, Coroutine[Any, Any, T]]]:
        """Decorate an async function: this process is registered under `id` while a call of the function runs. The
        entry is removed when the call returns, raises or is cancelled. This is a plain call.

        - `id`: an id, or a function of the call's arguments that returns one, for functions that run several times at
          once.
        - `timeout`, `metadata`: those of `register`, ``heartbeat="loop"`` included.

        Errors of the registration are raised instead of the call: `AlreadyRegistered` where the function runs already
        under the same id, and those of `register`. If the entry cannot be removed, the log ``adsum`` says so, and the
        call returns its result.

        Errors: `TypeError` for a function that is not ``async``, and for a generator.

        >>> @registry.member(lambda number: f"worker-{number}", capabilities={"counting"})
        ... async def work(number):
        ...     return [id.local_id for id in registry]
        >>> await work(7), len(registry)
        (['worker-7'], 0)
        """
        check_member_id(id)
        seconds(timeout)

        async def register(id: AnyId) -> AsyncRegistration:
            return await self.register(id, timeout=timeout, **metadata)

        return lambda function: async_member_function(function, id, register)

    async def catch_up(self, timeout: float | None = None) -> int:
        """Wait until this registry has everything that the cluster has at this moment, and return etcd's revision, as
        `Registry.catch_up` does. Errors: as there.

        >>> await registry.catch_up()
        Traceback (most recent call last):
        adsum.errors.ClusterUnavailable: this registry is part of no cluster; ...
        """
        return await catching_up.catch_up(self, timeout)

    # Following

    def watch(
        self,
        id: AnyId | None = None,
        *,
        since: int | None = None,
        where: Where | None = None,
        on_event: OnEvent | None = None,
        **conditions: Unpack[Conditions],
    ) -> AsyncWatch:
        """Watch all entries that match the conditions of `find`, or one id, which may have conditions too: one `Event`
        for each change, in order, none lost. Returns an `AsyncWatch`, to be used in an ``async with`` block or closed.
        It survives the registrar.

        - `since`: begin after this revision, which a watch or an event had; None to begin now. Where the history (the
          last 8,192 changes, or 8 MiB of them) does not reach back so far, the first event is ``lagged``.
        - `where`: a function of an entry, as in `find`.
        - `on_event`: a function of an event, plain or ``async``, which a task of the watch calls for each one, until
          the watch is closed. Its errors go to the log ``adsum``, and the next event follows.

        An entry that starts to match because of an update is ``registered`` to this watch, and one that stops to match
        is ``unregistered``; such an event has `previous`.

        In a cluster, an event without an entry is about a host, unless its kind is ``lagged``: see `Kind`. A watch of
        one id has none of these.

        Errors: `InvalidQuery`, a `ValueError`, for a condition that no entry could meet; `InvalidProcessId`.

        >>> async with registry.watch(capability="planning") as watch:
        ...     registration = await registry.register("planner-1", capabilities={"planning"})
        ...     async for event in watch:
        ...         print(event.kind.value, event.entry.process_id.local_id, event.revision)
        ...         break
        registered planner-1 1
        >>> async with registry.watch(on_event=lambda event: print(event.kind.value)):
        ...     removed = await registration.unregister()
        ...     await asyncio.sleep(0.5)
        unregistered
        """
        check_on_event(on_event)
        return AsyncWatch(self, self._client, self._query(id, conditions), where, since)._deliver_to(on_event)

    def follow(self, *, where: Where | None = None, **conditions: Unpack[Conditions]) -> AsyncLiveEntries:
        """Follow the entries that match the conditions of `find`: a read-only mapping of ids to entries that is true at
        each use. Returns `AsyncLiveEntries`, to be used in an ``async with`` block or closed. This is a plain call.

        A dictionary that a program would fill from `find` and `watch`, without the work and without the dead in it. Use
        `find` for a single answer, and `watch` to act on each change.

        Errors: as `find`.

        >>> workers = registry.follow(type="agent", health_status="healthy")
        >>> registration = await registry.register("worker-1")
        >>> [id.local_id for id in workers], workers["worker-1"].pid == os.getpid()
        (['worker-1'], True)
        """
        return AsyncLiveEntries(self, self._client, self._query(None, conditions), where)

    @overload
    async def wait_for(
        self, id: AnyId, timeout: float | None = None, *, where: Where | None = None, **conditions: Unpack[Conditions]
    ) -> Entry: ...
    @overload
    async def wait_for(
        self,
        *,
        count: int = 1,
        timeout: float | None = None,
        where: Where | None = None,
        **conditions: Unpack[Conditions],
    ) -> list[Entry]: ...
    async def wait_for(
        self,
        id: AnyId | None = None,
        timeout: float | None = None,
        *,
        count: int = 1,
        where: Where | None = None,
        **conditions: Unpack[Conditions],
    ) -> Entry | list[Entry]:
        """Wait until `id` is registered and its entry matches the conditions of `find`, and return the entry. Without
        an id, wait until at least `count` living members match them, and return them all, sorted by id.

        `timeout` is in seconds; None waits without bound. Errors: `Timeout`; those of `find`.

        >>> future = registry.register_nowait("planner-1", capabilities={"planning"})
        >>> (await registry.wait_for("planner-1", timeout=10)).pid == os.getpid()
        True
        >>> len(await registry.wait_for(capability="planning", count=1, timeout=10))
        1
        >>> (await registry.wait_for("planner-1", health_status="healthy", timeout=10)).metadata.health_status.value
        'healthy'
        """
        require_loop()
        return await wait(WaitCondition(self, id, count, where, conditions), timeout)

    async def wait_until_gone(self, id: AnyId, timeout: float | None = None) -> Entry | None:
        """Wait until the registration that holds `id` now has ended. Returns its entry, as it was at the beginning;
        None where no living member held the id then.

        It has ended when its process has died, and when it was unregistered or handed over. A later holder of the same
        id does not prolong the wait. A thread or task of another process is gone once the registrar knows. A death is
        noticed by this process itself, within a second at most also while the registrar is stopped, or none can be
        started; other ends are noticed when a registrar has committed them.

        While the host of a member cannot be reached, the member is neither alive nor dead, and the call goes on
        waiting: until the host is back, and has said how the member is, or the member is forgotten.

        `timeout` is in seconds; None waits without bound. Errors: `Timeout`; `InvalidProcessId`.

        >>> with subprocess.Popen(["sleep", "60"]) as worker:
        ...     registration = await registry.register("worker-1", worker)
        ...     worker.kill()
        ...     gone = await registry.wait_until_gone("worker-1", timeout=10)
        >>> "worker-1" in registry
        False
        """
        require_loop()
        return (await wait(GoneCondition(self, id), timeout)).last

    async def stand_by(
        self,
        id: AnyId,
        *,
        everywhere: bool = False,
        timeout: float | None = None,
        **metadata: Unpack[AsyncMetadataKeywords],
    ) -> AsyncRegistration:
        """Stand by for an id: register this process under it as soon as it is free, immediately if it is. Returns when
        this process holds the id; cancelling the await removes the standby.

        The registrar grants the id to the standby that came first, in the commit that frees it; a standby that has
        died is skipped. A process that stands by twice has two standbys. A standby ends with its process, and when the
        registry is closed.

        - `everywhere`: True to stand by for a name of the whole cluster, as in `register`.
        - `timeout`: seconds until the registrar has answered; the time until the grant has no bound.
        - `metadata`: the fields of `Metadata`; ``heartbeat="loop"`` and ``"thread"`` begin with the grant.

        Errors: `AlreadyRegistered` where this process itself holds the id; `InvalidProcessId`; `InvalidMetadata`;
        `SystemBusy`; `Timeout`; `RegistryFull`; `RegistryClosed`.

        >>> with subprocess.Popen(["sleep", "60"]) as leader:
        ...     registration = await registry.register("leader", leader)
        ...     standby = asyncio.create_task(registry.stand_by("leader"))
        ...     leader.kill()
        >>> (await standby).entry.pid == os.getpid()
        True
        """
        from_loop = is_from_loop(metadata)
        kind = NameMode.waits if is_wanted(everywhere) else NameMode.no
        call = self._calls.stand_by(id, metadata, timeout, whole, everywhere=kind)
        done = await granted(self._calls, call.future)
        if from_loop:
            self._beat(done.entries[0])
        return AsyncRegistration(self._calls, done.entries[0])

    def claim(
        self,
        id: AnyId | None = None,
        process: WholeProcess | None = None,
        *,
        everywhere: bool = False,
        timeout: float | None = None,
        **conditions: Unpack[Conditions],
    ) -> AsyncClaimCall:
        """Claim a slot of one healthy member that matches, for as long as this process lives or until it is released.
        Waits while all slots are taken, first come first served. Write ``async with registry.claim(...) as claim:``, or
        await it for the `AsyncClaim`.

        The registrar chooses the member and takes the slot in one step: of the members with a free slot one with the
        fewest claims, of equals the one that was not claimed for longest. A member has as many slots as it was
        registered with, ``register(..., slots=2)``, and one by default. `Entry.claims` shows which processes hold them.

        - `id`: a member; None for any one that meets the conditions.
        - `process`: the process that holds the slot, as in `register`, but neither a thread nor a task; this one by
          default. A claim for another process ends with that process, not when the registry is closed here.
        - `everywhere`: True to claim a slot that no other process of the whole cluster claims; see `Registry.claim`.
        - `timeout`: seconds to wait for a slot; 0 to try only; None waits without bound.
        - `conditions`: those of `find`, without `health_status`. There is no `where`: the registrar decides.

        A claim ends with the death of its process, which the kernel reports, and with the member's entry; a hand-over
        keeps it. A task that is cancelled while it waits leaves the queue. Each call is a claim of its own: one process
        may hold several slots, also of one member.

        Errors, when it is awaited: `Timeout` where no slot became free in time, or no registrar answers;
        `NotRegistered` where no living member holds `id`, also if it ends while the claim waits; `InvalidQuery`;
        `InvalidProcessId`; `DeadProcess`; `RegistryFull`; `SystemBusy`; `VersionMismatch` where the registrar is of a
        version without claims.

        >>> team = await registry.register_many([("gpu-0", {"slots": 2}), ("gpu-1", {"slots": 2})])
        >>> async with registry.claim(id_prefix="gpu", timeout=5) as one, registry.claim(id_prefix="gpu") as two:
        ...     print(sorted([one.process_id.local_id, two.process_id.local_id]))
        ['gpu-0', 'gpu-1']
        >>> claims = [await registry.claim("gpu-0") for _ in range(2)]
        >>> await registry.claim("gpu-0", timeout=0)
        Traceback (most recent call last):
        adsum.errors.Timeout: ...
        """
        return AsyncClaimCall(self._calls, id, process, timeout, conditions, self if is_wanted(everywhere) else None)

    def _beat(self, entry: Entry) -> None:
        LoopHeartbeat(require_loop(), self._calls, entry).start()


def _reopen(
    kind: type[AsyncRegistry],
    folder: str,
    namespace: str,
    node: str | None,
    timeout: float | None,
    limits: Limits,
    command: Sequence[str] | None,
    cluster: str,
) -> AsyncRegistry:
    return kind(
        path=folder,
        namespace=namespace,
        node=node,
        timeout=timeout,
        limits=limits,
        registrar_command=command,
        cluster=cluster,
    )
