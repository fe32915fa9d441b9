"""Ids and metadata, checked without a registry."""

from __future__ import annotations

from collections import ChainMap, UserDict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adsum._validation import (
    MAX_ID_BYTES,
    UNSET,
    MetadataFields,
    check_limits,
    id_key,
    merge,
    new_metadata,
    parse_id,
    parse_metadata,
)
from adsum.errors import AdsumError, InvalidMetadata, InvalidProcessId
from adsum.model import Limits, Metadata, ProcessId

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
PART = st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), min_size=1, max_size=30)
IDS = st.builds(ProcessId, PART, PART, PART)


@given(IDS)
def test_an_id_is_its_key(id: ProcessId) -> None:
    """A valid id is taken as it is, and its key can be taken apart again."""
    assert parse_id(tuple(id), "other", "other") == id
    assert tuple(id_key(id).decode().split("\0")) == id


@given(IDS, IDS)
def test_keys_sort_as_ids_do(first: ProcessId, second: ProcessId) -> None:
    """The tables' order is the ids' order, and different ids have different keys."""
    assert (id_key(first) < id_key(second)) == (first < second)
    assert (id_key(first) == id_key(second)) == (first == second)


@given(st.text(max_size=600), st.text(max_size=10), st.text(max_size=10))
def test_any_text_is_an_id_or_refused(local: str, namespace: str, node: str) -> None:
    """There is no third outcome, and what is accepted keeps every rule of the specification."""
    try:
        id = parse_id(local, namespace, node)
    except InvalidProcessId:
        return
    assert id == (namespace, node, local)
    assert all(id)
    assert not any("\0" in part for part in id)
    assert len("".join(id).encode()) <= MAX_ID_BYTES


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.datetimes()
    | st.just({1, 2}),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.integers(), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.dictionaries(st.sampled_from([*MetadataFields.__struct_fields__, "unknown", "Ü"]), JSON, max_size=4)


@given(FIELDS)
def test_any_fields_are_metadata_or_refused(fields: dict[str, Any]) -> None:
    """Whatever is given is accepted, or `InvalidMetadata` whose message begins with a path; nothing else is raised."""
    try:
        parsed = parse_metadata(fields)
        new_metadata(parsed, NOW)
    except InvalidMetadata as error:
        assert str(error).startswith(("metadata", "key in metadata"))  # noqa: PT017 - one of two outcomes
    else:
        assert set(parsed.given()) == set(fields)


@pytest.mark.parametrize("kind", [dict, MappingProxyType, ChainMap, UserDict])
def test_any_mapping_is_checked_as_a_dict_is(kind: Callable[[dict[str, object]], Any]) -> None:
    """No name that is misspelled is left out silently."""
    assert parse_metadata(kind({"endpoint": "there"})).given() == {"endpoint": "there"}
    with pytest.raises(InvalidMetadata, match=r"metadata\.capabilites: no such field; do you mean capabilities\?"):
        parse_metadata(kind({"capabilites": {"x"}}))


@pytest.mark.parametrize("fields", [range(3), 5, None, "ab", [("endpoint", "there")], object()])
def test_what_is_no_mapping_is_refused(fields: Any) -> None:
    """Whatever msgspec would make of it."""
    with pytest.raises(InvalidMetadata, match="metadata: expected `dict`, got "):
        parse_metadata(fields)


def test_what_is_not_given_is_not_set() -> None:
    """Only the fields of the call are there; None is a value like any other."""
    assert parse_metadata({"endpoint": None}).given() == {"endpoint": None}
    assert parse_metadata({}).type is UNSET


@pytest.mark.parametrize(
    ("created", "checked", "stored"),
    [
        (None, None, (NOW, NOW)),
        (NOW - HOUR, None, (NOW - HOUR, NOW)),
        (None, NOW - HOUR, (NOW - HOUR, NOW - HOUR)),
        (NOW - 2 * HOUR, NOW - HOUR, (NOW - 2 * HOUR, NOW - HOUR)),
        (NOW, NOW, (NOW, NOW)),
        (NOW + HOUR, None, None),
        (None, NOW + HOUR, None),
        (NOW, NOW - HOUR, None),
    ],
)
def test_times_of_a_new_registration(
    created: datetime | None, checked: datetime | None, stored: tuple[datetime, datetime] | None
) -> None:
    """created_at <= last_health_check <= now, where what is not given makes way for what is."""
    fields = MetadataFields(created_at=created or UNSET, last_health_check=checked or UNSET)
    if stored is None:
        with pytest.raises(InvalidMetadata, match=r"metadata\.(created_at|last_health_check): "):
            new_metadata(fields, NOW)
    else:
        metadata = new_metadata(fields, NOW)
        assert (metadata.created_at, metadata.last_health_check) == stored


BASE = Metadata(created_at=NOW - 3 * HOUR, last_health_check=NOW - 2 * HOUR, endpoint="here")


def test_merging_nothing_is_the_same() -> None:
    """Without fields everything stays."""
    assert merge(BASE, MetadataFields().given(), NOW) == BASE


def test_a_later_creation_counts_as_checked_now() -> None:
    """A `created_at` after the last check, given alone, makes the check now; the order holds."""
    metadata = merge(BASE, MetadataFields(created_at=NOW - HOUR).given(), NOW)
    assert (metadata.created_at, metadata.last_health_check) == (NOW - HOUR, NOW)


def test_a_check_before_creation_is_refused() -> None:
    """A health check before the stored creation time is refused."""
    with pytest.raises(InvalidMetadata, match="created_at <= last_health_check must hold"):
        merge(BASE, MetadataFields(last_health_check=NOW - 4 * HOUR).given(), NOW)


def test_a_stored_time_may_be_later_than_now() -> None:
    """A wall clock that was set back spoils no update that gives no time."""
    assert merge(BASE, MetadataFields(endpoint="there").given(), NOW - 24 * HOUR).endpoint == "there"


@pytest.mark.parametrize("size", [199, 200, 201])
def test_the_size_is_bounded(size: int) -> None:
    """`max_metadata_bytes` themselves are admitted; beyond it the largest field is named."""
    large = Metadata(custom={"a": "x" * 200}, endpoint="x")
    limits = Limits(max_metadata_bytes=200)
    if size <= 200:
        check_limits(large, "ns", size, limits)
    else:
        with pytest.raises(InvalidMetadata, match=r"^metadata\.custom: .* keep large data elsewhere"):
            check_limits(large, "ns", size, limits)


def test_registered_metadata_is_valid_again() -> None:
    """What was admitted once is admitted when it is given back field by field."""
    metadata = new_metadata(parse_metadata({"capabilities": ["x"], "custom": {"a": [1, {"b": b"c"}]}}), NOW)
    fields = {name: getattr(metadata, name) for name in metadata.__struct_fields__}
    assert new_metadata(parse_metadata(fields), NOW) == metadata


def test_every_refusal_is_one_of_ours() -> None:
    """Both kinds of refusal are `AdsumError` and `ValueError`."""
    for kind in (InvalidMetadata, InvalidProcessId):
        assert issubclass(kind, AdsumError)
        assert issubclass(kind, ValueError)
