"""The rules that ids and metadata must satisfy before they are stored.

msgspec checks the shape (field names, types) when the keywords of a call become `MetadataFields`. The rules that a type
cannot express are here. Both ends apply them: the caller's process, so that a mistake is reported without a round trip,
and the registrar, which trusts no client.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from itertools import compress
from operator import attrgetter
from typing import Annotated, Any, Literal, TypeAlias, TypedDict

import msgspec

from ._foreign import reraise_foreign
from ._gauges import check_gauges
from ._plain import Custom, is_object, to_plain
from ._ranges import Range
from ._text_rules import check_description, check_doing, check_names, check_protocols, check_text, check_version
from ._wording import explain, type_name
from .errors import InvalidMetadata, InvalidProcessId
from .model import HealthStatus, Limits, Metadata, ProcessId, ProcessType

MAX_ID_BYTES = 480
MAX_ENDPOINT_BYTES = 2048
MAX_INDEX_KEY_BYTES = 511
MAX_DEPTH = 64
MIN_HEARTBEAT = 0.01
MAX_HEARTBEAT = 1e6
# A bound of the length of an entry's row, which has a record for each claim.
MAX_SLOTS = 1024

_Time = Annotated[datetime, msgspec.Meta(tz=True)]
Unset = msgspec.UnsetType
UNSET = msgspec.UNSET


class MetadataFields(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The fields a call gives, and only those: the keywords of `register` and `update`."""

    type: ProcessType | Unset = UNSET
    capabilities: frozenset[str] | Unset = UNSET
    resources: dict[str, int | float | str] | Unset = UNSET
    coordination_variables: frozenset[str] | Unset = UNSET
    health_status: HealthStatus | Unset = UNSET
    node_affinity: list[str] | Unset = UNSET
    created_at: _Time | Unset = UNSET
    last_health_check: _Time | Unset = UNSET
    endpoint: str | Unset | None = UNSET
    custom: dict[str, Any] | Unset = UNSET
    heartbeat: float | Unset | None = UNSET
    gauges: dict[str, float] | Unset = UNSET
    slots: int | Unset | None = UNSET
    description: str | Unset = UNSET
    version: str | Unset = UNSET
    protocols: frozenset[str] | Unset = UNSET
    doing: str | Unset = UNSET

    def given(self) -> dict[str, Any]:
        """The fields that were given, by name."""
        return {name: value for name, value in zip(_FIELDS, _values_of(self), strict=True) if value is not UNSET}


_FIELDS = MetadataFields.__struct_fields__
_values_of = attrgetter(*_FIELDS)
# The words that a field admits, for messages; None where it admits any.
_CHOICES = dict.fromkeys(_FIELDS) | {"type": ProcessType, "health_status": HealthStatus}

# Not Iterable[str]: a plain string is one too, and a generator is refused.
Names: TypeAlias = set[str] | frozenset[str] | list[str] | tuple[str, ...]
AnyHealth: TypeAlias = HealthStatus | Literal["healthy", "degraded", "unhealthy"]


class _CommonKeywords(TypedDict, total=False):
    type: str
    capabilities: Names
    resources: Mapping[str, int | float | str]
    coordination_variables: Names
    health_status: AnyHealth
    node_affinity: list[str] | tuple[str, ...]
    created_at: datetime
    last_health_check: datetime
    endpoint: str | None
    custom: Custom
    gauges: Mapping[str, float]
    slots: int | None
    description: str
    version: str
    protocols: Names
    doing: str


class MetadataKeywords(_CommonKeywords, total=False):
    """The keywords of `register`, for type checkers: the fields of `Metadata`, none of them required. A thread of
    adsum's can send the heartbeats.

    >>> fields: adsum.MetadataKeywords = {"capabilities": {"planning"}, "heartbeat": "thread"}
    >>> registry.register("planner-1", **fields).entry.metadata.heartbeat
    1.0
    """

    heartbeat: float | Literal["thread"] | None


class AsyncMetadataKeywords(_CommonKeywords, total=False):
    """`MetadataKeywords` for the calls of `AsyncRegistry` that register: an event loop can send the heartbeats.

    >>> fields: adsum.AsyncMetadataKeywords = {"capabilities": {"planning"}, "heartbeat": "loop"}
    >>> (await registry.register("planner-1", **fields)).entry.metadata.heartbeat
    1.0
    """

    heartbeat: float | Literal["thread", "loop"] | None


def parse_id(process_id: object, namespace: str, node: str) -> ProcessId:
    """A checked `ProcessId`; a plain string is a local id in `namespace` on `node`."""
    if isinstance(process_id, str):
        checked = ProcessId(namespace, node, process_id)
    # One by one: `all` with a generator takes twice as long as the rest of this function.
    elif (
        isinstance(process_id, tuple)
        and len(process_id) == 3
        and isinstance(process_id[0], str)
        and isinstance(process_id[1], str)
        and isinstance(process_id[2], str)
    ):
        checked = ProcessId(*process_id)
    else:
        raise InvalidProcessId(
            f"{process_id!r} is no process id: give a string, or ProcessId(namespace, node, local_id) of three strings"
        )
    id_key(checked)
    return checked


def id_key(process_id: tuple[str, str, str]) -> bytes:
    """The bytes an id is stored under: its three parts joined by NUL, so that keys sort as ids do."""
    if not all(process_id):
        raise InvalidProcessId(f"a part of {tuple(process_id)!r} is empty; give three non-empty strings")
    try:
        key = "\0".join(process_id).encode()
    except UnicodeEncodeError as error:
        raise InvalidProcessId(f"{tuple(process_id)!r} is not valid Unicode text ({error.reason})") from error
    if key.count(0) != 2:
        raise InvalidProcessId(f"a part of {tuple(process_id)!r} contains a NUL; give strings without NUL")
    if len(key) - 2 > MAX_ID_BYTES:
        raise InvalidProcessId(
            f"the id is {len(key) - 2} bytes of UTF-8, at most {MAX_ID_BYTES} are stored; shorten it"
        )
    return key


def check_flag(name: str, value: object) -> bool:
    """The value of an argument that is True or False. Errors: `TypeError`."""
    if not isinstance(value, bool):
        raise TypeError(f"{name}={value!r}: give True or False")
    return value


def parse_metadata(fields: Mapping[str, object]) -> MetadataFields:
    """The keywords of a call as checked `MetadataFields`, or `InvalidMetadata` with the field's path."""
    fields = _copied(fields)
    try:
        parsed = msgspec.convert(fields, MetadataFields)
    except (msgspec.ValidationError, RecursionError, OverflowError) as error:
        reraise_foreign(error)
        said = explain(str(error), fields, _CHOICES)
        if said.startswith("metadata.heartbeat:"):
            said += "; give seconds, or None (in calls that register also 'thread', and in an AsyncRegistry's 'loop')"
        raise InvalidMetadata(said) from error
    except (AttributeError, UnicodeEncodeError) as error:
        # msgspec takes some values for a mapping, and reads a text, before it checks them.
        reraise_foreign(error)
        raise InvalidMetadata(_unreadable(fields, error)) from error
    # Most calls give one or two names.
    for name in fields:
        value = getattr(parsed, name)
        if name in _CHECKS and value is not None and value is not UNSET:
            _CHECKS[name](value, f"metadata.{name}")
    return parsed


def _unreadable(fields: Mapping[str, object], error: Exception) -> str:
    for name in ("resources", "custom", "gauges"):
        value = fields.get(name, {})
        if not isinstance(value, Mapping):
            return f"metadata.{name}: expected `dict`, got `{type_name(value)}`"
    return f"metadata: a text in it is not valid Unicode text ({error})"


def _copied(fields: Any) -> dict[str, object]:
    """The fields in a dict of their own, with plain data in place of an object. Errors: `InvalidMetadata`."""
    # A dict is asked for first, because a check against an abstract class takes half a microsecond.
    if not isinstance(fields, (dict, Mapping)):
        raise InvalidMetadata(f"metadata: expected `dict`, got `{type_name(fields)}`")
    # Another thread may change what the caller has given; and msgspec refuses unknown names of a dict alone.
    copied = dict(fields)
    custom = copied.get("custom")
    if custom is None:
        return copied
    if isinstance(custom, Range):
        raise InvalidMetadata(f"metadata.custom: {custom!r} is for searches; give a dict of names and plain data")
    if is_object(custom):
        try:
            copied["custom"] = to_plain(custom)
        except (TypeError, ValueError, RecursionError, OverflowError) as error:
            reraise_foreign(error)
            raise InvalidMetadata(f"metadata.custom: the {type(custom).__name__} is no plain data: {error}") from error
    return copied


def check_fields(fields: MetadataFields | Metadata) -> None:
    """Apply the rules that types cannot say to every field that is given."""
    values = _checked_values_of(fields)
    # Most fields are not given, or empty, and what is empty breaks no rule but those of a few fields. A loop in C.
    for (name, check), value in compress(zip(_CHECK_PAIRS, values, strict=True), values):
        check(value, f"metadata.{name}")
    if _never_empty_of(fields) in _NONE_GIVEN:
        return
    for name in _NEVER_EMPTY:
        value = getattr(fields, name)
        if not value and value is not UNSET and value is not None:
            _CHECKS[name](value, f"metadata.{name}")


def check_metadata(metadata: Metadata) -> None:
    """`check_fields` for metadata that was decoded, and so has the right types. Errors: `InvalidMetadata`."""
    for name in ("created_at", "last_health_check"):
        if getattr(metadata, name).tzinfo is None:
            raise InvalidMetadata(f"metadata.{name}: expected a time with a time zone")
    check_fields(metadata)


def merge(base: Metadata, given: Mapping[str, Any], now: datetime) -> Metadata:
    """`base` with the given fields put in place of the old, its times checked.

    Where a new `created_at` is later than the last health check, and no check is given, the check counts as made now.
    """
    created, checked = given.get("created_at"), given.get("last_health_check")
    if created is not None and checked is None and created > base.last_health_check:
        given = {**given, "last_health_check": now}
    return _in_order(msgspec.structs.replace(base, **given), given, now)


def new_metadata(fields: MetadataFields, now: datetime) -> Metadata:
    """The metadata of a new registration; times that are not given are `now`, or as early as the given one asks."""
    given = fields.given()
    checked = given.setdefault("last_health_check", now)
    given.setdefault("created_at", min(now, checked))
    return _in_order(Metadata(**given), given, now)


def _in_order(metadata: Metadata, given: Mapping[str, Any], now: datetime) -> Metadata:
    for name in ("created_at", "last_health_check"):
        if (value := given.get(name)) is not None and value > now:
            raise InvalidMetadata(f"metadata.{name}: {value.isoformat()} lies in the future; give a time up to now")
    if metadata.created_at > metadata.last_health_check:
        raise InvalidMetadata(
            f"metadata.created_at: {metadata.created_at.isoformat()} is after last_health_check "
            f"{metadata.last_health_check.isoformat()}; created_at <= last_health_check must hold"
        )
    return metadata


def check_limits(metadata: Metadata, namespace: str, size: int, limits: Limits) -> None:
    """Refuse what the registry's own bounds do not admit. `size` is the encoded metadata's, in bytes."""
    if len(metadata.capabilities) > limits.max_capabilities:
        raise InvalidMetadata(
            f"metadata.capabilities: {len(metadata.capabilities)} given, this registry admits {limits.max_capabilities}"
        )
    if size > limits.max_metadata_bytes:
        largest = max(metadata.__struct_fields__, key=lambda name: len(repr(getattr(metadata, name))))
        raise InvalidMetadata(
            f"metadata.{largest}: the metadata is {size} bytes encoded, this registry admits "
            f"{limits.max_metadata_bytes}; keep large data elsewhere and store its address"
        )
    room = MAX_INDEX_KEY_BYTES - 1 - len(namespace.encode())
    for capability in metadata.capabilities:
        if len(capability.encode()) > room:
            raise InvalidMetadata(
                f"metadata.capabilities: {capability[:40]!r}... and the namespace exceed {MAX_INDEX_KEY_BYTES} bytes "
                "together; shorten one of them"
            )


def _check_resources(resources: dict[str, int | float | str], path: str) -> None:
    check_names(resources, path)
    _check_plain(resources, path, 0)


def _check_custom(custom: dict[str, Any], path: str) -> None:
    _check_plain(custom, path, 0)


def _check_gauges(gauges: dict[str, float], path: str) -> None:
    check_names(gauges, path)
    check_gauges(gauges)


def _check_endpoint(endpoint: str, path: str) -> None:
    check_text(endpoint, path, MAX_ENDPOINT_BYTES)


def _check_heartbeat(seconds: float, path: str) -> None:
    if not MIN_HEARTBEAT <= seconds <= MAX_HEARTBEAT:
        raise InvalidMetadata(
            f"{path}: {seconds!r} is not possible; give seconds from {MIN_HEARTBEAT} to {MAX_HEARTBEAT}, or None"
        )


def _check_slots(slots: int, path: str) -> None:
    if not 1 <= slots <= MAX_SLOTS:
        raise InvalidMetadata(f"{path}: {slots} is not possible; give 1 to {MAX_SLOTS}, or None, which means 1")


def _check_time(time: datetime, path: str) -> None:
    try:
        time.astimezone(UTC)
    except OverflowError as error:
        reraise_foreign(error)
        raise InvalidMetadata(f"{path}: {time.isoformat()} has no UTC time from year 1 on; give a later one") from error


def _check_plain(value: object, path: str, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise InvalidMetadata(f"{path}: nested more than {MAX_DEPTH} deep (or inside itself); flatten it")
    if isinstance(value, dict):
        for name, part in value.items():
            if not isinstance(name, str):
                raise InvalidMetadata(f"{path}: the key {name!r} is no string")
            _check_scalar(name, f"{path} key")
            _check_plain(part, f"{path}[{name!r}]", depth + 1)
    elif isinstance(value, (list, tuple)):
        for position, part in enumerate(value):
            _check_plain(part, f"{path}[{position}]", depth + 1)
    else:
        _check_scalar(value, path)


def _check_scalar(value: object, path: str) -> None:
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise InvalidMetadata(f"{path}: not valid Unicode text ({error.reason})") from error
    elif isinstance(value, int):
        if not -(2**63) <= value < 2**64:
            raise InvalidMetadata(f"{path}: {value} does not fit 64 bits; store it as a string")
    elif value is not None and not isinstance(value, (float, bytes)):
        raise InvalidMetadata(
            f"{path}: {type(value).__name__} is no plain data; use None, bool, int, float, str, bytes, list or dict"
        )


# By field: what its type cannot say.
_CHECKS: dict[str, Callable[[Any, str], None]] = {
    "capabilities": check_names,
    "coordination_variables": check_names,
    "node_affinity": check_names,
    "resources": _check_resources,
    "endpoint": _check_endpoint,
    "custom": _check_custom,
    "gauges": _check_gauges,
    "heartbeat": _check_heartbeat,
    "slots": _check_slots,
    "description": check_description,
    "version": check_version,
    "protocols": check_protocols,
    "doing": check_doing,
    "created_at": _check_time,
    "last_health_check": _check_time,
}
_CHECK_PAIRS = tuple(_CHECKS.items())
_checked_values_of = attrgetter(*_CHECKS)
_NEVER_EMPTY = ("endpoint", "heartbeat", "slots")
_never_empty_of = attrgetter(*_NEVER_EMPTY)
# Of a call, and of metadata.
_NONE_GIVEN = ((UNSET,) * len(_NEVER_EMPTY), (None,) * len(_NEVER_EMPTY))
