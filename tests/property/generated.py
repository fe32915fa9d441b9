"""Strategies for the records of the registry, over all that its rules allow."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import strategies as st

from adsum._store.layout import Record
from adsum.model import Entry, HealthSource, HealthStatus, Metadata, Owner, ProcessId, ProcessType

# Not text that UTF-8 cannot say (surrogates), and no NUL, which separates the parts of a key.
text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12)
process_ids = st.builds(ProcessId, text, text, text)
owners = st.builds(Owner, *[st.integers(0, 2**64 - 1)] * 3)
numbers = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False)
scalars = st.none() | st.booleans() | numbers | text | st.binary(max_size=20)
plain = st.recursive(scalars, lambda part: st.lists(part) | st.dictionaries(text, part), max_leaves=8)
times = st.datetimes(timezones=st.just(UTC))
metadata = st.builds(
    Metadata,
    type=st.sampled_from(ProcessType),
    capabilities=st.frozensets(text, max_size=5),
    resources=st.dictionaries(text, numbers | text, max_size=3),
    coordination_variables=st.frozensets(text, max_size=3),
    health_status=st.sampled_from(HealthStatus),
    node_affinity=st.lists(text, max_size=3),
    created_at=times,
    last_health_check=times,
    endpoint=st.none() | text,
    custom=st.dictionaries(text, plain, max_size=3),
    description=st.just("") | text,
    version=st.just("") | text,
    protocols=st.frozensets(text, max_size=3),
    doing=st.just("") | text,
)
words = st.integers(0, 2**64 - 1)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def entry(process_id: ProcessId, owner: Owner, incarnation: int, fields: Metadata) -> Entry:
    return Entry(process_id, *owner, incarnation, NOW, NOW, incarnation, fields)


entries = st.builds(entry, process_ids, owners, words, metadata)
_before_late = st.none() | st.tuples(st.sampled_from(HealthStatus), st.sampled_from(HealthSource))
records = st.builds(Record, entries, st.binary(max_size=16), _before_late)
