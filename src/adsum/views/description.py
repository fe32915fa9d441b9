"""What an event says in words: what happened, to which entry, and which fields changed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, TypeAlias

import msgspec

from ..model import Departure, Entry, Event, Kind, Metadata, ProcessId
from ..registry import Registry
from . import words
from .documents import EventDocument, event_document
from .order import sorted_names

# A longer value is cut; `adsum show` prints it whole.
MAX_VALUE_CHARACTERS = 60
LAGGED = (
    "changes were missed: the history does not reach back to them, or the registry was made anew. Read the entries "
    "again; events go on from here"
)

# What became of another host of the cluster, for all of its members.
HOST_EVENTS = {
    Kind.unreachable: "the host cannot be reached: its members are not found, and nothing says that they have died",
    Kind.returned: "the host can be reached again; what its members did meanwhile is still to come",
    Kind.whole: "all members of the host are here",
}

# How long after a death a report waits for the exit: parents mostly reap at once.
EXIT_SECONDS = 0.1
_LOOK_SECONDS = 0.005
# How many departures are read first.
_NEWEST = 32

_ENDS = {
    "left": "its host left the cluster",
    "unreachable_forgotten": "its host was unreachable for long, and was forgotten",
    "name_lost": "another host has its name in the whole cluster",
}

# Which registration it was. A registry that is made anew counts incarnations from the beginning.
_RegistrationKey: TypeAlias = tuple[ProcessId, int, datetime]


class Departures:
    """When and how entries ended, which an event does not carry.

    `exit_seconds`: how long after a death `with_exit` waits for the exit; 0 for a caller that must not wait.

    >>> from adsum.views import description
    >>> registration = registry.register("planner-1")
    >>> ended = registration.unregister()
    >>> description.Departures(registry).of(registration.entry).how
    'unregistered'
    """

    def __init__(self, registry: Registry, exit_seconds: float = EXIT_SECONDS) -> None:
        self._registry = registry
        self._exit_seconds = exit_seconds
        self._known: dict[_RegistrationKey, Departure] = {}

    def of(self, entry: Entry) -> Departure | None:
        """The departure of an entry that has ended; None where it is too old to be kept.

        >>> from adsum.views import description
        >>> description.Departures(registry).of(registry.register("planner-1").entry) is None
        True
        """
        wanted = _key(entry)
        # Read again only where it is not known: one read knows a thousand entries that end together. Most have just
        # ended, and are among the newest.
        for limit in (_NEWEST, None):
            if wanted not in self._known:
                self._known = {_key(departure.entry): departure for departure in self._registry.departures(limit)}
        return self._known.get(wanted)

    def forget(self) -> None:
        """Read again at the next question: an exit may have become known.

        >>> from adsum.views import description
        >>> departures = description.Departures(registry)
        >>> departures.forget()
        """
        self._known.clear()

    def with_exit(self, entry: Entry) -> Departure | None:
        """The departure of an entry that died. Waits a moment for its exit, counted from the death, so that many deaths
        together cost one moment.

        >>> from adsum.views import description
        >>> registration = registry.register("planner-1")
        >>> description.Departures(registry).with_exit(registration.entry) is None
        True
        """
        departure = self.of(entry)
        until = time.monotonic() + self._exit_seconds
        while departure is not None and departure.exit is None and time.monotonic() < until:
            if words.seconds_since(departure.at) > self._exit_seconds:
                break
            time.sleep(_LOOK_SECONDS)
            self._known.clear()
            departure = self.of(entry)
        return departure


def _key(entry: Entry) -> _RegistrationKey:
    return entry.process_id, entry.incarnation, entry.registered_at


class EventReport:
    """An event, with the UTC time `at` which it happened. `time_known` is False where it is the end of a process that
    died at some time before.

    >>> from adsum.views import description
    >>> with registry.watch() as watch:
    ...     registration = registry.register("planner-1")
    ...     report = description.EventReport(watch.next(timeout=10), description.Departures(registry))
    >>> report.description(), report.at == registration.entry.last_updated
    ('pid ..., agent, healthy', True)
    """

    def __init__(self, event: Event, departures: Departures) -> None:
        ended = event.entry is not None and event.previous is None and event.kind in (Kind.died, Kind.unregistered)
        self.departure = None
        if ended and event.entry is not None:
            read = departures.with_exit if event.kind is Kind.died else departures.of
            self.departure = read(event.entry)
        if self.departure is not None and event.exit is None:
            event = event.with_exit(self.departure.exit)
        self.event = event
        if self.departure is not None:
            self.at = self.departure.at
        elif event.entry is not None and not ended:
            self.at = event.entry.last_updated
        else:
            self.at = datetime.now(UTC)
        self.time_known = not ended if self.departure is None else self.departure.time_known

    def document(self) -> EventDocument:
        """The event as a document.

        >>> from adsum.views import description
        >>> with registry.watch() as watch:
        ...     registration = registry.register("planner-1")
        ...     report = description.EventReport(watch.next(timeout=10), description.Departures(registry))
        >>> report.document().id
        'default/here/planner-1'
        """
        return event_document(self.event, self.at, time_known=self.time_known)

    def description(self) -> str:
        """What changed, for people.

        >>> from adsum.views import description
        >>> registration = registry.register("planner-1")
        >>> with registry.watch() as watch:
        ...     updated = registration.update(endpoint="http://127.0.0.1:9001")
        ...     report = description.EventReport(watch.next(timeout=10), description.Departures(registry))
        >>> report.description()
        'endpoint none -> http://127.0.0.1:9001'
        """
        kind, entry, revision, previous = self.event
        if self.event.host:
            return f"{HOST_EVENTS[kind]} (revision {revision})"
        if entry is None:
            return f"{LAGGED} (revision {revision})"
        if previous is not None:
            prefix = {Kind.registered: "matches now: ", Kind.unregistered: "matches no more: "}.get(kind, "")
            return prefix + ("; ".join(differences(previous, entry)) or "written again, the same")
        if kind is Kind.died and self.departure is not None:
            how = "" if self.event.exit is None else f", {words.ending(self.event.exit)}"
            return f"{self._lifetime(entry)}{how}, {removal(self.departure)}"
        if kind is Kind.registered:
            return summary(entry)
        return self._lifetime(entry) + self._why()

    def _why(self) -> str:
        """Why the entry of a member ended that was not unregistered."""
        how = "" if self.departure is None else self.departure.how
        if how in _ENDS:
            return f", {_ENDS[how]}"
        owned_by = None if self.event.entry is None else self.event.entry.owned_by
        return f", its owner {owned_by.process_id} died" if how == "owner_died" and owned_by is not None else ""

    def _lifetime(self, entry: Entry) -> str:
        return f"pid {entry.pid}{_on_host(entry)}, after {words.lifetime(entry, self.at, is_exact=self.time_known)}"


def summary(entry: Entry) -> str:
    """An entry in a few words.

    >>> from adsum.views import description
    >>> description.summary(registry.register("planner-1", capabilities={"planning"}).entry)
    'pid ..., agent, healthy, can planning'
    """
    metadata = entry.metadata
    can = f", can {', '.join(sorted_names(metadata.capabilities))}" if metadata.capabilities else ""
    endpoint = f", at {metadata.endpoint}" if metadata.endpoint else ""
    return f"pid {entry.pid}{_on_host(entry)}, {metadata.type}, {metadata.health_status}{can}{endpoint}"


def _on_host(entry: Entry) -> str:
    return f" on {entry.host}" if entry.host else ""


def differences(before: Entry, after: Entry) -> Iterator[str]:
    """How the second entry differs from the first, field by field.

    >>> from adsum.views import description
    >>> registration = registry.register("planner-1", capabilities={"planning"})
    >>> before = registration.entry
    >>> list(description.differences(before, registration.update(capabilities={"search"})))
    ['capabilities +search -planning']
    """
    if before.incarnation != after.incarnation:
        yield f"handed over: pid {before.pid} -> {after.pid}, incarnation {before.incarnation} -> {after.incarnation}"
    yield from _in_health(before, after)
    yield from _in_claims(before, after)
    yield from _in_owner(before, after)
    old, new = before.metadata, after.metadata
    if old.capabilities != new.capabilities:
        yield f"capabilities {_in_set(old.capabilities, new.capabilities)}"
    if old.coordination_variables != new.coordination_variables:
        yield f"coordination {_in_set(old.coordination_variables, new.coordination_variables)}"
    if old.protocols != new.protocols:
        yield f"protocols {_in_set(old.protocols, new.protocols)}"
    for name in ("resources", "custom"):
        yield from _in_map(name, getattr(old, name), getattr(new, name))
    for name in ("type", "endpoint", "node_affinity", "heartbeat", "slots", "created_at"):
        if getattr(old, name) != getattr(new, name):
            yield f"{name} {_value(getattr(old, name))} -> {_value(getattr(new, name))}"
    for name in ("description", "version", "doing"):
        was, now = getattr(old, name), getattr(new, name)
        if was != now:
            yield f"{name} {_value(was or None)} -> {_value(now or None)}"


def _in_health(before: Entry, after: Entry) -> Iterator[str]:
    old, new = before.metadata, after.metadata
    if old.health_status != new.health_status:
        yield f"health {old.health_status} -> {new.health_status} ({words.source(after)})"
    elif before.health_source != after.health_source:
        yield f"health {new.health_status} ({words.source(after)})"
    elif old.last_health_check != new.last_health_check and _same_otherwise(old, new):
        yield f"still {new.health_status}"


def _in_owner(before: Entry, after: Entry) -> Iterator[str]:
    if before.owned_by != after.owned_by:
        yield f"owned by {words.owning_member(before) or 'none'} -> {words.owning_member(after) or 'none'}"


def _in_claims(before: Entry, after: Entry) -> Iterator[str]:
    old, new = set(before.claims), set(after.claims)
    if old != new:
        words = [f"claimed by {one.pid}" for one in after.claims if one not in old]
        words += [f"released by {one.pid}" for one in before.claims if one not in new]
        yield f"{', '.join(words)} ({len(new)} of {after.metadata.slots or 1} slots)"


def _same_otherwise(old: Metadata, new: Metadata) -> bool:
    return msgspec.structs.replace(old, last_health_check=new.last_health_check) == new


def _in_set(old: frozenset[str], new: frozenset[str]) -> str:
    added, removed = sorted_names(new - old), sorted_names(old - new)
    return " ".join([*(f"+{name}" for name in added), *(f"-{name}" for name in removed)])


def _in_map(field: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    for name in sorted_names({*old, *new}):
        if name not in new:
            yield f"{field}.{name} removed"
        elif name not in old or old[name] != new[name]:
            was = f"{_value(old[name])} -> " if name in old else ""
            yield f"{field}.{name} {was}{_value(new[name])}"


def _value(value: object) -> str:
    """A value on one line, cut where it is long."""
    text = "none" if value is None else value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if len(text) <= MAX_VALUE_CHARACTERS else f"{text[: MAX_VALUE_CHARACTERS - 3]}..."


def lived(departure: Departure) -> str:
    """How long the member lived: ``3s``; ``<=3s`` where it died at an unknown time before the end of its entry.

    >>> from adsum.views import description
    >>> registration = registry.register("worker-1")
    >>> ended = registration.unregister()
    >>> description.lived(registry.departures(1)[0])
    '0s'
    """
    return words.lifetime(departure.entry, departure.at, is_exact=departure.time_known)


def removal(departure: Departure) -> str:
    """How soon after its death an entry was removed; where no figure says so, what is known of the death.

    >>> from adsum.views import description
    >>> with registry.watch() as watch, subprocess.Popen(["sleep", "60"]) as child:
    ...     registration = registry.register("worker-1", child)
    ...     child.kill()
    ...     events = [watch.next(timeout=10) for _ in range(2)]
    >>> description.removal(registry.departures(1)[0])
    'removed ... ms after the kernel reported the death'
    """
    if departure.how == "replaced":
        return "found dead when another process took its id"
    if departure.entry.origin is not None:
        return "reported by its host"
    if not departure.detection:
        return "died while no registrar ran"
    return f"removed {departure.detection * 1000:.2f} ms after the kernel reported the death"
