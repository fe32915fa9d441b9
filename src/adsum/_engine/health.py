"""Which process has set a health status, and the fields that report health."""

from __future__ import annotations

from .._validation import UNSET, MetadataFields
from ..model import HealthSource, Owner
from .batch import Call

# Fields that a full registry still takes: they hardly grow, and members have to be able to report their health.
HEALTH_FIELDS = frozenset({"health_status", "last_health_check"})


def health_source(fields: MetadataFields, call: Call, owner: Owner) -> HealthSource:
    """The source of a health status: a status that a call does not give is no word of the caller."""
    is_by_itself = fields.health_status is UNSET or call.caller is None or call.caller == owner
    return HealthSource.process if is_by_itself else HealthSource.other
