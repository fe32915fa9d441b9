"""Claims on members of the whole cluster: a slot is a name that one process of one host holds.

The registrar of one host grants the slots of its own members, and knows no others. For a claim ``everywhere`` each slot
of a member has a name for the whole cluster instead, which the claimer registers: so it is etcd that decides, the slot
ends with the claimer, whose kernel says so, and it has a fencing token. The names are entries of the namespace
`CLAIMS`.

The two kinds do not know of each other: a member is claimed either in its own registry, or everywhere.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from ._claiming import ANSWER_SECONDS, claimed_conditions
from ._client.connection_pool import seconds
from ._everywhere import USUAL_SECONDS, require_cluster
from ._reads import AnyId, RegistryReads
from ._validation import MetadataKeywords
from .errors import NotRegistered, Timeout
from .model import Entry, ProcessId

CLAIMS = "adsum.claims"
# How often a claim that waits looks again.
LOOK_SECONDS = 0.2
# The longest part of a member's id that the name of its slot shows.
_SHOWN = 80


class Slot(NamedTuple):
    """One slot of a member, and the name for it."""

    member: Entry
    name: ProcessId

    def fields(self) -> MetadataKeywords:
        """What the entry of the name says."""
        return {"custom": {"member": list(self.member.process_id)}}


class Search:
    """The search of one claim for a free slot. `until` is when it gives up, on the monotonic clock."""

    def __init__(
        self, reads: RegistryReads, id: AnyId | None, timeout: float | None, conditions: Mapping[str, Any]
    ) -> None:
        self._reads = reads
        self._id = None if id is None else reads._id(id)
        self._conditions = claimed_conditions(conditions)
        self.patience = seconds(timeout)
        self.until = None if self.patience is None else time.monotonic() + self.patience

    def slots(self) -> Iterator[Slot]:
        """The slots that seem to be free, those of members with the fewest claims first. Errors: `NotRegistered`;
        `ClusterUnavailable`."""
        taken = {entry.process_id.local_id for entry in self._reads.find(namespace=CLAIMS)}
        offers = [
            [slot for slot in self._slots_of(member) if slot.name.local_id not in taken] for member in self._members()
        ]
        random.shuffle(offers)
        for offer in sorted(filter(None, offers), key=lambda one: (one[0].member.metadata.slots or 1) - len(one)):
            yield from offer

    def _members(self) -> list[Entry]:
        if self._id is None:
            return self._reads.find(**self._conditions)
        entry = self._reads.lookup(self._id)
        if entry is None:
            # A member of another host cannot be seen while the cluster is not heard, or not yet, or that host is away.
            require_cluster(self._reads._reader)
            if not self._reads._reader.progress.hears() or self._reads.lookup(self._id, unreachable=True) is not None:
                return []
            raise NotRegistered(f"{self._id} is not registered (or its process has died); it cannot be claimed")
        return [entry]

    def _slots_of(self, member: Entry) -> list[Slot]:
        import hashlib  # With OpenSSL, which takes a twentieth of the import of adsum.

        origin = member.origin
        epoch = self._reads._reader.position().epoch if origin is None else origin.epoch
        incarnation = member.incarnation if origin is None else origin.incarnation
        said = "\0".join([*member.process_id, f"{epoch:x}", str(incarnation)])
        digest = hashlib.sha256(said.encode()).hexdigest()[:16]
        shown = member.process_id.local_id.encode()[:_SHOWN].decode(errors="ignore")
        node = self._reads.node
        return [
            Slot(member, ProcessId(CLAIMS, node, f"{shown}#{number}.{digest}"))
            for number in range(member.metadata.slots or 1)
        ]

    def answer_seconds(self) -> float:
        """How long the cluster may take to answer a request for a slot: not much longer than the claim waits."""
        left = USUAL_SECONDS if self.until is None else self.until - time.monotonic()
        return min(max(left, ANSWER_SECONDS), USUAL_SECONDS)

    def pause(self) -> float:
        """The seconds until it looks again. Errors: `Timeout` where the time is up."""
        left = LOOK_SECONDS if self.until is None else self.until - time.monotonic()
        if left <= 0:
            what = "a member that matches the conditions" if self._id is None else str(self._id)
            raise Timeout(
                f"no slot of {what} became free in the whole cluster within {self.patience:g} s, and nothing is "
                "claimed; give a longer timeout=, or register members with more slots="
            )
        return min(LOOK_SECONDS, left)


def still_holds(reads: Callable[[ProcessId], Entry | None], member: Entry) -> bool:
    """Whether the member that was claimed is registered still, as the same registration."""
    present = reads(member.process_id)
    if present is None:
        return False
    before, after = member.origin, present.origin
    if before is None or after is None:
        return before is after and present.incarnation == member.incarnation
    return (before.epoch, before.incarnation) == (after.epoch, after.incarnation)
