"""`Claim`: a slot of a member that this process holds, and the call that claims one."""

from __future__ import annotations

import os
import time
from concurrent import futures
from types import TracebackType
from typing import Any, Unpack

from . import _wire as wire
from ._calls import Calls
from ._claiming import ANSWER_SECONDS, Claiming, claiming, disown, end_later, fail, releasing, send, try_now
from ._client.claim_call import ClaimCall
from ._cluster_claims import Search, still_holds
from ._everywhere import is_wanted, require_cluster
from ._foreign import reraise_foreign
from ._of_one_process import OfOneProcess
from ._reads import AnyId, RegistryReads
from ._store.query import Conditions
from ._validation import MetadataKeywords
from .errors import AdsumError, AlreadyRegistered, RegistryClosed, Stale
from .model import Entry, ProcessId
from .registration import Registration


class Claim(OfOneProcess):
    """A slot of one member, which a process holds until the claim is released or the process dies. Made by
    `Registry.claim`.

    - `entry`: the member's entry as it was when the slot was granted.
    - `number`: names the claim among all of this process's; the member's entry has it in ``claims``.

    As a context manager it releases the slot at the end of the block, but only in the process that made it: a forked
    child that leaves the block releases nothing. Where no registrar answers in time, the release is repeated in the
    background until one does. Dropping the object releases nothing.

    >>> registration = registry.register("printer")
    >>> with registry.claim("printer") as claim:
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
        return f"<Claim {self.number} of {self.process_id}>"

    @property
    def process_id(self) -> ProcessId:
        """The id of the member.

        >>> registration = registry.register("printer")
        >>> registry.claim("printer").process_id.local_id
        'printer'
        """
        return self.entry.process_id

    @property
    def number(self) -> int:
        """The claim's number, by which the member's entry names it.

        >>> registration = registry.register("printer")
        >>> claim = registry.claim("printer")
        >>> [record.number for record in registry["printer"].claims] == [claim.number]
        True
        """
        return self._request.number

    @property
    def fencing_token(self) -> int:
        """The number of a claim that holds in the whole cluster, for what the claimer writes to: larger for each later
        claim of the slot. 0 for a claim of this host.

        >>> registration = registry.register("printer")
        >>> registry.claim("printer").fencing_token
        0
        """
        return 0

    @property
    def valid(self) -> bool:
        """Whether the slot is held now, as far as this host can know; see `Registration.valid`.

        >>> registration = registry.register("printer")
        >>> claim = registry.claim("printer")
        >>> claim.valid, claim.release(), claim.valid
        (True, True, False)
        """
        entry = self._calls.reader.lookup(self.process_id)
        return entry is not None and self.number in {record.number for record in entry.claims}

    def release(self, *, timeout: float | None = None) -> bool:
        """Release the slot. Returns whether the claim held it: it does not where it was released before, or where the
        member has died, was unregistered, or registered anew.

        `timeout` is in seconds, as in `Registry.register`. Errors: `SystemBusy`; `Timeout`; `RegistrarUnavailable`.
        After each of them the claim may be held still, and can be released again.

        >>> registration = registry.register("printer")
        >>> claim = registry.claim("printer")
        >>> claim.release(), claim.release()
        (True, False)
        """
        held = self._calls.wait(releasing(self._calls, self._request), timeout).changed
        self._calls.claims.pop(self.number, None)
        return held

    def _release_later(self) -> None:
        """Release the slot in the background, however long that takes."""
        end_later(self._calls, self._request)

    def __enter__(self) -> Claim:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        if os.getpid() != self._pid:
            return
        try:
            self.release()
        except RegistryClosed:
            # Closing the registry has released it.
            return
        except AdsumError as error:
            reraise_foreign(error)
            self._release_later()
        except BaseException:
            self._release_later()
            raise


class ClusterClaim(Claim):
    """A `Claim` that holds in the whole cluster: an entry of a namespace of its own, with a fencing token."""

    def __init__(self, calls: Calls, registration: Registration, entry: Entry) -> None:
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

    def release(self, *, timeout: float | None = None) -> bool:
        # Of a member that cannot be reached now, the slot is held.
        held = still_holds(self._calls.reader.lookup_anywhere, self.entry)
        try:
            released = self._registration.unregister(timeout=timeout)
        except Stale:
            # This claim was released before: another one has the slot.
            released = False
        self._calls.cluster_claims.pop(self._registration.entry.incarnation, None)
        return released and held

    def _release_later(self) -> None:
        self._calls.give_back(self._registration.entry)
        self._calls.cluster_claims.pop(self._registration.entry.incarnation, None)


class ClaimCalls(RegistryReads):
    """What `Registry` inherits: claims."""

    _calls: Calls

    def claim(
        self,
        id: AnyId | None = None,
        process: Any = None,
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
        if is_wanted(everywhere):
            return self._claimed_everywhere(Search(self, id, timeout, conditions), process)
        wanted = claiming(self._calls, id, process, timeout, conditions)
        is_held = False
        try:
            claim = self._claimed(wanted)
            is_held = True
            return claim
        finally:
            if not is_held:
                disown(self._calls, wanted)

    def _claimed_everywhere(self, search: Search, process: Any) -> Claim:
        while True:
            for slot in search.slots():
                try:
                    registration = self._hold_name(slot.name, process, slot.fields(), search.answer_seconds())
                except AlreadyRegistered as error:
                    # Another process was quicker.
                    reraise_foreign(error)
                else:
                    return ClusterClaim(self._calls, registration, slot.member)
            require_cluster(self._reader)
            time.sleep(search.pause())

    def _hold_name(self, id: ProcessId, process: Any, fields: MetadataKeywords, timeout: float) -> Registration:
        """Register a name for the whole cluster."""
        raise NotImplementedError

    def _claimed(self, wanted: Claiming) -> Claim:
        began = time.monotonic()
        entry = try_now(self._calls, wanted)
        if entry is not None:
            return Claim(self._calls, wanted.request, entry)
        if wanted.timeout == 0:
            raise fail(wanted, wanted.too_late())
        call = send(self._calls, wanted, lambda entry: Claim(self._calls, wanted.request, entry))
        try:
            return _granted(wanted, call, began)
        finally:
            if not call.is_granted:
                # Queued, or on its way, and no caller will hold it.
                call.end()


def _granted(wanted: Claiming, call: ClaimCall[Claim], began: float) -> Claim:
    """Wait for the claim, no longer than the caller wants since it `began`."""
    left = None if wanted.timeout is None else max(0.0, began + wanted.timeout - time.monotonic())
    futures.wait([call.future], left)
    if not call.future.done() and call.future.cancel():
        if call.ended is not None:
            # A slot that is released from now on is not granted to it.
            futures.wait([call.ended], ANSWER_SECONDS)
        raise fail(wanted, wanted.too_late())
    return call.future.result()
