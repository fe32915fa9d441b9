"""The keys of the tables: one to one, in order, and each inside its namespace."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from adsum._store.layout import (
    INDEXES,
    index_key,
    index_keys,
    key_of,
    owner_key,
    owner_of,
    pack_number,
    unpack_number,
)
from adsum._validation import id_key
from adsum.model import Entry, Owner, ProcessId

from . import generated

# Parts that begin alike and characters that sort near the separator: where an order could go wrong.
_part = st.text(st.sampled_from("\x01\x02ab\x7f\x80ä\uffff\U0001f600"), min_size=1, max_size=4)
_ids = st.builds(ProcessId, _part, _part, _part) | generated.process_ids


@given(_ids, _ids)
def test_keys_of_ids_sort_as_the_ids_do(one: ProcessId, other: ProcessId) -> None:
    """Two ids compare as their keys compare, so a walk through the table is a walk through the sorted ids."""
    assert (one < other, one == other) == (id_key(one) < id_key(other), id_key(one) == id_key(other))


@given(_ids)
def test_the_unchecked_key_of_an_id_is_the_checked_one(process_id: ProcessId) -> None:
    """What was stored under a checked id is found again under the unchecked key."""
    assert key_of(process_id) == id_key(process_id)


@given(_part, _part, _part, _part)
def test_index_keys_of_two_namespaces_never_meet(one: str, value: str, other: str, other_value: str) -> None:
    """Two index keys are equal only for the same value in the same namespace."""
    assert (index_key(one, value) == index_key(other, other_value)) == ((one, value) == (other, other_value))


@given(_ids, _part)
def test_a_walk_through_a_namespace_stays_inside_it(process_id: ProcessId, namespace: str) -> None:
    """The prefix of a namespace begins the keys of its own ids, and of no others."""
    prefix = namespace.encode() + b"\0"
    assert id_key(process_id).startswith(prefix) == (process_id.namespace == namespace)


@given(generated.entries)
def test_an_entry_has_one_index_row_for_each_attribute(entry: Entry) -> None:
    """One row for each capability, and one each for type, health and node; every key begins with the namespace."""
    keys = index_keys(entry)
    tables = [table for table, _ in keys]
    assert set(tables) <= set(INDEXES)
    assert tables.count("by_capability") == len(entry.metadata.capabilities)
    assert [tables.count(table) for table in ("by_type", "by_health", "by_node")] == [1, 1, 1]
    assert all(key.startswith(entry.process_id.namespace.encode() + b"\0") for _, key in keys)


@given(generated.owners, generated.owners)
def test_owners_have_keys_of_their_own(one: Owner, other: Owner) -> None:
    """The key of an owner gives the owner again, and keys sort as owners do."""
    assert owner_of(owner_key(one)) == one
    assert (one < other) == (owner_key(one) < owner_key(other))


@given(generated.words, generated.words)
def test_rows_of_numbers_sort_as_the_numbers_do(one: int, other: int) -> None:
    """A number packed into a row is read back from it, and rows compare as numbers."""
    assert unpack_number(pack_number(one)) == one
    assert (one < other) == (pack_number(one) < pack_number(other))
