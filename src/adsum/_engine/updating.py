"""Updates of entries that exist, for one request or several at once."""

from collections.abc import Sequence

import msgspec

from .._store.layout import BeforeLate, Record
from .._validation import UNSET, MetadataFields, merge
from ..errors import InvalidMetadata
from ..model import Entry, HealthSource, Metadata
from .admission import NewMetadata
from .batch import Call
from .draft import without_lateness
from .health import HEALTH_FIELDS, health_source
from .round import Round


class PreparedUpdate(msgspec.Struct, frozen=True):
    """A record, what an update makes of it, and whether that counts as a heartbeat."""

    record: Record
    metadata: Metadata
    source: HealthSource
    before_late: BeforeLate | None
    is_heartbeat: bool
    may_grow: bool


def prepare(
    round: Round, record: Record, fields: MetadataFields, call: Call, *, checked: bool = False
) -> PreparedUpdate:
    """The update of a record by checked fields; `checked`: its `last_health_check` becomes now."""
    entry, now = record.entry, round.now.utc
    if checked:
        # Never before an earlier check, whatever the wall clock does.
        now = max(now, entry.metadata.last_health_check)
        fields = MetadataFields(health_status=fields.health_status, last_health_check=now)
    given = fields.given()
    if "gauges" in given:
        raise InvalidMetadata(
            "metadata.gauges: the names are given at the registration, and stay; set a value with "
            "registration.gauges[name], or registry.set_gauge(id, name, value)"
        )
    # A member that promises no heartbeat any more is not late with one.
    basis = without_lateness(record) if given.get("heartbeat", UNSET) is None else record
    metadata = merge(basis.entry.metadata, given, now)
    may_grow = HEALTH_FIELDS.issuperset(given)
    if "health_status" not in given:
        return PreparedUpdate(record, metadata, basis.entry.health_source, basis.before_late, False, may_grow)
    # A report of its health counts as a heartbeat, also when another process makes it.
    return PreparedUpdate(record, metadata, health_source(fields, call, entry.owner), None, True, may_grow)


def apply(round: Round, prepared: Sequence[PreparedUpdate]) -> list[Entry]:
    """Carry out the updates, or none of them where one breaks a limit. Returns the new entries."""
    round.admission.check_updates([NewMetadata(one.record.entry, one.metadata, one.may_grow) for one in prepared])
    round.heartbeats += [one.record.entry.incarnation for one in prepared if one.is_heartbeat]
    return [round.draft.replace(one.record, one.metadata, one.source, one.before_late) for one in prepared]
