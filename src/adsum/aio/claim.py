"""`AsyncClaim` and the call that claims a slot: the twin of `adsum.claim`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Generator, Mapping
from types import TracebackType
from typing import Any, Unpack, cast

from .. import _wire as wire
from .._calls import Calls
from .._claiming import ANSWER_SECONDS, claiming, end_later, fail, releasing, send
from .._cluster_claims import Search, still_holds
from .._everywhere import is_wanted, require_cluster
from .._foreign import reraise_foreign
from .._of_one_process import OfOneProcess
from .._reads import AnyId, RegistryReads
from .._store.query import Conditions
from .._validation import AsyncMetadataKeywords
from ..errors import AdsumError, AlreadyRegistered, RegistryClosed, Stale
from ..model import Entry, ProcessId
from .answer import answered
from .loop import LoopCalls, require_loop
from .only_async import OnlyAsync
from .registration import AsyncRegistration


class AsyncClaim(OfOneProcess, OnlyAsync):
    """A slot of one member, which a process holds until the claim is released or the process dies. Made by
    `AsyncRegistry.claim`.

    - `entry`: the member's entry as it was when the slot was granted.
    - `number`: names the claim among all of this process's; the member's entry has it in ``claims``.

    As an asynchronous context manager it releases the slot at the end of the block, but only in the process that made
    it: a forked child that leaves the block releases nothing. Where no registrar answers in time, and where the task is
    cancelled meanwhile, the release is repeated in the background until one does. Dropping the object releases nothing.

    >>> registration = await registry.register("printer")
    >>> async with registry.claim("printer") as claim:
    ...     print(claim.process_id.local_id, len(registry["printer"].claims))
    printer 1
    >>> registry["printer"].claims
    ()
    """

    _instead = "pass its entry; the process that made the claim releases it"

    def __init__(self, calls: Calls, request: wire.Claim, entry: Entry) -> None:
        self._pid = os.getpid()
        self._calls = calls
        self._request = request
        self.entry = entry

    def __repr__(self) -> str:
        return f"<AsyncClaim {self.number} of {self.process_id}>"

    @property
    def process_id(self) -> ProcessId:
        """The id of the member.

        >>> registration = await registry.register("printer")
        >>> (await registry.claim("printer")).process_id.local_id
        'printer'
        """
        return self.entry.process_id

    @property
    def number(self) -> int:
        """The claim's number, by which the member's entry names it.

        >>> registration = await registry.register("printer")
        >>> claim = await registry.claim("printer")
        >>> [record.number for record in registry["printer"].claims] == [claim.number]
        True
        """
        return self._request.number

    @property
    def fencing_token(self) -> int:
        """The number of a claim that holds in the whole cluster; see `Claim.fencing_token`.

        >>> registration = await registry.register("printer")
        >>> (await registry.claim("printer")).fencing_token
        0
        """
        return 0

    @property
    def valid(self) -> bool:
        """Whether the slot is held now, as far as this host can know; see `AsyncRegistration.valid`.

        >>> registration = await registry.register("printer")
        >>> (await registry.claim("printer")).valid
        True
        """
        entry = self._calls.reader.lookup(self.process_id)
        return entry is not None and self.number in {record.number for record in entry.claims}

    async def release(self, *, timeout: float | None = None) -> bool:
        """Release the slot. Returns whether the claim held it: it does not where it was released before, or where the
        member has died, was unregistered, or registered anew.

        `timeout` is in seconds, as in `AsyncRegistry.register`. Errors: `SystemBusy`; `Timeout`;
        `RegistrarUnavailable`. After each of them the claim may be held still, and can be released again.

        >>> registration = await registry.register("printer")
        >>> claim = await registry.claim("printer")
        >>> await claim.release(), await claim.release()
        (True, False)
        """
        held = (await answered(self._calls, releasing(self._calls, self._request), timeout)).changed
        self._calls.claims.pop(self.number, None)
        return held

    def _release_later(self) -> None:
        """Release the slot in the background, however long that takes."""
        end_later(self._calls, self._request)

    async def __aenter__(self) -> AsyncClaim:
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        if os.getpid() != self._pid:
            return
        try:
            await self.release()
        except RegistryClosed:
            # Closing the registry has released it.
            return
        except AdsumError as error:
            reraise_foreign(error)
            self._release_later()
        except BaseException:
            self._release_later()
            raise


class AsyncClusterClaim(AsyncClaim):
    """An `AsyncClaim` that holds in the whole cluster: an entry of a namespace of its own, with a fencing token."""

    def __init__(self, calls: Calls, registration: AsyncRegistration, entry: Entry) -> None:
        super().__init__(calls, wire.Claim(owner=registration.entry.owner, number=0, namespace=None), entry)
        self._registration = registration
        calls.cluster_claims[registration.entry.incarnation] = registration.entry

    @property
    def number(self) -> int:
        return self._registration.entry.fencing_token

    @property
    def fencing_token(self) -> int:
        return self._registration.fencing_token

    @property
    def valid(self) -> bool:
        return self._registration.valid and still_holds(self._calls.reader.lookup, self.entry)

    async def release(self, *, timeout: float | None = None) -> bool:
        # Of a member that cannot be reached now, the slot is held.
        held = still_holds(self._calls.reader.lookup_anywhere, self.entry)
        try:
            released = await self._registration.unregister(timeout=timeout)
        except Stale:
            # This claim was released before: another one has the slot.
            released = False
        self._calls.cluster_claims.pop(self._registration.entry.incarnation, None)
        return released and held

    def _release_later(self) -> None:
        self._calls.give_back(self._registration.entry)
        self._calls.cluster_claims.pop(self._registration.entry.incarnation, None)


# Registers a name for the whole cluster.
HoldName = Callable[[ProcessId, Any, AsyncMetadataKeywords, float], Awaitable[AsyncRegistration]]


class AsyncClaimCall(OnlyAsync):
    """A claim that is made when it is awaited, or at the beginning of an ``async with`` block. `AsyncRegistry.claim`
    returns it.

    >>> registration = await registry.register("printer")
    >>> async with registry.claim("printer") as claim:
    ...     claim.number == registry["printer"].claims[0].number
    True
    """

    def __init__(
        self, calls: Calls, id: AnyId | None, process: Any, timeout: float | None, conditions: Mapping[str, Any]
    ) -> None:
        self._calls = calls
        self._arguments = id, process, timeout, conditions
        self._claim: AsyncClaim | None = None
        # For a claim in the whole cluster.
        self._everywhere: tuple[RegistryReads, HoldName] | None = None

    def _in_cluster(self, reads: RegistryReads, hold_name: HoldName) -> AsyncClaimCall:
        self._everywhere = reads, hold_name
        return self

    def __await__(self) -> Generator[Any, None, AsyncClaim]:
        return (self._claimed() if self._everywhere is None else self._claimed_everywhere()).__await__()

    async def _claimed_everywhere(self) -> AsyncClaim:
        require_loop()
        reads, hold_name = cast("tuple[RegistryReads, HoldName]", self._everywhere)
        id, process, timeout, conditions = self._arguments
        search = Search(reads, id, timeout, conditions)
        while True:
            for slot in search.slots():
                try:
                    fields = cast("AsyncMetadataKeywords", slot.fields())
                    registration = await hold_name(slot.name, process, fields, search.answer_seconds())
                except AlreadyRegistered as error:
                    # Another process was quicker.
                    reraise_foreign(error)
                else:
                    return AsyncClusterClaim(self._calls, registration, slot.member)
            require_cluster(reads._reader)
            await asyncio.sleep(search.pause())

    async def _claimed(self) -> AsyncClaim:
        wanted = claiming(self._calls, *self._arguments)
        call = send(self._calls, wanted, lambda entry: AsyncClaim(self._calls, wanted.request, entry))
        pending = asyncio.wrap_future(call.future)
        is_held = False
        try:
            # A claim that only tries waits for the answer of the registrar, which has a bound of its own.
            await asyncio.wait([pending], timeout=wanted.timeout or None)
            if not pending.done() and call.future.cancel():
                if call.ended is not None:
                    # A slot that is released from now on is not granted to it.
                    await asyncio.wait([asyncio.wrap_future(call.ended)], timeout=ANSWER_SECONDS)
                raise fail(wanted, wanted.too_late())
            claim = await pending
            is_held = True
            return claim
        finally:
            if not is_held:
                # No caller will hold it: granted, queued, or on its way.
                pending.cancel()
                call.end()
                self._calls.claims.pop(wanted.request.number, None)

    async def __aenter__(self) -> AsyncClaim:
        self._claim = await self
        return self._claim

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._claim is not None:
            await self._claim.__aexit__(kind, error, traceback)


class AsyncClaimCalls(RegistryReads):
    """What `AsyncRegistry` inherits: claims."""

    _calls: LoopCalls

    def claim(
        self,
        id: AnyId | None = None,
        process: Any = None,
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
        call = AsyncClaimCall(self._calls, id, process, timeout, conditions)
        return call._in_cluster(self, self._hold_name) if is_wanted(everywhere) else call

    async def _hold_name(
        self, id: ProcessId, process: Any, fields: AsyncMetadataKeywords, timeout: float
    ) -> AsyncRegistration:
        """Register a name for the whole cluster."""
        raise NotImplementedError
