"""`Registry`: the public face of a registry.

    import adsum

    registry = adsum.open()
    registry.register("planner-1", capabilities={"planning"})
    team = registry.find(capability="planning")

This module documents and delegates. Reads (`_reads`) go to shared memory and involve no other process. Writes go to
the registrar (`_calls`), which decides.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, ParamSpec, TypeVar, Unpack, overload

from . import _catching_up, _many
from . import _wire as wire
from ._amendment import UpdateKeywords
from ._calls import Calls
from ._client.connection_pool import seconds
from ._client.keeper import OnLost
from ._client.target import AnyProcess, WholeProcess
from ._cluster_names import register_everywhere
from ._event_delivery import OnEvent, check_on_event
from ._everywhere import NameMode, is_wanted, refuse_owner
from ._member_functions import MemberId, check_member_id, member_function
from ._only_sync import OnlySync
from ._reads import AnyId, RegistryReads, Where
from ._store.query import Conditions
from ._validation import AnyHealth, MetadataKeywords
from ._waiting import GoneCondition, WaitCondition, wait
from ._watching import Watch
from .claim import Claim, claim_slot
from .live_entries import LiveEntries
from .model import Entry, Limits
from .registration import Registration
from .registrations import Registrations

P = ParamSpec("P")
R = TypeVar("R", bound="Registry")
T = TypeVar("T")


class Registry(RegistryReads, OnlySync):
    """A registry of living processes, as this process sees it. Made by `adsum.open`.

    It is a mapping of `ProcessId` to `Entry` over the living members of its `namespace`. Wherever a call takes an `id`,
    a plain string means ``ProcessId(registry.namespace, registry.node, string)``.

    - `folder`, `namespace`, `node`, `timeout`, `limits`, `registrar_command`: what it was opened with.
    - It is safe for threads.
    - It survives `fork`: the child opens what it needs again, and owns no entry of the parent's.
    - It can be pickled: the copy opens the same folder.

    The examples below begin with ``registry = adsum.open()``, and with an empty registry.

    >>> with adsum.open(namespace="robots") as robots:
    ...     entry, created = robots.get_or_register("arm", resources={"joints": 6})
    ...     print(entry.process_id.namespace, created, len(robots))
    robots True 1
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
        self._calls = Calls(self._client, self.namespace, self._named_node, own_timeout)

    @property
    def timeout(self) -> float | None:
        """Seconds for each write that names no timeout; None for the registry's own `Limits.registration_timeout`.

        >>> adsum.open(timeout=2).timeout
        2.0
        """
        return self._calls.timeout

    def __reduce__(self) -> tuple[Any, ...]:
        named = str(self.folder), self.namespace, self._named_node
        return _reopen, (type(self), *named, self.timeout, self.limits, self.registrar_command, self._cluster)

    def __enter__(self: R) -> R:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close this object, its watches, and its connections. Closing twice is fine.

        Entries of processes stay, because they belong to the processes. Entries of threads and tasks that were
        registered through this object end, and so do its standbys and this process's claims. Every later call raises
        `RegistryClosed`.

        >>> registry.close()
        >>> registry.lookup("planner-1")
        Traceback (most recent call last):
        adsum.errors.RegistryClosed: this registry was closed; open another
        """
        self._close_reads()
        self._calls.close()

    def register(
        self,
        id: AnyId,
        process: AnyProcess | None = None,
        *,
        replace: bool = False,
        owned_by: AnyId | Entry | None = None,
        everywhere: bool = False,
        timeout: float | None = None,
        **metadata: Unpack[MetadataKeywords],
    ) -> Registration:
        """Register this process, or `process`, under `id`, for as long as it lives. When the call returns, every
        process finds the entry (L5).

        - `process`: a pid, `subprocess.Popen`, `multiprocessing.Process`, `threading.Thread`, `asyncio.Task`, or any
          object with a ``.pid``; this process by default. An entry of a thread or task ends with it: immediately for
          readers in this process; for others once the registrar has been notified.
        - `replace`: where the same process holds the id already, register it anew: a new incarnation with this metadata
          alone. For a notebook cell that runs twice, and for a program that calls exec on itself. With `everywhere`, a
          name that the process has in the whole cluster keeps its token, and one that it holds on this host alone
          becomes one of the cluster; without, a name of the whole cluster is not given up: `AlreadyRegistered`.
        - `owned_by`: the id or entry of another member. With its process the new entry ends too, in the same commit
          (departure ``owner_died``). The process of the new entry is not ended; ``adsum run --owned-by`` does that.
        - `everywhere`: True for a name that only one member of the whole cluster holds: that of the namespace and the
          local id. A majority of etcd decides. `Entry.fencing_token` is a number that is larger for each later holder:
          give it to what the holder writes to, and let that refuse smaller ones, because a holder that was stopped for
          long cannot know that another one has the name. See `Registration.valid`.
        - `timeout`: seconds; the registry's `Limits.registration_timeout` (1 s) by default, counted from when a
          registrar serves. The request is not applied after it (L1). With `everywhere`, 5 s by default.
        - `metadata`: the fields of `Metadata`. ``heartbeat="thread"`` promises a heartbeat each second and lets a
          thread of this process send three in that time: a process in which no Python code runs for 1.5 s, because it
          is stopped, for one, shows as degraded to every process.

        Where `process` is a `Popen` or `multiprocessing.Process`, a thread waits for its end, without reaping it, and
        lets the registrar know the exit (`Departure.exit`).

        Errors: `AlreadyRegistered`, whose ``entry`` is the holder's; `InvalidProcessId`; `InvalidMetadata`;
        `DeadProcess`; `RegistryFull`; `SystemBusy`; `Timeout`; `NotRegistered` where `owned_by` names no living
        member; `ClusterUnavailable`; `ValueError` for ``heartbeat="thread"`` and another process.

        >>> registration = registry.register("planner-1", capabilities={"planning"})
        >>> registry["planner-1"].pid == os.getpid()
        True
        >>> registry.register("planner-1")
        Traceback (most recent call last):
        adsum.errors.AlreadyRegistered: ...
        """
        if is_wanted(everywhere):
            refuse_owner(owned_by)
            return register_everywhere(self._calls, id, process, metadata, timeout, replace=replace)
        write = self._calls.register([(id, metadata)], process, replace=replace, owned_by=owned_by)
        return self._calls.register_and_wait(write, timeout, self._registration)

    def register_nowait(
        self,
        id: AnyId,
        process: AnyProcess | None = None,
        *,
        replace: bool = False,
        owned_by: AnyId | Entry | None = None,
        timeout: float | None = None,
        **metadata: Unpack[MetadataKeywords],
    ) -> Future[Registration]:
        """Register without waiting. Returns a future of the registration, which can be cancelled until it is sent.

        Errors in the arguments are raised immediately; all other errors of `register` are the future's.

        >>> future = registry.register_nowait("planner-1")
        >>> future.result(timeout=10).process_id.local_id
        'planner-1'
        """
        write = self._calls.register([(id, metadata)], process, replace=replace, owned_by=owned_by)
        return self._calls.submit(write, timeout, self._registration)

    def get_or_register(
        self,
        id: AnyId,
        process: AnyProcess | None = None,
        *,
        owned_by: AnyId | Entry | None = None,
        timeout: float | None = None,
        **metadata: Unpack[MetadataKeywords],
    ) -> tuple[Entry, bool]:
        """Get the entry of the living holder and False, or register and get the new entry and True.

        The registrar decides this in one step, so of many callers exactly one gets True. The arguments are those of
        `register`, ``heartbeat="thread"`` included. Errors: as `register`, without `AlreadyRegistered`.

        >>> registry.get_or_register("leader")[1], registry.get_or_register("leader")[1]
        (True, False)
        """
        write = self._calls.register([(id, metadata)], process, or_get=True, owned_by=owned_by)
        return self._calls.register_and_wait(write, timeout, _holder)

    def register_many(
        self,
        items: Sequence[tuple[AnyId, MetadataKeywords]],
        process: AnyProcess | None = None,
        *,
        replace: bool = False,
        owned_by: AnyId | Entry | None = None,
        timeout: float | None = None,
    ) -> Registrations:
        """Register several ids, each with its metadata, for one process: all of them, visible at once, or none.

        `process`, `replace`, `owned_by` and `timeout` are those of `register`. Returns the registrations, a list in the
        order of `items`; as a context manager it unregisters them all at the end of the block.

        Errors: as `register`; `TypeError` where an item is no pair.

        >>> arms = registry.register_many([("arm-left", {"type": "service"}), ("arm-right", {"type": "service"})])
        >>> [arm.entry.incarnation for arm in arms]
        [1, 2]
        """
        return _many.register_many(self._calls, items, process, timeout, replace=replace, owned_by=owned_by)

    def update(
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

        >>> registration = registry.register("planner-1", capabilities={"planning"}, endpoint="tcp://10.0.0.5:9001")
        >>> entry = registry.update("planner-1", capabilities={"review"})
        >>> sorted(entry.metadata.capabilities), entry.metadata.endpoint
        (['review'], 'tcp://10.0.0.5:9001')
        >>> entry = registry.update("planner-1", merge=True, custom={"model": "small"}, add={"custom.done": 1})
        >>> entry.metadata.custom
        {'model': 'small', 'done': 1}
        >>> registry.update("planner-1", if_revision=1, endpoint=None)
        Traceback (most recent call last):
        adsum.errors.Stale: ...
        """
        write = self._calls.amend(id, metadata, if_incarnation, merge=merge, add=add, if_revision=if_revision)
        return self._calls.wait(write, timeout).entries[0]

    def update_health(
        self, id: AnyId, status: AnyHealth, *, if_incarnation: int | None = None, timeout: float | None = None
    ) -> Entry:
        """Set the health status of an entry, and its `last_health_check` to now. Returns the new entry.

        `status` is a `HealthStatus`: ``healthy``, ``degraded`` or ``unhealthy``. The other arguments and the errors are
        those of `update`.

        >>> registration = registry.register("planner-1")
        >>> registry.update_health("planner-1", "degraded").metadata.health_status.value
        'degraded'
        """
        write = self._calls.update(id, {"health_status": status}, if_incarnation, checked=True)
        return self._calls.wait(write, timeout).entries[0]

    def update_many(
        self, items: Sequence[tuple[AnyId, UpdateKeywords]], *, timeout: float | None = None
    ) -> list[Entry]:
        """Replace metadata fields of several entries, each with its own: of all of them, visible at once, or of none.

        - `items`: pairs of an id and the fields to replace, each as a whole.
        - `timeout`: seconds, as in `register`.

        Returns the new entries, in the order of `items`. Errors: as `update`; `InvalidProcessId` where an id is named
        twice; `TypeError` where an item is no pair; `VersionMismatch` where the registrar is of an older version.

        >>> arms = registry.register_many([("arm-left", {}), ("arm-right", {})])
        >>> entries = registry.update_many([("arm-left", {"type": "service"}), ("arm-right", {"endpoint": "tcp://a:1"})])
        >>> [(entry.metadata.type.value, entry.endpoint) for entry in entries]
        [('service', None), ('agent', 'tcp://a:1')]
        """
        return _many.update_many(self._calls, items, timeout)

    def unregister(self, id: AnyId, *, if_incarnation: int | None = None, timeout: float | None = None) -> bool:
        """Remove an entry. Returns whether there was one. The process may register again, as a new incarnation.

        - `if_incarnation`: remove only this incarnation; None for any holder.
        - `timeout`: seconds, as in `register`.

        Errors: `Stale` where another incarnation holds the id; `InvalidProcessId`; `SystemBusy`; `Timeout`.

        >>> registration = registry.register("planner-1")
        >>> registry.unregister("planner-1"), registry.unregister("planner-1")
        (True, False)
        """
        write = self._calls.unregister(id, if_incarnation)
        return self._calls.wait(write, timeout).changed

    def unregister_many(self, ids: Iterable[AnyId], *, timeout: float | None = None) -> list[bool]:
        """Remove several entries, all at once. Returns for each id, in order, whether there was an entry.

        `timeout` is in seconds, as in `register`. Errors: `InvalidProcessId`, and then no entry is removed;
        `SystemBusy`; `Timeout`; `VersionMismatch` where the registrar is of an older version.

        >>> arms = registry.register_many([("arm-left", {}), ("arm-right", {})])
        >>> registry.unregister_many(["arm-left", "arm-middle", "arm-right"])
        [True, False, True]
        """
        return _many.unregister_many(self._calls, ids, timeout)

    def heartbeat(self, id: AnyId, *, timeout: float | None = None) -> Entry:
        """Send a heartbeat for an entry of this process that promises them (``register(..., heartbeat=5.0)``).

        Returns the entry. Its `last_health_check` is now; this alone is no change of the registry, and has no revision
        and no event. It is left in shared memory, where every process sees it, and asks no other process. If the
        registrar had set a status because a heartbeat was late, it is a request, and the entry has its former status
        again; that is a change.

        Errors: `NotRegistered`; `PermissionDenied` where another process owns the entry; `SystemBusy`; `Timeout`.

        >>> registration = registry.register("planner-1", heartbeat=5.0)
        >>> registry.heartbeat("planner-1").metadata.health_status.value
        'healthy'
        """
        entry = self._calls.leave_heartbeat(id, None, timeout)
        if entry is not None:
            return entry
        write = self._calls.heartbeat(id, None)
        return self._calls.wait(write, timeout).entries[0]

    def member(
        self, id: MemberId, *, timeout: float | None = None, **metadata: Unpack[MetadataKeywords]
    ) -> Callable[[Callable[P, T]], Callable[P, T]]:
        """Decorate a function: this process is registered under `id` while a call of the function runs. The entry is
        removed when the call returns or raises.

        - `id`: an id, or a function of the call's arguments that returns one, for functions that run several times at
          once.
        - `timeout`, `metadata`: those of `register`.

        The function may be ``async``; then its two writes block the event loop for as long as the registrar takes, and
        `AsyncRegistry.member` awaits them. Errors of the registration are raised instead of the call:
        `AlreadyRegistered` where the function runs already under the same id, and those of `register`. If the entry
        cannot be removed, the log ``adsum`` says so, and the call returns its result.

        Errors: `TypeError` for a generator, whose call ends before its work begins, and for what is no function.

        >>> @registry.member("planner-1", capabilities={"planning"})
        ... def plan():
        ...     return registry.count(capability="planning")
        >>> plan(), registry.count(capability="planning")
        (1, 0)
        >>> @registry.member(lambda number: f"worker-{number}")
        ... def work(number):
        ...     return [id.local_id for id in registry]
        >>> work(7)
        ['worker-7']
        """
        check_member_id(id)
        seconds(timeout)

        def register(id: AnyId) -> Registration:
            return self.register(id, timeout=timeout, **metadata)

        return lambda function: member_function(function, id, register)

    def catch_up(self, timeout: float | None = None) -> int:
        """Wait until this registry has everything that the cluster has at this moment, and return etcd's revision.

        It asks a majority of etcd once, and then waits for that revision here. So after it, reads find every change
        that any host had published before the call (it is linearizable). `timeout` is in seconds, 5 by default.

        Errors: `ClusterUnavailable` where the registry is part of no cluster, or etcd cannot be reached; `Timeout`;
        `ValueError` for a timeout that is not from 0 to 1e9.

        >>> registry.catch_up()
        Traceback (most recent call last):
        adsum.errors.ClusterUnavailable: this registry is part of no cluster; ...
        """
        return _catching_up.catch_up(self, timeout)

    # Following

    def watch(
        self,
        id: AnyId | None = None,
        *,
        since: int | None = None,
        where: Where | None = None,
        on_event: OnEvent | None = None,
        **conditions: Unpack[Conditions],
    ) -> Watch:
        """Watch all entries that match the conditions of `find`, or one id, which may have conditions too: one `Event`
        for each change, in order, none lost. Returns a `Watch`, to be used in a ``with`` block or closed.
        It survives the registrar.

        - `since`: begin after this revision, which a watch or an event had; None to begin now. Where the history (the
          last 8,192 changes, or 8 MiB of them) does not reach back so far, the first event is ``lagged``.
        - `where`: a function of an entry, as in `find`.
        - `on_event`: a function of an event, which a thread of the watch calls for each one, until the watch is closed.
          Its errors go to the log ``adsum``, and the next event follows. It is not called in a forked child.

        An entry that starts to match because of an update is ``registered`` to this watch, and one that stops to match
        is ``unregistered``; such an event has `previous`.

        In a cluster, an event without an entry is about a host, unless its kind is ``lagged``: see `Kind`. A watch of
        one id has none of these.

        Errors: `InvalidQuery`, a `ValueError`, for a condition that no entry could meet; `InvalidProcessId`.

        >>> with registry.watch(capability="planning") as watch:
        ...     registration = registry.register("planner-1", capabilities={"planning"})
        ...     event = watch.next(timeout=10)
        >>> event.kind.value, event.entry.process_id.local_id, event.revision
        ('registered', 'planner-1', 1)
        >>> with registry.watch(on_event=lambda event: print(event.kind.value)):
        ...     removed = registration.unregister()
        ...     time.sleep(0.5)
        unregistered
        """
        check_on_event(on_event)
        return Watch(self, self._client, self._query(id, conditions), where, since)._deliver_to(on_event)

    def follow(self, *, where: Where | None = None, **conditions: Unpack[Conditions]) -> LiveEntries:
        """Follow the entries that match the conditions of `find`: a read-only mapping of ids to entries that is true at
        each use. Returns `LiveEntries`, to be used in a ``with`` block or closed.

        A dictionary that a program would fill from `find` and `watch`, without the work and without the dead in it. Use
        `find` for a single answer, and `watch` to act on each change.

        Errors: as `find`.

        >>> workers = registry.follow(type="agent", health_status="healthy")
        >>> registration = registry.register("worker-1")
        >>> [id.local_id for id in workers], workers["worker-1"].pid == os.getpid()
        (['worker-1'], True)
        """
        return LiveEntries(self, self._client, self._query(None, conditions), where)

    @overload
    def wait_for(
        self, id: AnyId, timeout: float | None = None, *, where: Where | None = None, **conditions: Unpack[Conditions]
    ) -> Entry: ...
    @overload
    def wait_for(
        self,
        *,
        count: int = 1,
        timeout: float | None = None,
        where: Where | None = None,
        **conditions: Unpack[Conditions],
    ) -> list[Entry]: ...
    def wait_for(
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
        >>> registry.wait_for("planner-1", timeout=10).pid == os.getpid()
        True
        >>> len(registry.wait_for(capability="planning", count=1, timeout=10))
        1
        >>> registry.wait_for("planner-1", health_status="healthy", timeout=10).metadata.health_status.value
        'healthy'
        """
        return wait(WaitCondition(self, id, count, where, conditions), timeout)

    def wait_until_gone(self, id: AnyId, timeout: float | None = None) -> Entry | None:
        """Wait until the registration that holds `id` now has ended. Returns its entry, as it was at the beginning;
        None where no living member held the id then.

        It has ended when its process has died, and when it was unregistered or handed over. A later holder of the same
        id does not prolong the wait. A thread or task of another process is gone once the registrar knows. A death is
        noticed by this process itself, within two seconds at most also while the registrar is stopped, or none can be
        started; other ends are noticed when a registrar has committed them.

        While the host of a member cannot be reached, the member is neither alive nor dead, and the call goes on
        waiting: until the host is back, and has said how the member is, or the member is forgotten.

        `timeout` is in seconds; None waits without bound. Errors: `Timeout`; `InvalidProcessId`.

        >>> with subprocess.Popen(["sleep", "60"]) as worker:
        ...     registration = registry.register("worker-1", worker)
        ...     worker.kill()
        ...     gone = registry.wait_until_gone("worker-1", timeout=10)
        >>> "worker-1" in registry
        False
        """
        return wait(GoneCondition(self, id), timeout).last

    def stand_by(
        self, id: AnyId, *, everywhere: bool = False, timeout: float | None = None, **metadata: Unpack[MetadataKeywords]
    ) -> Future[Registration]:
        """Stand by for an id: register this process under it as soon as it is free, immediately if it is.

        The registrar grants the id to the standby that came first, in the commit that frees it; a standby that has
        died is skipped. Returns a future of the `Registration`. Cancelling it removes the standby; dropping it does
        not. A process that stands by twice has two standbys. A standby ends with its process, and when the registry is
        closed.

        - `everywhere`: True to stand by for a name of the whole cluster, as in `register`. Which of those that stand by
          on different hosts gets it is not defined.
        - `timeout`: seconds until the registrar has answered; the time until the grant has no bound.
        - `metadata`: the fields of `Metadata`; ``heartbeat="thread"`` begins with the grant.

        Errors, raised immediately: `AlreadyRegistered` where this process itself holds the id; `InvalidProcessId`;
        `InvalidMetadata`; `SystemBusy`; `Timeout`. Errors of the future: `RegistryFull`; `RegistryClosed`.

        >>> with subprocess.Popen(["sleep", "60"]) as leader:
        ...     registration = registry.register("leader", leader)
        ...     future = registry.stand_by("leader")
        ...     leader.kill()
        >>> future.result(timeout=10).entry.pid == os.getpid()
        True
        """
        kind = NameMode.waits if is_wanted(everywhere) else NameMode.no
        call = self._calls.stand_by(id, metadata, timeout, self._registration, everywhere=kind)
        try:
            call.queued.result()
        except BaseException:
            call.future.cancel()
            raise
        if call.future.done() and not call.future.cancelled():
            # Decided at once: an error in the call is raised here.
            call.future.result()
        return call.future

    def claim(
        self,
        id: AnyId | None = None,
        process: WholeProcess | None = None,
        *,
        everywhere: bool = False,
        timeout: float | None = None,
        **conditions: Unpack[Conditions],
    ) -> Claim:
        """Claim a slot of one healthy member that matches, for as long as this process lives or until it is released.
        Waits while all slots are taken, first come first served. Returns a `Claim`, to be used in a ``with`` block or
        released.

        The registrar chooses the member and takes the slot in one step: of the members with a free slot one with the
        fewest claims, of equals the one that was not claimed for longest. A member has as many slots as it was
        registered with, ``register(..., slots=2)``, and one by default. `Entry.claims` shows which processes hold them.

        - `id`: a member; None for any one that meets the conditions.
        - `process`: the process that holds the slot, as in `register`, but neither a thread nor a task; this one by
          default. A claim for another process ends with that process, not when the registry is closed here.
        - `everywhere`: True to claim a slot that no other process of the whole cluster claims, of a member of any host.
          A majority of etcd decides, and `Claim.fencing_token` grows with each claim. Such claims and those of one host
          do not know of each other, so claim a member in one of the two ways; `Entry.claims` has only the latter. Which
          of those that wait gets a slot is not defined.
        - `timeout`: seconds to wait for a slot; 0 to try only; None waits without bound.
        - `conditions`: those of `find`, without `health_status`. There is no `where`: the registrar decides.

        A claim ends with the death of its process, which the kernel reports, and with the member's entry; a hand-over
        keeps it. A process that dies or is interrupted while it waits leaves the queue. Each call is a claim of its
        own: one process may hold several slots, also of one member.

        Errors: `Timeout` where no slot became free in time, or no registrar answers; `NotRegistered` where no living
        member holds `id`, also if it ends while the claim waits; `InvalidQuery`; `InvalidProcessId`; `DeadProcess`;
        `RegistryFull`; `SystemBusy`; `VersionMismatch` where the registrar is of a version without claims;
        `ClusterUnavailable` with `everywhere`.

        >>> team = registry.register_many([(f"gpu-{n}", {"capabilities": {"gpu"}, "slots": 2}) for n in range(2)])
        >>> with registry.claim(capability="gpu", timeout=5) as one, registry.claim(capability="gpu", timeout=5) as two:
        ...     print(sorted([one.process_id.local_id, two.process_id.local_id]))
        ['gpu-0', 'gpu-1']
        >>> claims = [registry.claim("gpu-0") for _ in range(2)]
        >>> registry.claim("gpu-0", timeout=0)
        Traceback (most recent call last):
        adsum.errors.Timeout: ...
        """
        return claim_slot(self, self._calls, id, process, timeout, conditions, everywhere=everywhere)

    def _registration(self, done: wire.Done) -> Registration:
        return Registration(self._calls, done.entries[0])


def _holder(done: wire.Done) -> tuple[Entry, bool]:
    return done.entries[0], done.changed


def _reopen(
    kind: type[Registry],
    folder: str,
    namespace: str,
    node: str | None,
    timeout: float | None,
    limits: Limits,
    command: Sequence[str] | None,
    cluster: str,
) -> Registry:
    return kind(
        path=folder,
        namespace=namespace,
        node=node,
        timeout=timeout,
        limits=limits,
        registrar_command=command,
        cluster=cluster,
    )
