"""How records become rows: the tables, their keys and the codec.

=============  ==============================  =======================================================
table          key                             value
=============  ==============================  =======================================================
ids            namespace NUL node NUL local    incarnation
entries        incarnation                     the `Record`: [entry, session, before_late]
by_capability  namespace NUL capability        incarnation, one row for each entry that has it
by_type        namespace NUL type              incarnation, likewise
by_health      namespace NUL health status     incarnation, likewise
by_node        namespace NUL node              incarnation, likewise
owners         pid, start time, pidfd inode    incarnation, likewise
departures     revision                        the `Departure`, msgpack array
history        revision                        the before-image of a change; see `history`
remote_*       revision                        the same two, about other hosts of the cluster
receipts       session, number                 the reply, framed
standbys       id, NUL, position               the `Standby`, msgpack array
hosts          host                            the `HostRow`, msgpack array
meta           a word                          see the `META_*` names
=============  ==============================  =======================================================

Numbers are 8 bytes, big-endian, so that rows sort by them. Index rows hold the incarnation, not the id: 8 bytes however
long the id, and LMDB packs equal-sized rows without a header each, which keeps P4. Incarnations only grow, so
the entries table is always appended to and its pages stay full.
"""

import struct
from collections.abc import Collection
from enum import StrEnum
from functools import lru_cache
from typing import TypeAlias

import msgspec

from .._validation import MetadataFields
from ..model import Departure, Entry, HealthSource, HealthStatus, Kind, Owner, ProcessId, ProcessType, RegistrarStats
from . import own_index
from .own_index import IndexedName

FORMAT = 2
INDEXES = ("by_capability", "by_type", "by_health", "by_node")
# No table: a name for `namespace_key`.
BY_NAMESPACE = "by_namespace"
# What is about other hosts has tables of its own, so that it pushes nothing out that is about this one.
HISTORIES = ("history", "remote_history")
DEPARTURES = ("departures", "remote_departures")
ONE_ROW_TABLES = ("ids", "entries", *DEPARTURES, *HISTORIES, "receipts", "standbys", "hosts", "meta")
MANY_ROW_TABLES = (*INDEXES, "owners")
TABLES = ONE_ROW_TABLES + MANY_ROW_TABLES
MAX_DEPARTURES = 1000
# The index rows of so many kinds of entries are kept: those with the same attributes have the same ones.
KEPT_KEYS = 128

META_REVISION = b"revision"
META_STATS = b"stats"
META_LIMITS = b"limits"
META_IDENTITY = b"identity"
META_NODE = b"node"
# By table of `HISTORIES`: the newest revision whose row is not kept any more. No word: all rows are kept.
META_FLOORS = {"history": b"history_floor", "remote_history": b"remote_history_floor"}


# A health status and its source, as they were before the registrar noted a missed heartbeat.
BeforeLate: TypeAlias = tuple[HealthStatus, HealthSource]


class Record(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A stored row: the entry, which is all that readers decode, and the registrar's private fields behind it.

    Both are arrays whose fields are only ever appended, so a row is read by an older and by a newer version alike.

    - `session`: the client session the entry is bound to; empty for the entry of a whole process.
    - `before_late`: set while the registrar has noted a missed heartbeat.
    """

    entry: Entry
    session: bytes = b""
    before_late: BeforeLate | None = None


class PublicRecord(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The part of a `Record` that a reader decodes: msgspec skips the values behind the fields that it knows."""

    entry: Entry


class Change(msgspec.Struct, frozen=True):
    """One step of the registry's history: the record before it, the record after it, either of them None.

    `key` is that of the id, the same before and after. A change of a host of the cluster has the name of the host in
    its place, and no record.
    """

    kind: Kind
    revision: int
    key: bytes
    before: Record | None
    after: Record | None

    @property
    def is_of_host(self) -> bool:
        return self.kind in HOST_KINDS

    @property
    def is_remote(self) -> bool:
        """Whether it is about another host of the cluster."""
        record = self.after or self.before
        return self.is_of_host if record is None else record.entry.origin is not None

    @property
    def begun_row(self) -> Entry | None:
        """The entry after it, where it has a row in which nothing is written for it."""
        after = None if self.after is None else self.after.entry
        if after is None or not after.row_place:
            return None
        before = None if self.before is None else self.before.entry
        is_written = before is not None and (before.incarnation, before.row_place) == (
            after.incarnation,
            after.row_place,
        )
        return None if is_written else after

    @property
    def ended_row(self) -> Entry | None:
        """The entry before it, where it had a row that is free now."""
        before = None if self.before is None else self.before.entry
        if before is None or not before.row_place:
            return None
        return before if self.after is None or self.after.entry.row_place != before.row_place else None


class Standby(msgspec.Struct, frozen=True, array_like=True):
    """A process that stands by for an id. `position` orders the standbys of one id; `session` and `number` name the
    request that queued it. One for a name of the whole cluster, `everywhere`, is granted by the bridge alone;
    unless it `waits`, it ends when the name is held. One that `replaces` takes the place of an entry of its own
    process."""

    process_id: ProcessId
    owner: Owner
    fields: MetadataFields
    session: bytes
    number: int
    position: int
    everywhere: bool = False
    waits: bool = True
    replaces: bool = False


class HostState(StrEnum):
    """`here`: it can be reached, and its entries are as it says. `unreachable`: its lease is lost, or it was never
    here. `returning`: it can be reached again, and has not said yet that all of its entries are there. `refused`: it
    has more entries than there is room for, so none is kept."""

    here = "here"
    returning = "returning"
    unreachable = "unreachable"
    refused = "refused"


class HostRow(msgspec.Struct, frozen=True, array_like=True):
    """Another host of the cluster, as this registry knows it.

    - `number`: its word on the board, and the `start_time` of the `Owner` that its entries have.
    - `boot_id`: that of its boot; its entries of another boot have died.
    - `fence`: the revision of etcd at which its bridge began to vouch for the entries.
    - `state`: see `HostState`.
    - `nodes`: the nodes whose ids belong to it.
    - `is_known`: whether it was here before, so that its absence is one.
    - `reported`: `here`, `returning` or `unreachable`: what the events of watches have last said of it.
    - `tenure`: names the tenure of its bridge, since an etcd that starts empty gives the same fence again.
    """

    host: str
    number: int
    boot_id: bytes
    fence: int
    state: HostState
    nodes: frozenset[str] = frozenset()
    is_known: bool = False
    reported: HostState = HostState.unreachable
    tenure: bytes = b""

    @property
    def owner(self) -> Owner:
        """Represents the host where an entry of this registry has its process."""
        return Owner(0, self.number, 0)

    def present(self, *, hears: bool) -> HostState:
        """`here`, `returning` or `unreachable`: what it is for readers, where the bridge hears from the cluster, or
        does not."""
        return self.state if hears and self.state is not HostState.refused else HostState.unreachable


# The changes that are about a host, and not about an entry.
HOST_KINDS = frozenset({Kind.unreachable, Kind.returned, Kind.whole})


# How an entry ended whose process died.
DEATHS = frozenset({"died", "replaced"})


def lacks_exit(departure: Departure, owner: Owner) -> bool:
    """Whether a departure is by the death of this process, and it is not noted how the process ended."""
    return departure.exit is None and departure.how in DEATHS and departure.entry.owner == owner


class RemoteRegistration(msgspec.Struct, frozen=True):
    """One registration in another registry of the cluster: the host and the epoch of that registry, the id, and the
    incarnation there."""

    host: str
    epoch: int
    process_id: ProcessId
    incarnation: int


def lacks_remote_exit(departure: Departure, registration: RemoteRegistration) -> bool:
    """Whether a departure is by the death of the process of this registration, and it is not noted how it ended."""
    if departure.exit is not None or departure.how not in DEATHS or departure.entry.origin is None:
        return False
    origin = departure.entry.origin
    return registration == RemoteRegistration(origin.host, origin.epoch, departure.entry.process_id, origin.incarnation)


class Identity(msgspec.Struct, frozen=True, array_like=True):
    """The format, boot and PID namespace for which the tables are valid."""

    format: int
    boot_id: bytes
    pid_namespace: int


class Receipt(msgspec.Struct, frozen=True):
    """A reply that was committed with its change, kept until it is known to have been sent."""

    session: bytes
    number: int
    reply: bytes


encode = msgspec.msgpack.Encoder().encode
decode_entry = msgspec.msgpack.Decoder(Entry).decode
decode_record = msgspec.msgpack.Decoder(Record).decode
decode_public = msgspec.msgpack.Decoder(PublicRecord).decode
decode_departure = msgspec.msgpack.Decoder(Departure).decode
decode_standby = msgspec.msgpack.Decoder(Standby).decode
decode_host = msgspec.msgpack.Decoder(HostRow).decode
decode_identity = msgspec.msgpack.Decoder(Identity).decode
decode_stats = msgspec.msgpack.Decoder(RegistrarStats).decode

_number = struct.Struct(">Q")
_owner = struct.Struct(">QQQ")
pack_number = _number.pack


def unpack_number(row: bytes) -> int:
    """The number that a row holds. It takes any length: a damaged row is found to be wrong where it is looked up."""
    return int.from_bytes(row, "big")


def receipt_key(session: bytes, number: int) -> bytes:
    return session + pack_number(number)


def standby_prefix(key: bytes) -> bytes:
    """The beginning of the keys of an id's standbys, and of no other's: an id's key has two NULs."""
    return key + b"\0"


def standby_key(waiting: Standby) -> bytes:
    return standby_prefix(key_of(waiting.process_id)) + pack_number(waiting.position)


def owner_key(owner: Owner) -> bytes:
    return _owner.pack(*owner)


def owner_of(key: bytes) -> Owner:
    return Owner(*_owner.unpack(key))


def key_of(process_id: ProcessId) -> bytes:
    """The row key of an id that was checked before."""
    return "\0".join(process_id).encode()


def index_key(namespace: str, value: str) -> bytes:
    """The key of an index: the namespace comes first, so no search can leave it (S7)."""
    return f"{namespace}\0{value}".encode()


def namespace_key(namespace: str) -> tuple[str, bytes]:
    """What all entries of a namespace have in common, as if there were an index of namespaces."""
    return BY_NAMESPACE, namespace.encode()


def index_keys(entry: Entry, indexed: Collection[IndexedName] = ()) -> frozenset[tuple[str, bytes]]:
    """Every index row an entry must have, as (table, key), in a registry that indexes these names of own data."""
    namespace, node, _ = entry.process_id
    metadata = entry.metadata
    keys = _common_keys(namespace, node, metadata.type, metadata.health_status, metadata.capabilities)
    return keys | own_index.keys_of(entry, indexed) if indexed else keys


@lru_cache(KEPT_KEYS)
def _common_keys(
    namespace: str, node: str, kind: ProcessType, health: HealthStatus, capabilities: frozenset[str]
) -> frozenset[tuple[str, bytes]]:
    keys = {("by_capability", index_key(namespace, capability)) for capability in capabilities}
    keys.add(("by_type", index_key(namespace, kind)))
    keys.add(("by_health", index_key(namespace, health)))
    keys.add(("by_node", index_key(namespace, node)))
    return frozenset(keys)
