"""Conditions that no index decides: own data, alternatives, exclusions, prefixes, pids, text.

Each is compared with every candidate, that is, with the entries that the rarest indexed condition leaves, and with all
of the namespace where there is none. A condition on a mapping asks for the keys that it names and for no others
(containment, as of PostgreSQL's jsonb).
"""

import math
from collections.abc import Callable, Collection, Hashable, Mapping
from typing import TypeAlias

import msgspec

from .._ranges import Range
from ..errors import InvalidQuery
from ..model import Entry
from .own_index import comparable, value_at


class OwnData(msgspec.Struct, frozen=True):
    """The value at `path` in a field is in the wanted range, or equal to the wanted value. None: there is none."""

    field: str
    path: tuple[str, ...]
    wanted: Hashable

    def matches(self, entry: Entry) -> bool:
        value, wanted = value_at(entry, self.field, self.path), self.wanted
        return value in wanted if isinstance(wanted, Range) else comparable(value) == wanted


class AnyCapability(msgspec.Struct, frozen=True):
    """The entry has one of the capabilities, or several of them."""

    names: frozenset[str]

    def matches(self, entry: Entry) -> bool:
        return not self.names.isdisjoint(entry.metadata.capabilities)


class NoCapability(msgspec.Struct, frozen=True):
    """The entry has none of the capabilities."""

    names: frozenset[str]

    def matches(self, entry: Entry) -> bool:
        return self.names.isdisjoint(entry.metadata.capabilities)


class IdPrefix(msgspec.Struct, frozen=True):
    """The local id begins with the prefix."""

    prefix: str

    def matches(self, entry: Entry) -> bool:
        return entry.process_id.local_id.startswith(self.prefix)


class OwnerPid(msgspec.Struct, frozen=True):
    """The process with this pid owns the entry."""

    pid: int

    def matches(self, entry: Entry) -> bool:
        return entry.pid == self.pid


class HasText(msgspec.Struct, frozen=True):
    """The text is a part of the local id, the description, a capability or what the member is doing. `folded` is the
    text without upper and lower case (`str.casefold`)."""

    folded: str

    def matches(self, entry: Entry) -> bool:
        metadata = entry.metadata
        # Joined, because most candidates do not match. No text to look for has a NUL, so none matches across parts.
        parts = (entry.process_id.local_id, metadata.description, metadata.doing, *metadata.capabilities)
        return self.folded in "\0".join(parts).casefold()


ScannedCondition: TypeAlias = "OwnData | AnyCapability | NoCapability | IdPrefix | OwnerPid | HasText"


def scanned_conditions(
    conditions: Mapping[str, object], capabilities: frozenset[str], text: Callable[[str, object], str]
) -> tuple[ScannedCondition, ...]:
    """The checked conditions of a search that are scanned, whose `capabilities` are required. `text` checks a string.
    Errors: `InvalidQuery`."""
    found: list[ScannedCondition] = []
    for field in ("custom", "resources"):
        if (wanted := conditions.get(field)) is not None:
            try:
                found += _own_data(field, field, (), wanted)
            except RecursionError:
                raise InvalidQuery(
                    f"{field}: it is nested too deep, or contains itself; name what is asked for"
                ) from None
    any_of, none_of = conditions.get("any_capability"), conditions.get("not_capability")
    if any_of is not None:
        found.append(AnyCapability(frozenset(text("any_capability", one) for one in several(any_of))))
    if none_of is not None:
        found.append(NoCapability(frozenset(text("not_capability", one) for one in several(none_of))))
    _check_capabilities(capabilities, found)
    if (prefix := conditions.get("id_prefix")) is not None:
        found.append(IdPrefix(text("id_prefix", prefix)))
    if (pid := conditions.get("pid")) is not None:
        if isinstance(pid, bool) or not isinstance(pid, int) or not 0 < pid < 2**63:
            raise InvalidQuery(f"pid={pid!r}: give the number of a process, a whole number above 0")
        found.append(OwnerPid(pid))
    if (part := conditions.get("text")) is not None:
        found.append(HasText(text("text", part).casefold()))
    return tuple(found)


def several(value: object) -> list[object]:
    """One value, or those of a collection."""
    if isinstance(value, Collection) and not isinstance(value, (str, bytes)):
        return list(value)
    return [value]


def _check_capabilities(required: frozenset[str], found: list[ScannedCondition]) -> None:
    excluded = next((one.names for one in found if isinstance(one, NoCapability)), frozenset[str]())
    if both := required & excluded:
        raise InvalidQuery(f"capability and not_capability both name {min(both)!r}: no entry could match")
    for one in found:
        if isinstance(one, AnyCapability) and not one.names - excluded:
            reason = "not_capability excludes all of them" if one.names else "it is empty"
            raise InvalidQuery(f"any_capability={set(one.names) or '{}'}: {reason}, so no entry could match")


def _own_data(field: str, where: str, path: tuple[str, ...], wanted: object) -> list[OwnData]:
    """The conditions that a mapping of names and values makes, also for mappings inside."""
    if not isinstance(wanted, Mapping):
        raise InvalidQuery(f"{where}={wanted!r:.80}: give a dict of names and values, such as {{'model': 'small'}}")
    found: list[OwnData] = []
    for name, value in wanted.items():
        if not isinstance(name, str):
            raise InvalidQuery(f"{where}: the key {name!r} is no string")
        inner, here = f"{where}[{name!r}]", (*path, name)
        if isinstance(value, Range):
            found.append(OwnData(field, here, value))
        elif field == "resources" and not _is_resource(value):
            raise InvalidQuery(f"{inner}={value!r:.80}: a resource is a number or a string; or give at_least(1000)")
        elif isinstance(value, Mapping):
            if not value:
                raise InvalidQuery(f"{inner}={{}}: give at least one name and its value")
            found += _own_data(field, inner, here, value)
        else:
            _check_value(inner, value)
            found.append(OwnData(field, here, comparable(value)))
    return found


def _is_resource(value: object) -> bool:
    return value is None or (isinstance(value, (int, float, str)) and not isinstance(value, bool))


def _check_value(where: str, value: object) -> None:
    if isinstance(value, (list, tuple)):
        for part in value:
            _check_value(where, part)
    elif isinstance(value, Mapping):
        for part in value.values():
            _check_value(where, part)
    elif isinstance(value, float) and math.isnan(value):
        raise InvalidQuery(f"{where}: nan equals nothing, so no entry could match")
    elif isinstance(value, int) and not -(2**63) <= value < 2**64:
        raise InvalidQuery(f"{where}: {value} does not fit 64 bits, so no entry could have it")
    elif value is not None and not isinstance(value, (bool, int, float, str, bytes)):
        raise InvalidQuery(
            f"{where}: {type(value).__name__} is no plain data; use None, bool, int, float, str, bytes, list or dict, "
            "or at_least(), at_most(), between()"
        )
