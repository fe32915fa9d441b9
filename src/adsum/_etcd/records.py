"""What etcd's answers become, and what a transaction is made of: frozen records, made from protobuf's messages here and
nowhere else.

Revisions are etcd's. A key's `mod_revision` is the revision of its last change, `create_revision` of its first since it
was last absent.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import msgspec

# The classes in `MESSAGES` are made at import, so their fields are not known to a type checker.
Wire = Any

CompareField = Literal["version", "create_revision", "mod_revision", "value", "lease"]
Relation = Literal["==", ">", "<", "!="]
_FIELDS: tuple[CompareField, ...] = ("version", "create_revision", "mod_revision", "value", "lease")
_RELATIONS: tuple[Relation, ...] = ("==", ">", "<", "!=")
_ALARMS = ("none", "nospace", "corrupt")


class KeyValue(msgspec.Struct, frozen=True):
    """A key as it is at a revision. `version` counts its changes since it was created; `lease` 0 is none."""

    key: bytes
    value: bytes
    create_revision: int
    mod_revision: int
    version: int
    lease: int


class KeyPage(msgspec.Struct, frozen=True):
    """The keys of a range, ascending, at `revision`, which is the present one unless another was asked for. `count` is
    that of all keys in the range, `more` says that the limit cut some off."""

    revision: int
    items: tuple[KeyValue, ...]
    more: bool
    count: int


class Compare(msgspec.Struct, frozen=True):
    """A condition of a transaction: a field of a key has a relation to a value. An absent key has 0 in all numbers."""

    key: bytes
    field: CompareField
    relation: Relation
    operand: int | bytes


class Put(msgspec.Struct, frozen=True):
    """Set a key, and hang it on a lease unless that is 0."""

    key: bytes
    value: bytes
    lease: int = 0


class Delete(msgspec.Struct, frozen=True):
    """Delete a key, or all that begin with it."""

    key: bytes
    prefix: bool = False


class Get(msgspec.Struct, frozen=True):
    """Read a key, or all that begin with it."""

    key: bytes
    prefix: bool = False
    limit: int = 0


Operation = Put | Delete | Get


class Deletion(msgspec.Struct, frozen=True):
    """How many keys a delete removed, and the revision after it."""

    revision: int
    count: int


class Transaction(msgspec.Struct, frozen=True):
    """Whether all conditions held, the revision after it, and one result for each operation of the branch that was
    taken: a `KeyPage` for a `Get`, a `Deletion` for a `Delete`, None for a `Put`."""

    succeeded: bool
    revision: int
    results: tuple[KeyPage | Deletion | None, ...]

    def pages(self) -> list[KeyPage]:
        """The results of the reads, in their order."""
        return [result for result in self.results if isinstance(result, KeyPage)]


class Lease(msgspec.Struct, frozen=True):
    """A lease: its id, the time to live it was granted, what is left of it, and the keys on it where asked for."""

    id: int
    granted: int
    remaining: int
    keys: tuple[bytes, ...] = ()


class Renewal(msgspec.Struct, frozen=True):
    """An answered keep-alive: `sent` is when it was sent, in seconds of CLOCK_BOOTTIME. The lease lasts at least until
    `until`, unless etcd revokes it by mistake."""

    sent: float
    ttl: int
    member: str

    @property
    def until(self) -> float:
        return self.sent + self.ttl


class KeyChange(msgspec.Struct, frozen=True):
    """What a revision did to one key. A `deleted` one has only `key` and `mod_revision` in `item`. `previous` is the
    key before, if it was asked for and its revision is not compacted."""

    deleted: bool
    item: KeyValue
    previous: KeyValue | None


class WatchResponse(msgspec.Struct, frozen=True):
    """All changes of the watched keys up to `revision`, from where the response before ended; never a part of a
    revision. Without `changes` it says that there were none."""

    revision: int
    changes: tuple[KeyChange, ...]

    def by_revision(self) -> Iterator[tuple[int, tuple[KeyChange, ...]]]:
        """The changes of each revision, ascending."""
        for revision, group in itertools.groupby(self.changes, lambda change: change.item.mod_revision):
            yield revision, tuple(group)


class Alarm(msgspec.Struct, frozen=True):
    """An alarm that an etcd member has raised: `kind` is `nospace` or `corrupt`."""

    member_id: int
    kind: str


class Status(msgspec.Struct, frozen=True):
    """What one etcd member says of itself. `leader` is a member's id, 0 where it knows none. `db_size_quota` is 0
    before etcd 3.6."""

    version: str
    cluster_id: int
    member_id: int
    leader: int
    revision: int
    raft_term: int
    raft_index: int
    raft_applied_index: int
    db_size: int
    db_size_in_use: int
    db_size_quota: int
    is_learner: bool
    errors: tuple[str, ...]


class MemberInfo(msgspec.Struct, frozen=True):
    """An etcd member as the cluster lists it. One that has not started yet has no name."""

    id: int
    name: str
    peer_urls: tuple[str, ...]
    client_urls: tuple[str, ...]
    is_learner: bool


def absent(key: bytes) -> Compare:
    """The condition that a key is absent."""
    return Compare(key, "create_revision", "==", 0)


def never(key: bytes) -> Compare:
    """A condition that does not hold, to ask what a role allows: etcd checks that for both branches."""
    return Compare(key, "create_revision", "<", 0)


def unchanged_since(key: bytes, mod_revision: int) -> Compare:
    """The condition that the last change of a key is of this revision."""
    return Compare(key, "mod_revision", "==", mod_revision)


def as_text(key: bytes) -> str:
    """A key for people: what cannot be printed is escaped, as the NUL between the parts of an id."""
    text = key.decode(errors="backslashreplace")
    return "".join(one if one.isprintable() else f"\\x{ord(one):02x}" for one in text)


def prefix_end(prefix: bytes) -> bytes:
    """The first key after all that begin with `prefix`, as etcd's `range_end`; for an empty prefix, all keys."""
    kept = prefix.rstrip(b"\xff")
    return kept[:-1] + bytes([kept[-1] + 1]) if kept else b"\0"


def compare_fields(compare: Compare) -> dict[str, object]:
    """The fields of a message `Compare`."""
    return {
        "key": compare.key,
        "result": _RELATIONS.index(compare.relation),
        "target": _FIELDS.index(compare.field),
        compare.field: compare.operand,
    }


def operation_fields(operation: Operation) -> dict[str, object]:
    """The fields of a message `RequestOp`."""
    if isinstance(operation, Put):
        put = {"key": operation.key, "value": operation.value, "lease": operation.lease}
        return {"request_put": put}
    end = prefix_end(operation.key) if operation.prefix else b""
    if isinstance(operation, Delete):
        return {"request_delete_range": {"key": operation.key, "range_end": end}}
    return {"request_range": {"key": operation.key, "range_end": end, "limit": operation.limit}}


def key_value(kv: Wire) -> KeyValue:
    return KeyValue(kv.key, kv.value, kv.create_revision, kv.mod_revision, kv.version, kv.lease)


def page(response: Wire, revision: int = 0) -> KeyPage:
    """The answer to a range, at the revision that was asked for, 0 for the present one."""
    items = tuple(map(key_value, response.kvs))
    return KeyPage(revision or response.header.revision, items, response.more, response.count)


def transaction(response: Wire) -> Transaction:
    results = tuple(_result(one, response.header.revision) for one in response.responses)
    return Transaction(response.succeeded, response.header.revision, results)


def _result(response: Wire, revision: int) -> KeyPage | Deletion | None:
    # Answers inside a transaction have a header without the cluster's numbers.
    kind = response.WhichOneof("response")
    if kind == "response_range":
        return page(response.response_range, revision)
    return Deletion(revision, response.response_delete_range.deleted) if kind == "response_delete_range" else None


def change(event: Wire) -> KeyChange:
    previous = key_value(event.prev_kv) if event.HasField("prev_kv") else None
    return KeyChange(event.type == 1, key_value(event.kv), previous)


def status(response: Wire) -> Status:
    header = response.header
    return Status(
        version=response.version,
        cluster_id=header.cluster_id,
        member_id=header.member_id,
        leader=response.leader,
        revision=header.revision,
        raft_term=response.raftTerm,
        raft_index=response.raftIndex,
        raft_applied_index=response.raftAppliedIndex,
        db_size=response.dbSize,
        db_size_in_use=response.dbSizeInUse,
        db_size_quota=response.dbSizeQuota,
        is_learner=response.isLearner,
        errors=tuple(response.errors),
    )


def members(response: Wire) -> tuple[MemberInfo, ...]:
    return tuple(
        MemberInfo(one.ID, one.name, tuple(one.peerURLs), tuple(one.clientURLs), one.isLearner)
        for one in response.members
    )


def alarms(response: Wire) -> tuple[Alarm, ...]:
    return tuple(Alarm(one.memberID, _alarm(one.alarm)) for one in response.alarms)


def alarm_number(kind: str) -> int:
    """The number of a kind of alarm. `ValueError` for none."""
    return _ALARMS.index(kind)


def _alarm(number: int) -> str:
    return _ALARMS[number] if number < len(_ALARMS) else f"alarm {number}"


def encoded(operations: Sequence[Operation]) -> list[dict[str, object]]:
    return [operation_fields(operation) for operation in operations]
