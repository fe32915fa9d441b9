"""`Claim`: a slot of a member that this process holds, and the call that claims one."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from concurrent import futures
from functools import partial
from types import TracebackType
from typing import Any

from . import _wire as wire
from ._calls import Calls
from ._claiming import (
    ANSWER_SECONDS,
    PendingClaim,
    disown,
    end_later,
    fail,
    pauses,
    pending_claim,
    release_request,
    send,
    try_now,
)
from ._client.claim_call import ClaimCall
from ._client.target import WholeProcess
from ._cluster_claims import Search, still_holds
from ._cluster_names import register_everywhere
from ._everywhere import is_wanted, require_cluster
from ._foreign import reraise_foreign
from ._of_one_process import OfOneProcess
from ._only_sync import OnlySync
from ._other_location import name_other_location
from ._reads import AnyId, RegistryReads
from .errors import AdsumError, AlreadyRegistered, NotRegistered, RegistryClosed, Stale, Timeout
from .model import Entry, ProcessId
from .registration import Registration


class Claim(OfOneProcess, OnlySync):
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
        held = self._calls.wait(release_request(self._calls, self._request), timeout).changed
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


def claim_slot(
    reads: RegistryReads,
    calls: Calls,
    id: AnyId | None,
    process: WholeProcess | None,
    timeout: float | None,
    conditions: Mapping[str, Any],
    *,
    everywhere: bool,
) -> Claim:
    """Claim a slot for `Registry.claim`, and wait for it."""
    if is_wanted(everywhere):
        return _claimed_everywhere(calls, Search(reads, id, timeout, conditions), process)
    wanted = pending_claim(calls, id, process, timeout, conditions)
    is_held = False
    try:
        claim = _claimed(calls, wanted)
        is_held = True
        return claim
    except (NotRegistered, Timeout) as error:
        name_other_location(error, calls._client)
        raise
    finally:
        if not is_held:
            disown(calls, wanted)


def _claimed_everywhere(calls: Calls, search: Search, process: WholeProcess | None) -> Claim:
    while True:
        for slot in search.slots():
            try:
                registration = register_everywhere(calls, slot.name, process, slot.fields(), search.answer_seconds())
            except AlreadyRegistered as error:
                # Another process was quicker.
                reraise_foreign(error)
            else:
                return ClusterClaim(calls, registration, slot.member)
        require_cluster(calls.reader)
        time.sleep(search.pause())


def _claimed(calls: Calls, wanted: PendingClaim) -> Claim:
    until = wanted.until()
    for seconds in pauses(calls, wanted, until):
        time.sleep(seconds)
    entry = try_now(calls, wanted)
    if entry is not None:
        return Claim(calls, wanted.request, entry)
    if wanted.timeout == 0:
        raise fail(wanted, wanted.too_late())
    call = send(calls, wanted, partial(Claim, calls, wanted.request))
    try:
        return _granted(wanted, call, until)
    finally:
        if not call.is_granted:
            # Queued, or on its way, and no caller will hold it.
            call.end()


def _granted(wanted: PendingClaim, call: ClaimCall[Claim], until: float | None) -> Claim:
    """Wait for the claim, no longer than `until`."""
    left = None if until is None else max(0.0, until - time.monotonic())
    futures.wait([call.future], left)
    if not call.future.done() and call.future.cancel():
        if call.ended is not None:
            # A slot that is released from now on is not granted to it.
            futures.wait([call.ended], ANSWER_SECONDS)
        raise fail(wanted, wanted.too_late())
    return call.future.result()
