"""The rules of the contract about metadata and limits, applied one by one."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from adsum.model import Limits

from .asks import Fields, Id, Item
from .expected import Refused, Turn
from .reading import PlainEntry, encoded_metadata

EPOCH = datetime.fromtimestamp(0, UTC)
DEFAULTS: Fields = {
    "type": "agent",
    "capabilities": frozenset(),
    "resources": {},
    "coordination_variables": frozenset(),
    "health_status": "healthy",
    "node_affinity": [],
    "created_at": EPOCH,
    "last_health_check": EPOCH,
    "endpoint": None,
    "custom": {},
    "heartbeat": None,
    "gauges": {},
    "slots": None,
    "description": "",
    "version": "",
    "protocols": frozenset(),
    "doing": "",
}


class Rules:
    """The part of the model that refuses."""

    limits: Limits
    holders: Mapping[Id, PlainEntry]
    _turn: Turn

    def _new_metadata(self, item: Item) -> Fields:
        if item.flaw:
            raise Refused(item.flaw)
        checked = item.fields.get("last_health_check", self._turn.utc)
        created = item.fields.get("created_at", min(checked, self._turn.utc))
        metadata = {**DEFAULTS, **item.fields, "created_at": created, "last_health_check": checked}
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

    def _require_room(self, entries: int) -> None:
        most = self.limits.max_entries
        if most is not None and len(self.holders) + entries > most:
            raise Refused("registry_full")
