"""The index of own data: rows for the values that entries have under the names in `Limits.indexed`.

A name is a path such as ``custom.model`` or ``resources.tokens``. The rows are among those of capabilities, under keys
that no capability has, and hold a digest of the value: it finds the entries that may have the value, and a search
compares each of them.
"""

from collections.abc import Collection, Hashable, Mapping

import msgspec

from ..model import Entry

TABLE = "by_capability"
_DIGEST_BYTES = 16


class IndexedName(msgspec.Struct, frozen=True):
    """A name in `Limits.indexed`: the field of the metadata, and the path inside it."""

    field: str
    path: tuple[str, ...]


def parsed(names: Collection[str]) -> tuple[IndexedName, ...]:
    """The names that were checked as those of `Limits.indexed`."""
    return tuple(_parsed(name) for name in sorted(names))


def _parsed(name: str) -> IndexedName:
    field, _, rest = name.partition(".")
    # The name of a resource may have dots.
    return IndexedName(field, tuple(rest.split(".")) if field == "custom" else (rest,))


def value_at(entry: Entry, field: str, path: Collection[str]) -> object:
    """What an entry has under a path; None where that is nothing."""
    value: object = getattr(entry.metadata, field)
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def comparable(value: object) -> Hashable:
    """A value that can be hashed, and equals another one where the plain data do. 1 equals 1.0, but not True."""
    if isinstance(value, Mapping):
        return dict, frozenset((name, comparable(part)) for name, part in value.items())
    if isinstance(value, (list, tuple)):
        return list, tuple(comparable(part) for part in value)
    if isinstance(value, bool):
        return bool, value
    return value


def key_for(namespace: str, name: IndexedName, wanted: Hashable) -> bytes | None:
    """The key of the entries that may have this value, which is a `comparable` one; None for values without rows: maps,
    lists, and None."""
    if wanted is None or (isinstance(wanted, tuple) and wanted[0] is not bool):
        return None
    if isinstance(wanted, float) and wanted.is_integer():
        # It equals an int.
        wanted = int(wanted)
    from hashlib import blake2b  # Loads OpenSSL, and most registries index no own data.

    digest = blake2b(repr((type(wanted).__name__, wanted)).encode(errors="surrogatepass"), digest_size=_DIGEST_BYTES)
    # No capability is empty, or has a NUL.
    return f"{namespace}\0\0{name.field}.{'.'.join(name.path)}\0".encode() + digest.digest()


def keys_of(entry: Entry, names: Collection[IndexedName]) -> set[tuple[str, bytes]]:
    """The rows that an entry must have, as (table, key)."""
    found = (
        key_for(entry.process_id.namespace, name, comparable(value_at(entry, name.field, name.path))) for name in names
    )
    return {(TABLE, key) for key in found if key is not None}
