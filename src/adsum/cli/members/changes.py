"""What an event says, in words and as JSON: what happened, to whom, and what is different."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, TypeAlias

import msgspec

from ...model import Departure, Entry, Event, Kind, Metadata, ProcessId
from ...registry import Registry
from ..output import render

# A value that is longer is cut; adsum show has it whole.
LONG = 60
LAGGED = (
    "changes were missed: the history does not reach back to them, or this is another registry. Read again who is "
    "there; events go on from here"
)

# Which entry it was. A registry that is made anew counts incarnations from the beginning.
_WhichOne: TypeAlias = tuple[ProcessId, int, datetime]


class Ends:
    """When and how entries ended, which an event does not tell."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._known: dict[_WhichOne, Departure] = {}

    def of(self, entry: Entry) -> Departure | None:
        """That of an entry which has ended; None where it ended too long ago to be known."""
        wanted = _which(entry)
        if wanted not in self._known:
            # Read anew only then: of a thousand that end together, one reading knows all.
            self._known = {_which(departure.entry): departure for departure in self._registry.departures()}
        return self._known.get(wanted)


def _which(entry: Entry) -> _WhichOne:
    return entry.process_id, entry.incarnation, entry.registered_at


class EventReport:
    """An event, with the moment at which it happened."""

    def __init__(self, event: Event, ends: Ends) -> None:
        self.event = event
        ended = event.entry is not None and event.previous is None and event.kind in (Kind.died, Kind.unregistered)
        self.end = ends.of(event.entry) if ended and event.entry is not None else None
        if self.end is not None:
            self.at = self.end.at
        elif event.entry is not None and not ended:
            self.at = event.entry.last_updated
        else:
            self.at = datetime.now(UTC)

    def document(self) -> dict[str, Any]:
        """For JSON."""
        kind, entry, revision, previous = self.event
        return {
            "kind": kind,
            "revision": int(revision),
            "at": self.at,
            "id": None if entry is None else str(entry.process_id),
            "entry": None if entry is None else render.entry_document(entry),
            "previous": None if previous is None else render.entry_document(previous),
        }

    def words(self) -> str:
        """What is different, for people."""
        kind, entry, revision, previous = self.event
        if entry is None:
            return f"{LAGGED} (revision {revision})"
        if previous is not None:
            prefix = {Kind.registered: "matches now: ", Kind.unregistered: "matches no more: "}.get(kind, "")
            return prefix + ("; ".join(differences(previous, entry)) or "written again, the same")
        if kind is Kind.died and self.end is not None:
            return f"{self._life(entry)}, gone {self.end.detection * 1000:.2f} ms after the kernel's word"
        return summary(entry) if kind is Kind.registered else self._life(entry)

    def _life(self, entry: Entry) -> str:
        lived = (self.at - entry.registered_at).total_seconds()
        return f"pid {entry.pid}, after {render.duration(lived)}"


def summary(entry: Entry) -> str:
    """An entry in a few words."""
    metadata = entry.metadata
    can = f", can {', '.join(sorted(metadata.capabilities))}" if metadata.capabilities else ""
    endpoint = f", at {metadata.endpoint}" if metadata.endpoint else ""
    return f"pid {entry.pid}, {metadata.type}, {metadata.health_status}{can}{endpoint}"


def differences(before: Entry, after: Entry) -> Iterator[str]:
    """What the second has that the first has not, field by field."""
    if before.incarnation != after.incarnation:
        yield f"handed over: pid {before.pid} -> {after.pid}, incarnation {before.incarnation} -> {after.incarnation}"
    yield from _in_health(before, after)
    old, new = before.metadata, after.metadata
    if old.capabilities != new.capabilities:
        yield f"capabilities {_in_set(old.capabilities, new.capabilities)}"
    if old.coordination_variables != new.coordination_variables:
        yield f"coordination {_in_set(old.coordination_variables, new.coordination_variables)}"
    for name in ("resources", "custom"):
        yield from _in_map(name, getattr(old, name), getattr(new, name))
    for name in ("type", "endpoint", "node_affinity", "heartbeat", "created_at"):
        if getattr(old, name) != getattr(new, name):
            yield f"{name} {_value(getattr(old, name))} -> {_value(getattr(new, name))}"


def _in_health(before: Entry, after: Entry) -> Iterator[str]:
    old, new = before.metadata, after.metadata
    if old.health_status != new.health_status:
        yield f"health {old.health_status} -> {new.health_status} ({render.source(after)})"
    elif before.health_source != after.health_source:
        yield f"health {new.health_status} ({render.source(after)})"
    elif old.last_health_check != new.last_health_check and _same_otherwise(old, new):
        yield f"still {new.health_status}"


def _same_otherwise(old: Metadata, new: Metadata) -> bool:
    return msgspec.structs.replace(old, last_health_check=new.last_health_check) == new


def _in_set(old: frozenset[str], new: frozenset[str]) -> str:
    return " ".join([*(f"+{name}" for name in sorted(new - old)), *(f"-{name}" for name in sorted(old - new))])


def _in_map(field: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    for name in sorted({*old, *new}):
        if name not in new:
            yield f"{field}.{name} removed"
        elif name not in old or old[name] != new[name]:
            was = f"{_value(old[name])} -> " if name in old else ""
            yield f"{field}.{name} {was}{_value(new[name])}"


def _value(value: object) -> str:
    """A value on one line, cut where it is long."""
    text = "none" if value is None else value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if len(text) <= LONG else f"{text[: LONG - 3]}..."
