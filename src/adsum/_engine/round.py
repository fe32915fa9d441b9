"""A round: the engine's work on one batch.

Each question is answered from the tables with the batch's own changes over them, and by the kernel at this very moment.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec

from .. import _wire as wire
from .._store.lateness import SEVERITY
from .._store.layout import Record
from .._validation import id_key
from ..errors import DeadProcess, NotRegistered, OtherHost, Stale
from ..model import Entry, HealthSource, Kind, Limits, Owner, ProcessId
from .admission import Admission
from .batch import Death, Decision, Instant, Kernel
from .claims import Claims
from .draft import Draft, View
from .heartbeats import Lateness
from .host_draft import HostDraft
from .memory import Memory
from .reservations import Reservation
from .succession import Succession


class Round:
    """The registry as the batch has left it so far, with the questions and steps that handlers share.

    `heartbeats` are the incarnations that sent a heartbeat in this batch, and `awaited` the living holders that
    prevented a registration.
    """

    def __init__(
        self,
        limits: Limits,
        kernel: Kernel,
        memory: Memory,
        view: View,
        now: Instant,
        dead: Collection[Owner],
        node: str,
        hears: bool | None = None,
    ) -> None:
        self.now = now
        self.node = node
        self.draft = Draft(view, now.utc, memory.free_rows)
        self.admission = Admission(limits, self.draft, now, node, memory.hosts)
        self._limits = limits
        self._hosts = memory.hosts
        self._hears = hears
        self._host_draft: HostDraft | None = None
        # `dead` is nearly always empty; then the kernel is asked without a call in between.
        self.is_alive = kernel.is_alive if not dead else lambda owner: owner not in dead and kernel.is_alive(owner)
        self.succession = Succession(self.draft, self.admission, self.is_alive, now.monotonic)
        self._claimers = memory.claimers
        self._claims: Claims | None = None
        self._dependants = memory.dependants
        self._reservations = memory.reservations
        # Nearly always no id is reserved, and then each registration asks no more than this.
        self.reserves = bool(memory.reservations.by_key)
        self._unreserved: list[bytes] = []
        # Whether this batch has registered dependants.
        self.adds_dependants = False
        self.heartbeats: list[int] = []
        self.awaited: list[Owner] = []

    @property
    def claims(self) -> Claims:
        """The claims of this round; made when they are asked for, because most registries have none."""
        if self._claims is None:
            self._claims = Claims(self.draft, self.admission, self.is_alive, self._claimers, self.now)
        return self._claims

    @property
    def host_draft(self) -> HostDraft:
        """The hosts of the cluster in this round, made when they are asked for."""
        if self._host_draft is None:
            self._host_draft = HostDraft(
                self._limits, self.draft, self.admission, self._hosts, hears=self._hears is not False
            )
        return self._host_draft

    @property
    def has_claims(self) -> bool:
        """Whether there is any claim, of this batch or from before."""
        return self._claims is not None or bool(self._claimers)

    @property
    def has_dependants(self) -> bool:
        """Whether there is any dependant, of this batch or from before."""
        return self.adds_dependants or bool(self._dependants)

    def decision(self, deaths: Sequence[Death], replies: Sequence[wire.AnyReply]) -> Decision:
        """The result of the round."""
        draft = self.draft
        watched = draft.gaining_owners() if draft.changes else []
        released = draft.emptied_owners() if draft.changes else []
        grants, joined, left = self.succession.grants, [], []
        if self.has_claims:
            claims = self.claims
            watched = list(dict.fromkeys([*watched, *claims.watched()]))
            released = [owner for owner in released if not claims.holds_slots(owner)]
            released += [owner for owner in claims.emptied() if draft.owns_nothing(owner) and owner not in released]
            grants, joined, left = [*grants, *claims.grants], claims.joined, claims.left
        if self.has_dependants and draft.changes:
            watched, released = self._with_dependants(watched, released)
        if deaths:
            # A dead owner that owned nothing is released too: its pidfd would stay readable, and be reported for ever.
            released = list(dict.fromkeys([*released, *(death.owner for death in deaths)]))
        return Decision(
            draft.changes,
            draft.departures,
            replies,
            grants,
            watched,
            released,
            self.heartbeats,
            list(draft.refreshed.values()),
            draft.queued,
            draft.dequeued,
            list(draft.amended.items()),
            joined,
            left,
            [] if self._host_draft is None else list(self._host_draft.changed.items()),
            [] if self._host_draft is None else self._host_draft.refusals,
            self.awaited,
            self._unreserved,
        )

    def _with_dependants(self, watched: list[Owner], released: list[Owner]) -> tuple[list[Owner], list[Owner]]:
        """The processes to watch and to release, with those that have dependants: they are watched as owners are."""
        changed = self._dependants.after(self.draft.changes)
        begun = [owner for owner, keys in changed.items() if keys]
        ended = [owner for owner, keys in changed.items() if not keys and self._is_needed_no_more(owner)]
        released = [owner for owner in released if not self._dependants.of(owner, self.draft.changes)]
        return list(dict.fromkeys([*watched, *begun])), list(dict.fromkeys([*released, *ended]))

    def _is_needed_no_more(self, owner: Owner) -> bool:
        return self.draft.owns_nothing(owner) and not (self.has_claims and self.claims.holds_slots(owner))

    # Steps that no request asks for

    def remove_dead(self, owner: Owner, how: str, detection: float = 0.0) -> None:
        """Remove everything that a dead owner owned, and its dependants: consecutive revisions, one commit, all or
        none. End its claims."""
        owned = self.draft.owned(owner)
        for record in owned:
            self.draft.remove(record, Kind.died, how, detection)
        if self.has_dependants:
            dependants = self.dependants_of(owner)
            for record in dependants:
                # Its own process lives, as far as is known.
                self.draft.remove(record, Kind.unregistered, "owner_died", detection)
            owned = [*owned, *dependants]
        self.succession.grant_freed(owned)
        if self.has_claims:
            self.claims.release_all(owner)

    def dependants_of(self, owner: Owner) -> list[Record]:
        """The entries that end with this process and are another one's."""
        records = [self.draft.record(key) for key in self._dependants.of(owner, self.draft.changes)]
        return [record for record in records if record is not None and record.entry.owner != owner]

    def remove_bound(self, owner: Owner, session: bytes) -> None:
        """Remove the entries bound to a session that is over; its process may live on."""
        bound = [record for record in self.draft.owned(owner) if record.session == session]
        for record in bound:
            self.draft.remove(record, Kind.unregistered, "unregistered")
        self.succession.grant_freed(bound)

    def note_lateness(self, late: Lateness) -> None:
        """Note a missed heartbeat: the health status becomes no better than that. A dead owner is removed, not late."""
        record = self.draft.record(late.key)
        if record is None or record.entry.incarnation != late.incarnation or late.incarnation in self.heartbeats:
            return
        if not self.is_alive(record.entry.owner):
            return
        metadata = record.entry.metadata
        before = record.before_late or (metadata.health_status, record.entry.health_source)
        status = max(late.status, before[0], key=SEVERITY.index)
        metadata = msgspec.structs.replace(metadata, health_status=status)
        self.draft.replace(record, metadata, HealthSource.registrar, before)

    def end_reservations(self) -> None:
        """End the reservations whose owners are dead, and all of them when their time is over."""
        is_over = self.now.monotonic >= self._reservations.until
        for key, reservation in self._reservations:
            if is_over or not self.is_alive(reservation.owner):
                self.unreserve(key)

    def unreserve(self, key: bytes) -> None:
        """End the reservation of an id, if there is one: its first standby gets the id, unless it is held."""
        reservation = self._reservations.get(key)
        if reservation is None or key in self._unreserved:
            return
        self._unreserved.append(key)
        if self.draft.record(key) is None:
            self.succession.grant_free(reservation.process_id)

    # Questions and requirements of requests

    def reservation_of(self, key: bytes, *owners: Owner | None) -> Reservation | None:
        """The reservation that keeps a free id from these processes; None where the id is reserved for one of them, and
        where its owner is dead."""
        reservation = self._reservations.get(key)
        if reservation is None or key in self._unreserved or reservation.owner in owners:
            return None
        is_over = self.now.monotonic >= self._reservations.until
        return None if is_over or not self.is_alive(reservation.owner) else reservation

    def live_holder(self, key: bytes) -> Record | None:
        """The record under an id's key. A holder that is dead is removed on the spot, with all that it owned."""
        record = self.draft.record(key)
        if record is not None and record.entry.origin is None and not self.is_alive(record.entry.owner):
            self.remove_dead(record.entry.owner, "replaced")
            # A standby may hold the id now.
            return self.draft.record(key)
        return record

    def lasting_holder(self, key: bytes) -> Record | None:
        """`live_holder`, for a registration that a holder would refuse. A holder that is ending has to be awaited,
        because a reader may have found the id free: for readers such a process is gone (see `_os.ending`)."""
        record = self.live_holder(key)
        if record is not None and record.entry.origin is None:
            self.awaited.append(record.entry.owner)
        return record

    def require_holder(self, process_id: ProcessId, if_incarnation: int | None) -> Record:
        record = self.live_holder(id_key(process_id))
        if record is None:
            raise NotRegistered(f"{process_id} is not registered (or its process has died); register it first")
        self.require_own(record.entry)
        self.require_incarnation(record.entry, if_incarnation)
        return record

    def require_own(self, entry: Entry) -> None:
        """Require that the member is of this registry."""
        if entry.origin is not None:
            raise OtherHost(
                f"{entry.process_id} is a member of the host {entry.origin.host}; only a program there can change or "
                "end it",
                entry=entry,
            )

    def require_incarnation(self, entry: Entry, if_incarnation: int | None) -> None:
        if if_incarnation is not None and if_incarnation != entry.incarnation:
            raise Stale(
                f"{entry.process_id} is incarnation {entry.incarnation} now, held by process {entry.pid}, not "
                f"{if_incarnation}: another process has registered it since; look it up again before you change it",
                entry=entry,
            )

    def complete(self, process_id: ProcessId) -> ProcessId:
        """The id, with the registry's own node where it names none (`wire.NODE_OF_REGISTRY`)."""
        return process_id if process_id.node else process_id._replace(node=self.node)

    def require_revision(self, entry: Entry, if_revision: int | None) -> None:
        if if_revision is not None and if_revision != entry.revision:
            raise Stale(
                f"{entry.process_id} is at revision {entry.revision} now, not {if_revision}: it was changed since, and "
                "this update was not applied; the error's entry is the present one, decide again from it",
                entry=entry,
            )

    def require_alive(self, owner: Owner) -> None:
        if not self.is_alive(owner):
            raise DeadProcess(
                f"process {owner.pid} has exited, or its number belongs to another process by now; only a living "
                "process can be registered"
            )
