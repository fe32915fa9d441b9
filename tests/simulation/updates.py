"""The part of the model that changes entries: updates of one or several, and amendments."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from adsum.model import Owner

from .asks import Ask, Fields, Id
from .expected import Expected, Refused
from .reading import PlainEntry, encoded_metadata
from .rules import DEFAULTS, Rules

_HEALTH = {"health_status", "last_health_check"}


class _Prepared(NamedTuple):
    entry: PlainEntry
    metadata: Fields
    health: Fields
    is_heartbeat: bool
    may_grow: bool


class Updates(Rules):
    """What `Model` inherits. It carries out what these methods ask for."""

    _heartbeats: list[int]

    def _holder(self, ask: Ask) -> PlainEntry:
        raise NotImplementedError

    def _living(self, process_id: Id) -> PlainEntry | None:
        raise NotImplementedError

    def _believe(self, position: int) -> None:
        raise NotImplementedError

    def _replace(self, before: PlainEntry, metadata: Fields, **health: Any) -> PlainEntry:
        raise NotImplementedError

    def _remove(self, entry: PlainEntry, how: str) -> None:
        raise NotImplementedError

    def _succeed(self, freed: Sequence[PlainEntry]) -> None:
        raise NotImplementedError

    def _updated(self, ask: Ask, position: int, wanted: Sequence[tuple[PlainEntry, Fields]]) -> tuple[PlainEntry, ...]:
        """Update all of these entries, or none."""
        prepared = [self._prepare(ask, entry, given) for entry, given in wanted]
        for one in prepared:
            self._require_limits(one.metadata)
        need_room = [one for one in prepared if not one.may_grow]
        if any(encoded_metadata(one.metadata) > encoded_metadata(one.entry.metadata) for one in need_room):
            self._believe(position)
        self._heartbeats += [one.entry.incarnation for one in prepared if one.is_heartbeat]
        return tuple(self._replace(one.entry, one.metadata, **one.health) for one in prepared)

    def _prepare(self, ask: Ask, entry: PlainEntry, given: Fields) -> _Prepared:
        health: Fields = {}
        if ask.checked:
            checked = max(self._turn.utc, entry.metadata["last_health_check"])
            status = {"health_status": given.get("health_status", entry.metadata["health_status"])}
            metadata = {**entry.metadata, **status, "last_health_check": checked}
        elif "gauges" in given:
            raise Refused("invalid_metadata")
        else:
            health_status = entry.metadata["health_status"]
            if given.get("heartbeat", ...) is None and entry.before_late is not None:
                # A member that promises no heartbeat any more is not late with one.
                health_status, source = entry.before_late
                health = {"source": source, "before_late": None}
            metadata = {**entry.metadata, "health_status": health_status, **given}
            if "created_at" in given and "last_health_check" not in given:
                late = metadata["created_at"] > entry.metadata["last_health_check"]
                metadata["last_health_check"] = self._turn.utc if late else entry.metadata["last_health_check"]
            self._require_times(given, metadata)
        may_grow = ask.checked or set(given) <= _HEALTH
        if "health_status" not in given:
            return _Prepared(entry, metadata, health, False, may_grow)
        source = "process" if ask.caller in (None, Owner(*entry.owner)) else "other"
        return _Prepared(entry, metadata, {"source": source, "before_late": None}, True, may_grow)

    def _amend_or_change_many(self, ask: Ask, position: int) -> Expected:
        match ask.kind:
            case "amend":
                return self._amend(ask, position)
            case "update_many":
                return self._update_many(ask, position)
            case _:
                return self._unregister_many(ask)

    def _amend(self, ask: Ask, position: int) -> Expected:
        item = ask.items[0]
        entry = self._holder(ask)
        if ask.if_revision not in (None, entry.revision):
            raise Refused("stale", entry)
        if item.flaw:
            raise Refused(item.flaw)
        given = dict(item.fields)
        for name, patch in ask.merged.items():
            present: Any = given.get(name, entry.metadata[name])
            given[name] = _merged(present, patch) if isinstance(present, Mapping) else _with_members(present, patch)
        for path, number in ask.added.items():
            name, _, rest = path.partition(".")
            steps = rest.split(".") if name == "custom" else [rest]
            given[name] = _added(given.get(name, entry.metadata[name]), steps, number)
        return Expected(self._updated(ask, position, [(entry, given)]))

    def _update_many(self, ask: Ask, position: int) -> Expected:
        ids = [item.id for item in ask.items]
        if any(item.flaw == "invalid_process_id" for item in ask.items) or len(set(ids)) < len(ids):
            raise Refused("invalid_process_id")
        for id in ids:
            self._living(id)
        entries = [entry for id in ids if (entry := self.holders.get(id)) is not None]
        if len(entries) < len(ids):
            raise Refused("not_registered")
        if any(item.flaw for item in ask.items):
            raise Refused("invalid_metadata")
        wanted = [(entry, item.fields) for entry, item in zip(entries, ask.items, strict=True)]
        return Expected(self._updated(ask, position, wanted))

    def _unregister_many(self, ask: Ask) -> Expected:
        if any(item.flaw == "invalid_process_id" for item in ask.items):
            raise Refused("invalid_process_id")
        removed = []
        for place, item in enumerate(ask.items):
            entry = self._living(item.id)
            if entry is not None and (place or ask.if_incarnation in (None, entry.incarnation)):
                self._remove(entry, "unregistered")
                removed.append(entry)
        self._succeed(removed)
        outlines = tuple(entry._replace(metadata=DEFAULTS) for entry in removed)
        return Expected(outlines, changed=bool(removed))


def _merged(present: object, patch: Mapping[str, Any]) -> Fields:
    """RFC 7396, as its text has it."""
    result = dict(present) if isinstance(present, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = _merged(result.get(name), value) if isinstance(value, Mapping) else value
    return result


def _with_members(present: frozenset[str], patch: Mapping[str, bool]) -> frozenset[str]:
    kept = {member for member in present if patch.get(member, True)}
    return frozenset(kept | {member for member, stays in patch.items() if stays})


def _added(present: object, steps: Sequence[str], number: int | float) -> Any:
    """`present` with a number added at the end of a path."""
    if not steps:
        if isinstance(present, bool) or not isinstance(present, (int, float)):
            raise Refused("invalid_metadata")
        total = present + number
        fits = -(2**63) <= total < 2**64 if isinstance(total, int) else math.isfinite(total)
        if not fits:
            raise Refused("invalid_metadata")
        return total
    if not isinstance(present, Mapping):
        raise Refused("invalid_metadata")
    return {**present, steps[0]: _added(present.get(steps[0], {} if steps[1:] else 0), steps[1:], number)}
