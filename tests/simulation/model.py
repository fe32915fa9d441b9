"""What the registry should hold and answer: a dictionary, and the rules of the contract applied one by one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence, Set
from datetime import UTC, datetime
from typing import Any, NamedTuple

from adsum.model import Limits, Owner

from .asks import Ask, Fields, Id, Item
from .reading import Held, encoded_metadata, held

_EPOCH = datetime.fromtimestamp(0, UTC)
_DEFAULTS: Fields = {
    "type": "agent",
    "capabilities": frozenset(),
    "resources": {},
    "coordination_variables": frozenset(),
    "health_status": "healthy",
    "node_affinity": [],
    "created_at": _EPOCH,
    "last_health_check": _EPOCH,
    "endpoint": None,
    "custom": {},
    "heartbeat": None,
}


class Expected(NamedTuple):
    """The reply that a request should get: the entries of a success, or the reason of a failure and its holder."""

    entries: tuple[Held, ...] = ()
    changed: bool = True
    reason: str | None = None

    @property
    def succeeded(self) -> bool:
        """Whether the registry is another one for it, and a receipt has to be kept."""
        return self.reason is None and self.changed


class Left(NamedTuple):
    """A departure that should stand in the tables."""

    revision: int
    how: str
    entry: Held


class Refused(Exception):
    """A request that should fail."""

    def __init__(self, reason: str, holder: Held | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.holder = holder


class Turn(NamedTuple):
    """What one batch is decided on. `no_room` are the requests that were refused for want of memory, which depends on
    how LMDB packs its pages: the model believes it, and the checks ask whether it could be true. On those in `choking`
    the engine fails for no reason of theirs."""

    is_alive: Callable[[Owner], bool]
    utc: datetime
    monotonic: int
    no_room: Collection[int] = ()
    choking: Collection[int] = ()


class Model:
    """The registry as it should be. It is advanced by a batch that was committed, and by nothing else."""

    def __init__(self, limits: Limits, keep_departures: int) -> None:
        self.limits = limits
        self.keep_departures = keep_departures
        self.revision = 0
        self.held: dict[Id, Held] = {}
        self.departures: list[Left] = []
        self.incarnations: list[int] = []
        self.believed: list[int] = []
        self._turn = Turn(lambda owner: True, _EPOCH, 0)

    def commit(
        self, deaths: Sequence[Owner], ended: Sequence[tuple[Owner, bytes]], asks: Sequence[Ask], turn: Turn
    ) -> list[Expected]:
        """Advance by one batch; returns the replies that its requests should get."""
        self._turn = turn
        self.believed = []
        for owner in deaths:
            self._bury(owner, "died")
        for owner, session in ended:
            for entry in self.owned(owner):
                if entry.session == session:
                    self._remove(entry, "unregistered")
        replies = [self._answer(ask, position) for position, ask in enumerate(asks)]
        del self.departures[: -self.keep_departures], self.incarnations[:-100]
        return replies

    def owned(self, owner: Owner) -> list[Held]:
        """What a process owns, in the order of registration."""
        return sorted((e for e in self.held.values() if e.owner == owner), key=lambda entry: entry.incarnation)

    @property
    def owners(self) -> set[Owner]:
        return {Owner(*entry.owner) for entry in self.held.values()}

    # Requests

    def _answer(self, ask: Ask, position: int) -> Expected:
        try:
            if position in self._turn.choking:
                raise Refused("invalid_metadata")
            if ask.deadline < self._turn.monotonic:
                raise Refused("timeout")
            match ask.kind:
                case "register":
                    return self._register(ask, position)
                case "update":
                    return self._update(ask, position)
                case "unregister":
                    return self._unregister(ask)
                case "hand_over":
                    return self._hand_over(ask)
        except Refused as refused:
            holder = () if refused.holder is None else (refused.holder,)
            return Expected(holder, changed=False, reason=refused.reason)

    def _register(self, ask: Ask, position: int) -> Expected:
        wanted = [(item.id, self._new_metadata(item)) for item in ask.items]
        if len(dict(wanted)) < len(wanted):
            raise Refused("invalid_process_id")
        if not self._turn.is_alive(ask.owner):
            raise Refused("dead_process")
        for process_id, _ in wanted:
            holder = self._living(process_id)
            if holder is not None and ask.or_get:
                return Expected((holder,), changed=False)
            if holder is not None:
                raise Refused("already_registered", holder)
        most = self.limits.max_entries
        if most is not None and len(self.held) + len(wanted) > most:
            raise Refused("registry_full")
        self._believe(position)
        session = ask.session if ask.bound else b""
        return Expected(tuple(self._add(process_id, ask.owner, fields, session) for process_id, fields in wanted))

    def _update(self, ask: Ask, position: int) -> Expected:
        item = ask.items[0]
        entry = self._holder(ask)
        if item.flaw:
            raise Refused(item.flaw)
        if ask.checked:
            checked = max(self._turn.utc, entry.metadata["last_health_check"])
            given = {"health_status": item.fields.get("health_status", entry.metadata["health_status"])}
            metadata = {**entry.metadata, **given, "last_health_check": checked}
        else:
            metadata = {**entry.metadata, **item.fields}
            if "created_at" in item.fields and "last_health_check" not in item.fields:
                late = metadata["created_at"] > entry.metadata["last_health_check"]
                metadata["last_health_check"] = self._turn.utc if late else entry.metadata["last_health_check"]
            self._require_times(item.fields, metadata)
        self._require_limits(metadata)
        grows = encoded_metadata(metadata) > encoded_metadata(entry.metadata)
        if grows and not ask.checked and not set(item.fields) <= {"health_status", "last_health_check"}:
            self._believe(position)
        self.revision += 1
        updated = max(self._turn.utc, entry.registered_at)
        return self._replaced(entry._replace(metadata=metadata, revision=self.revision, last_updated=updated))

    def _unregister(self, ask: Ask) -> Expected:
        try:
            entry = self._holder(ask)
        except Refused as refused:
            if refused.reason == "not_registered":
                return Expected(changed=False)
            raise
        self._remove(entry, "unregistered")
        return Expected()

    def _hand_over(self, ask: Ask) -> Expected:
        entry = self._holder(ask)
        if not self._turn.is_alive(ask.owner):
            raise Refused("dead_process")
        del self.held[entry.id]
        after = self._add(entry.id, ask.owner, entry.metadata, b"")
        self.departures.append(Left(after.revision, "handed_over", entry))
        return Expected((after,))

    # Steps

    def _believe(self, position: int) -> None:
        """Refuse a request that asks for room, where the registry said that there is none."""
        if position in self._turn.no_room:
            self.believed.append(position)
            raise Refused("registry_full")

    def _holder(self, ask: Ask) -> Held:
        item = ask.items[0]
        if item.flaw == "invalid_process_id":
            raise Refused(item.flaw)
        entry = self._living(item.id)
        if entry is None:
            raise Refused("not_registered")
        if ask.if_incarnation is not None and ask.if_incarnation != entry.incarnation:
            raise Refused("stale", entry)
        return entry

    def _living(self, process_id: Id) -> Held | None:
        entry = self.held.get(process_id)
        if entry is not None and not self._turn.is_alive(Owner(*entry.owner)):
            self._bury(Owner(*entry.owner), "replaced")
            return None
        return entry

    def _bury(self, owner: Owner, how: str) -> None:
        for entry in self.owned(owner):
            self._remove(entry, how)

    def _remove(self, entry: Held, how: str) -> None:
        self.revision += 1
        del self.held[entry.id]
        self.departures.append(Left(self.revision, how, entry))

    def _add(self, process_id: Id, owner: Owner, metadata: Fields, session: bytes) -> Held:
        self.revision += 1
        now, number = self._turn.utc, self.revision
        identity = (owner.pid, owner.start_time, owner.pidfd_inode)
        entry = Held(process_id, identity, number, now, now, number, metadata, session=session)
        self.held[process_id] = entry
        self.incarnations.append(number)
        return entry

    def _replaced(self, entry: Held) -> Expected:
        self.held[entry.id] = entry
        return Expected((entry,))

    # Metadata

    def _new_metadata(self, item: Item) -> Fields:
        if item.flaw:
            raise Refused(item.flaw)
        checked = item.fields.get("last_health_check", self._turn.utc)
        created = item.fields.get("created_at", min(checked, self._turn.utc))
        metadata = {**_DEFAULTS, **item.fields, "created_at": created, "last_health_check": checked}
        self._require_times(item.fields, metadata)
        self._require_limits(metadata)
        return metadata

    def _require_times(self, given: Fields, metadata: Fields) -> None:
        future = any(name in given and given[name] > self._turn.utc for name in ("created_at", "last_health_check"))
        if future or metadata["created_at"] > metadata["last_health_check"]:
            raise Refused("invalid_metadata")

    def _require_limits(self, metadata: Fields) -> None:
        too_many = len(metadata["capabilities"]) > self.limits.max_capabilities
        if too_many or encoded_metadata(metadata) > self.limits.max_metadata_bytes:
            raise Refused("invalid_metadata")


def compare(ask: Ask, wanted: Expected, reply: list[Any], lived: Set[Owner]) -> None:
    """Raise unless a reply is the expected one, and tells of nobody but those who lived when the batch came."""
    failed = reply[0] == "failed"
    number, reason, changed = reply[1], reply[2] if failed else None, not failed and reply[3]
    told = [held(entry) for entry in ([reply[4]] if failed and reply[4] else [] if failed else reply[2])]
    wrong = f"{ask} was answered {reply}, should be {wanted}"
    assert (number, reason, changed) == (ask.number, wanted.reason, wanted.changed), wrong
    # A reply need not tell the session that an entry lives in.
    assert [entry._replace(session=b"") for entry in told] == [e._replace(session=b"") for e in wanted.entries], wrong
    assert not failed or reply[3], "a failure without words"
    dead = [entry for entry in told if Owner(*entry.owner) not in lived]
    assert not dead, f"S2: {ask} was told {dead}"
