"""Amendments: updates that are computed from the present entry, so that none of several at once is lost.

A merge of mappings is a JSON Merge Patch (RFC 7396): it goes down into mappings, and None removes a key. Sets follow
the same rule, as if they were mappings of their members. An addition is an atomic fetch-and-add. The registrar computes
both from the entry at its newest revision; `parse_amendment` checks a call, in the caller's process.
"""

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, TypeAlias, TypedDict

import msgspec

from ._plain import Custom
from ._validation import (
    MAX_DEPTH,
    UNSET,
    AnyHealth,
    MetadataFields,
    Names,
    Unset,
    check_fields,
    check_flag,
    parse_metadata,
)
from .errors import InvalidMetadata
from .model import Metadata

# A member of a set, True where it is to be in the set and None where it is not.
Members: TypeAlias = Names | Mapping[str, Literal[True] | None]

_SETS = ("capabilities", "coordination_variables", "protocols")
_MERGED = (*_SETS, "resources", "custom")


class UpdateKeywords(TypedDict, total=False):
    """The keywords of `update`, for type checkers: the fields of `Metadata`. The forms with None for a key, or for a
    member of a set, are for ``merge=True``.

    >>> registration = registry.register("planner-1", custom={"model": "small"})
    >>> changes: adsum.UpdateKeywords = {"custom": {"model": None}}
    >>> registration.update(merge=True, **changes).metadata.custom
    {}
    """

    type: str
    capabilities: Members
    resources: Mapping[str, int | float | str | None]
    coordination_variables: Members
    health_status: AnyHealth
    node_affinity: list[str] | tuple[str, ...]
    created_at: datetime
    last_health_check: datetime
    endpoint: str | None
    custom: Custom
    heartbeat: float | None
    slots: int | None
    description: str
    version: str
    protocols: Members
    doing: str


class MergeFields(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The fields to merge: a name with None is removed, a member of a set with False likewise."""

    capabilities: dict[str, bool] | Unset = UNSET
    coordination_variables: dict[str, bool] | Unset = UNSET
    resources: dict[str, int | float | str | None] | Unset = UNSET
    custom: dict[str, Any] | Unset = UNSET
    protocols: dict[str, bool] | Unset = UNSET


NOTHING = MergeFields()
Additions: TypeAlias = dict[str, int | float]


class Amendment(msgspec.Struct, frozen=True):
    """The changes of one update: `fields` are replaced whole, then `merged` are merged, then `added` are added."""

    fields: MetadataFields
    merged: MergeFields
    added: Additions


# The caller's side


def parse_amendment(metadata: Mapping[str, object], *, merge: bool, add: object) -> Amendment:
    """The checked amendment of a call. Errors: `InvalidMetadata`, `TypeError`."""
    check_flag("merge", merge)
    apart = {name: value for name, value in metadata.items() if merge and name in _MERGED}
    replaced = parse_metadata({name: value for name, value in metadata.items() if name not in apart})
    merged: dict[str, Any] = {}
    for name, value in apart.items():
        if name in _SETS:
            merged[name] = _members(name, value)
        elif name == "resources" and isinstance(value, Mapping):
            kept = {key: part for key, part in value.items() if part is not None}
            merged[name] = {**_parsed(name, kept), **{key: None for key in value if key not in kept}}
        else:
            merged[name] = _parsed(name, value)
    return Amendment(replaced, MergeFields(**merged), {} if add is None else _additions(add))


def _members(name: str, value: object) -> dict[str, bool]:
    if not isinstance(value, Mapping):
        return dict.fromkeys(_parsed(name, value), True)
    wrong = [member for member, wanted in value.items() if wanted is not True and wanted is not None]
    if wrong:
        raise InvalidMetadata(
            f"metadata.{name}[{wrong[0]!r}]: {value[wrong[0]]!r}; give True to add the member, None to remove it"
        )
    return {member: value[member] is True for member in _parsed(name, list(value))}


def _parsed(name: str, value: object) -> Any:
    return getattr(parse_metadata({name: value}), name)


def _additions(add: object) -> Additions:
    if not isinstance(add, Mapping):
        raise TypeError(f"add={add!r:.80}: give a dict of paths and numbers, such as {{'custom.done': 1}}")
    added: Additions = {}
    for path, number in add.items():
        _check_addition(path, number)
        added[path] = number
    return added


def _check_addition(path: object, number: object) -> None:
    if not isinstance(path, str) or path.partition(".")[0] not in ("custom", "resources") or not all(path.split(".")):
        raise InvalidMetadata(
            f"add: {path!r} is no path to a number; give custom.NAME or resources.NAME, in custom also "
            "custom.NAME.NAME for a mapping inside"
        )
    if path in ("custom", "resources"):
        raise InvalidMetadata(f"add: {path!r} names no number; give {path}.NAME")
    if path.startswith("custom.") and path.count(".") > MAX_DEPTH:
        raise InvalidMetadata(f"add: {path[:40]!r}...: leads more than {MAX_DEPTH} deep; flatten the data")
    if not _is_number(number):
        raise InvalidMetadata(f"add: {path}: {number!r:.80} is no number; give an int or a float")
    _check_number(number, f"add: {path}")


# The registrar's side


def amended(base: Metadata, amendment: Amendment) -> MetadataFields:
    """The fields that the amendment changes, with their new values. Errors: `InvalidMetadata`."""
    fields, merged, added = amendment.fields, amendment.merged, amendment.added
    check_fields(fields)
    _check_merged(merged)
    values = fields.given()
    for name in _SETS:
        if (members := getattr(merged, name)) is not UNSET:
            values[name] = _merge_members(values.get(name, getattr(base, name)), members)
    for name in ("resources", "custom"):
        if (patch := getattr(merged, name)) is not UNSET:
            values[name] = _merge(values.get(name, getattr(base, name)), patch)
    for path, number in added.items():
        _check_addition(path, number)
        name, _, rest = path.partition(".")
        # A resource holds no mapping, so all of the rest is its name.
        steps = rest.split(".") if name == "custom" else [rest]
        values[name] = _add(values.get(name, getattr(base, name)), steps, number, f"metadata.{name}")
    changed = MetadataFields(**values)
    if added or merged.protocols is not UNSET:
        # An addition may have made a new name, and a merge too many words.
        check_fields(changed)
    return changed


def _check_merged(merged: MergeFields) -> None:
    """Apply the rules of each field to what is merged into it."""
    values: dict[str, Any] = {}
    for name in _SETS:
        if (members := getattr(merged, name)) is not UNSET:
            values[name] = frozenset(members)
    if merged.resources is not UNSET:
        values["resources"] = {name: value for name, value in merged.resources.items() if value is not None}
    check_fields(MetadataFields(**values, custom=merged.custom))


def _merge_members(present: frozenset[str], members: Mapping[str, bool]) -> frozenset[str]:
    removed = {member for member, stays in members.items() if not stays}
    # Not `|` with a view of keys, which gives a set that can change.
    return present.union(members) - removed


def _merge(present: object, patch: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(present) if isinstance(present, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        elif isinstance(value, Mapping):
            result[name] = _merge(result.get(name), value)
        else:
            result[name] = value
    return result


def _add(present: object, steps: list[str], number: int | float, path: str) -> dict[str, Any]:
    if not isinstance(present, Mapping):
        raise InvalidMetadata(f"{path}: {present!r:.80} is no dict, so there is no number in it to add to")
    name, *rest = steps
    path = f"{path}[{name!r}]"
    if rest:
        return {**present, name: _add(present.get(name, {}), rest, number, path)}
    value = present.get(name, 0)
    if not _is_number(value):
        raise InvalidMetadata(f"{path}: {value!r:.80} is no number, so nothing can be added to it; nothing was changed")
    total = value + number
    _check_number(total, path)
    return {**present, name: total}


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _check_number(value: Any, path: str) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidMetadata(f"{path}: {value!r} is no finite number; nothing was changed")
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        raise InvalidMetadata(f"{path}: {value} does not fit 64 bits; nothing was changed")
