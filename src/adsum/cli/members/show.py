"""``adsum show``: shows one entry with all its fields."""

from __future__ import annotations

import msgspec

from ... import Registry
from ...errors import NotRegistered, OtherHost, PermissionDenied
from ...model import Entry
from ...views import words
from ...views.documents import entry_document
from ...views.order import sorted_names
from ..absence import hint
from ..options import DEFAULT_REGISTRY, Id, Json, RegistryOptions, Unreachable
from ..output import render


def show(
    id: Id,
    /,
    *,
    unreachable: Unreachable = False,
    json: Json = False,
    options: RegistryOptions = DEFAULT_REGISTRY,
) -> int:
    """Show all fields of one living member's entry.

    ```console
    $ adsum show planner --json
    ```

    Exit code 1 where no living member is registered under ID.
    """
    with options.open() as registry:
        process_id = options.parse_id(id, registry)
        entry = registry.lookup(process_id, unreachable=unreachable)
        if entry is None:
            raise NotRegistered(
                f"{process_id} is not registered (or its process has died); adsum ls lists the members"
                + hint(process_id, registry, options)
            )
        if json:
            print_entry(entry, json=True)
        else:
            render.print_pairs(_pairs(entry, _usage(registry, entry)))
    return 0


def _usage(registry: Registry, entry: Entry) -> str:
    """What its process uses, in words; nothing where that cannot be read, is of another host, or has just died."""
    try:
        usage = registry.usage(entry.process_id)
    except (NotRegistered, OtherHost, PermissionDenied):
        return ""
    return f", {usage.cpu_seconds:.1f} s CPU, {words.size(usage.memory_bytes)}"


def print_entry(entry: Entry, *, json: bool) -> None:
    """Print one entry with all its fields."""
    if json:
        render.print_json(entry_document(entry))
    else:
        render.print_pairs(_pairs(entry))


def _of_cluster(entry: Entry) -> dict[str, str]:
    """What there is to say in a cluster: the host of a member of another one, and a name for the whole cluster."""
    found = {"host": f"{render.printable_id(entry.host)}, {entry.reach}"} if entry.host else {}
    token = str(entry.fencing_token) if entry.fencing_token > 0 else "none yet, the name was handed over"
    return {**found, "fencing token": token} if entry.fencing_token else found


def _pairs(entry: Entry, usage: str = "") -> dict[str, str]:
    metadata = entry.metadata
    return {
        "id": render.printable_id(str(entry.process_id)),
        **_of_cluster(entry),
        "type": metadata.type,
        "description": metadata.description,
        "version": metadata.version,
        "doing": metadata.doing,
        "health": words.health(entry, always_by=True),
        "heartbeat": words.heartbeat(entry),
        "capabilities": ", ".join(sorted_names(metadata.capabilities)),
        "endpoint": metadata.endpoint or "",
        "protocols": ", ".join(sorted_names(metadata.protocols)),
        "resources": ", ".join(f"{name}={value}" for name, value in metadata.resources.items()),
        "gauges": words.numbers(entry.gauges),
        "coordination": ", ".join(sorted_names(metadata.coordination_variables)),
        "node affinity": ", ".join(metadata.node_affinity),
        "custom": msgspec.json.encode(metadata.custom).decode() if metadata.custom else "",
        "slots": words.slots(entry),
        "owned by": render.printable_id(words.owning_member(entry)),
        "process": f"{entry.pid}, registered {words.ago(entry.registered_at)} ago{usage}",
        "created": words.second(metadata.created_at),
        "registered": words.second(entry.registered_at),
        "updated": words.second(entry.last_updated),
        "incarnation": str(entry.incarnation),
        "revision": str(entry.revision),
    }
