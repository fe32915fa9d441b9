"""`AsyncClaim` and the call that claims a slot: the twin of `adsum.claim`."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Generator, Mapping
from functools import partial
from types import TracebackType
from typing import Any

from .. import _wire as wire
from .._calls import Calls
from .._claiming import ANSWER_SECONDS, PendingClaim, end_later, fail, pauses, pending_claim, release_request, send
from .._client.target import WholeProcess
from .._cluster_claims import Search, still_holds
from .._everywhere import require_cluster
from .._foreign import reraise_foreign
from .._of_one_process import OfOneProcess
from .._other_location import name_other_location
from .._reads import AnyId, RegistryReads
from ..errors import AdsumError, AlreadyRegistered, NotRegistered, RegistryClosed, Stale, Timeout
from ..model import Entry, ProcessId
from .answer import answered
from .cluster_names import register_everywhere
from .loop import require_loop
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
        held = (await answered(self._calls, release_request(self._calls, self._request), timeout)).changed
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


class AsyncClaimCall(OnlyAsync):
    """A claim that is made when it is awaited, or at the beginning of an ``async with`` block. `AsyncRegistry.claim`
    returns it.

    >>> registration = await registry.register("printer")
    >>> async with registry.claim("printer") as claim:
    ...     claim.number == registry["printer"].claims[0].number
    True
    """

    def __init__(
        self,
        calls: Calls,
        id: AnyId | None,
        process: WholeProcess | None,
        timeout: float | None,
        conditions: Mapping[str, Any],
        everywhere: RegistryReads | None = None,
    ) -> None:
        self._calls = calls
        self._arguments = id, process, timeout, conditions
        self._claim: AsyncClaim | None = None
        # For a claim in the whole cluster: what finds its members.
        self._everywhere = everywhere

    def __await__(self) -> Generator[Any, None, AsyncClaim]:
        claimed = self._claimed() if self._everywhere is None else self._claimed_everywhere(self._everywhere)
        return claimed.__await__()

    async def _claimed_everywhere(self, reads: RegistryReads) -> AsyncClaim:
        require_loop()
        calls = self._calls
        id, process, timeout, conditions = self._arguments
        search = Search(reads, id, timeout, conditions)
        while True:
            for slot in search.slots():
                try:
                    registration = await register_everywhere(
                        calls, slot.name, process, slot.fields(), search.answer_seconds()
                    )
                except AlreadyRegistered as error:
                    # Another process was quicker.
                    reraise_foreign(error)
                else:
                    return AsyncClusterClaim(calls, registration, slot.member)
            require_cluster(calls.reader)
            await asyncio.sleep(search.pause())

    async def _claimed(self) -> AsyncClaim:
        try:
            return await self._granted(pending_claim(self._calls, *self._arguments))
        except (NotRegistered, Timeout) as error:
            name_other_location(error, self._calls._client)
            raise

    async def _granted(self, wanted: PendingClaim) -> AsyncClaim:
        until = wanted.until()
        for seconds in pauses(self._calls, wanted, until):
            await asyncio.sleep(seconds)
        call = send(self._calls, wanted, partial(AsyncClaim, self._calls, wanted.request))
        pending = asyncio.wrap_future(call.future)
        is_held = False
        try:
            # A claim that only tries waits for the answer of the registrar, which has a bound of its own.
            # With a timeout of 0 it is the registrar that does not wait.
            left = max(0.0, until - time.monotonic()) if until is not None and wanted.timeout else None
            await asyncio.wait([pending], timeout=left)
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
