"""Entries, events, departures, figures and results as documents: plain data for JSON, of one published schema.

Each document is a msgspec struct, so encoder and schema come from one definition. The command line prints these
documents with ``--json``, and every later interface to a registry uses them. Fields are only ever appended.

    import msgspec
    import adsum
    from adsum.views import documents

    entry = adsum.open()["worker-1"]
    print(msgspec.json.encode(documents.entry_document(entry)))
"""

from __future__ import annotations

import inspect
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, TypeAlias

import msgspec

from ..model import (
    Departure,
    Entry,
    Event,
    HealthSource,
    HealthStatus,
    Metadata,
    Origin,
    OwningMember,
    ProcessType,
    Reach,
    Stats,
)
from .cluster_documents import BridgeDocument, HostsDocument
from .order import sorted_names

SCHEMA_DIALECT = "https://json-schema.org/draft/2020-12/schema"


# The schema says "date-time" for it.
Time: TypeAlias = Annotated[datetime, msgspec.Meta(tz=True)]


class EventKind(StrEnum):
    """The kinds of `adsum.Event`, and ``snapshot`` for an entry of a watch's snapshot."""

    registered = "registered"
    updated = "updated"
    unregistered = "unregistered"
    died = "died"
    lagged = "lagged"
    unreachable = "unreachable"
    returned = "returned"
    whole = "whole"
    snapshot = "snapshot"


class ProcessIdDocument(msgspec.Struct, frozen=True):
    """The three parts of a process id."""

    namespace: str
    node: str
    local_id: str


class MetadataDocument(msgspec.Struct, frozen=True):
    """The fields of `adsum.Metadata`; sets are sorted lists, bytes in `custom` are base64."""

    type: ProcessType
    capabilities: list[str]
    resources: dict[str, int | float | str]
    coordination_variables: list[str]
    health_status: HealthStatus
    node_affinity: list[str]
    created_at: Time
    last_health_check: Time
    endpoint: str | None
    custom: dict[str, Any]
    heartbeat: float | None
    gauges: dict[str, float]
    slots: int | None
    description: str
    version: str
    protocols: list[str]
    doing: str


class ClaimDocument(msgspec.Struct, frozen=True):
    """One claim on a member: the fields of `adsum.ClaimRecord`."""

    number: int
    pid: int
    start_time: int
    pidfd_inode: int
    since: Time


class OwningMemberDocument(msgspec.Struct, frozen=True):
    """The member that owns another one: the fields of `adsum.OwningMember`."""

    process_id: ProcessIdDocument
    incarnation: int
    pid: int
    start_time: int
    pidfd_inode: int


class OriginDocument(msgspec.Struct, frozen=True):
    """Where the entry of another host comes from: the fields of `adsum.Origin`. `epoch` is a text of digits, because
    JavaScript would round the number."""

    host: str
    number: int
    incarnation: int
    revision: int
    epoch: str
    reach: Reach


class EntryDocument(msgspec.Struct, frozen=True):
    """The fields of `adsum.Entry`, after `id`, the process id as one string. `health_source` is None where no process
    has set or confirmed the health status, which is then the one with which every member begins. `gauges` are the
    values when the document was made, those in `metadata` the values at the registration. `host` is empty and `reach`
    is ``here`` for a member of this registry's own host."""

    id: str
    process_id: ProcessIdDocument
    pid: int
    start_time: int
    pidfd_inode: int
    incarnation: int
    registered_at: Time
    last_updated: Time
    revision: int
    metadata: MetadataDocument
    health_source: HealthSource | None
    gauges: dict[str, float]
    claims: list[ClaimDocument]
    owned_by: OwningMemberDocument | None = None
    host: str = ""
    reach: Reach = Reach.here
    origin: OriginDocument | None = None
    fencing_token: int = 0


class EventDocument(msgspec.Struct, frozen=True):
    """One change as a watch reports it, or, with the kind ``snapshot``, one entry of the watch's snapshot.

    `at` is when it happened, in UTC; `entry` the entry after it, or the last one where it ended, None for ``lagged``
    and for changes of a host (``unreachable``, ``returned``, ``whole``), whose name is `host`;
    `previous` the entry before it, where it goes on; `exit` is how the process of an entry that died ended, and
    `time_known` is false where it died at some time before `at`, as in a departure.
    """

    kind: EventKind
    revision: int
    at: Time
    id: str | None
    entry: EntryDocument | None
    previous: EntryDocument | None
    exit: int | None = None
    host: str = ""
    time_known: bool = True


class DepartureDocument(msgspec.Struct, frozen=True):
    """How an entry ended: the fields of `adsum.Departure`, with the id in front. `detection` is None where there is no
    such figure. `exit` is an exit code or the negative number of a signal; None where no process died, and where it is
    not known, or not yet. `time_known` is false where `at` is when a death was noticed, and the process died at some
    time before."""

    id: str
    how: str
    at: Time
    detection: float | None
    entry: EntryDocument
    exit: int | None = None
    time_known: bool = True


class RegistryDocument(msgspec.Struct, frozen=True):
    """A whole registry `at` one time: its figures, how many entries there are by namespace, type and health status, the
    living members, and the latest departures, newest first."""

    at: Time
    folder: str
    stats: Stats
    namespaces: dict[str, int]
    types: dict[str, int]
    health: dict[str, int]
    entries: list[EntryDocument]
    departures: list[DepartureDocument]


class NamespaceDocument(msgspec.Struct, frozen=True):
    """A namespace: how many living members it has, and how many of them have each health status."""

    namespace: str
    members: int
    healthy: int
    degraded: int
    unhealthy: int


class UnregistrationDocument(msgspec.Struct, frozen=True):
    """The result of unregistering `id`; False where nothing was registered under it."""

    id: str
    unregistered: bool


class GoneDocument(msgspec.Struct, frozen=True):
    """The end of a wait until the registration under `id` has ended. `entry` is what it was when the wait began; None
    where nothing was registered."""

    id: str
    entry: EntryDocument | None


class AuditDocument(msgspec.Struct, frozen=True):
    """The violations of the invariants in one snapshot; none where the tables are sound."""

    folder: str
    violations: list[str]


class RegistrarDocument(msgspec.Struct, frozen=True):
    """The registrar that serves a folder, and whether this call started it."""

    folder: str
    pid: int | None
    started: bool


class CheckDocument(msgspec.Struct, frozen=True):
    """The result of one check of the machine, the folder or the registry; `remedy` is empty where all is well."""

    check: str
    level: Literal["ok", "warning", "problem"]
    says: str
    remedy: str


class ChecksDocument(msgspec.Struct, frozen=True):
    """The results of all checks; `healthy` where none found a problem."""

    healthy: bool
    checks: list[CheckDocument]


# The documents that are an answer or a part of one. `Stats` needs no struct of its own.
DOCUMENTS = (
    EntryDocument,
    EventDocument,
    DepartureDocument,
    Stats,
    RegistryDocument,
    NamespaceDocument,
    UnregistrationDocument,
    GoneDocument,
    AuditDocument,
    RegistrarDocument,
    ChecksDocument,
    BridgeDocument,
    HostsDocument,
)


def entry_document(entry: Entry) -> EntryDocument:
    """The document of an entry.

    >>> from adsum.views import documents
    >>> documents.entry_document(registry.register("planner-1").entry).id
    'default/here/planner-1'
    """
    return EntryDocument(
        id=str(entry.process_id),
        process_id=ProcessIdDocument(*entry.process_id),
        pid=entry.pid,
        start_time=entry.start_time,
        pidfd_inode=entry.pidfd_inode,
        incarnation=entry.incarnation,
        registered_at=entry.registered_at,
        last_updated=entry.last_updated,
        revision=entry.revision,
        metadata=_metadata_document(entry.metadata),
        health_source=entry.health_said_by,
        gauges=entry.gauges,
        claims=[ClaimDocument(*msgspec.structs.astuple(record)) for record in entry.claims],
        owned_by=None if entry.owned_by is None else _owning_member_document(entry.owned_by),
        host=entry.host,
        reach=entry.reach,
        origin=None if entry.origin is None else _origin_document(entry.origin),
        fencing_token=entry.fencing_token,
    )


def _origin_document(origin: Origin) -> OriginDocument:
    fields = msgspec.structs.asdict(origin)
    return OriginDocument(**fields | {"epoch": str(origin.epoch)})


def _owning_member_document(owned_by: OwningMember) -> OwningMemberDocument:
    return OwningMemberDocument(ProcessIdDocument(*owned_by.process_id), owned_by.incarnation, *owned_by.owner)


def _metadata_document(metadata: Metadata) -> MetadataDocument:
    return MetadataDocument(
        type=metadata.type,
        capabilities=sorted_names(metadata.capabilities),
        resources=metadata.resources,
        coordination_variables=sorted_names(metadata.coordination_variables),
        health_status=metadata.health_status,
        node_affinity=metadata.node_affinity,
        created_at=metadata.created_at,
        last_health_check=metadata.last_health_check,
        endpoint=metadata.endpoint,
        custom=metadata.custom,
        heartbeat=metadata.heartbeat,
        gauges=metadata.gauges,
        slots=metadata.slots,
        description=metadata.description,
        version=metadata.version,
        protocols=sorted_names(metadata.protocols),
        doing=metadata.doing,
    )


def event_document(event: Event, at: datetime, *, time_known: bool = True) -> EventDocument:
    """The document of an event that happened `at` a UTC time, or was noticed then.

    >>> from adsum.views import documents
    >>> with registry.watch() as watch:
    ...     registration = registry.register("planner-1")
    ...     event = watch.next(timeout=10)
    >>> documents.event_document(event, event.entry.last_updated).kind.value
    'registered'
    """
    entry, previous = event.entry, event.previous
    return EventDocument(
        EventKind(event.kind),
        int(event.revision),
        at,
        None if entry is None else str(entry.process_id),
        None if entry is None else entry_document(entry),
        None if previous is None else entry_document(previous),
        event.exit,
        event.host,
        time_known,
    )


def snapshot_document(entry: Entry) -> EventDocument:
    """The document of an entry that a watch's snapshot holds.

    >>> from adsum.views import documents
    >>> documents.snapshot_document(registry.register("planner-1").entry).kind.value
    'snapshot'
    """
    return EventDocument(
        EventKind.snapshot, entry.revision, entry.last_updated, str(entry.process_id), entry_document(entry), None
    )


def departure_document(departure: Departure) -> DepartureDocument:
    """The document of a departure.

    >>> from adsum.views import documents
    >>> registration = registry.register("planner-1")
    >>> ended = registration.unregister()
    >>> documents.departure_document(registry.departures(1)[0]).how
    'unregistered'
    """
    entry = departure.entry
    return DepartureDocument(
        str(entry.process_id),
        departure.how,
        departure.at,
        departure.detection or None,
        entry_document(entry),
        departure.exit,
        departure.time_known,
    )


def schema() -> dict[str, Any]:
    """The JSON schema of all documents, one definition each under ``$defs``. docs/schema.json is this schema; renew it
    with ``python -m adsum.views.documents > docs/schema.json``.

    >>> from adsum.views import documents
    >>> "EntryDocument" in documents.schema()["$defs"]
    True
    """
    _, components = msgspec.json.schema_components(DOCUMENTS, ref_template="#/$defs/{name}")
    for component in components.values():
        if "description" in component:
            component["description"] = _description(component["description"])
    return {"$schema": SCHEMA_DIALECT, "title": "Documents of adsum", "$defs": components}


def _description(docstring: str) -> str:
    """The prose of a docstring. Python 3.13 is the first that strips the indentation of docstrings itself, and the
    schema must not depend on the version; examples in Python are of no use to readers of a schema."""
    return inspect.cleandoc(docstring).partition("\n\n>>> ")[0]


if __name__ == "__main__":
    import sys

    sys.stdout.write(msgspec.json.format(msgspec.json.encode(schema()), indent=2).decode() + "\n")
