"""Metadata: what is stored unchanged, and what is refused with the path of the field."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, cast

import pytest

import adsum
from adsum import HealthStatus, InvalidMetadata, MetadataKeywords, ProcessType, Registry

PAST = datetime(2020, 1, 1, 12, 30, 15, 250_000, tzinfo=UTC)
LATER = datetime(2021, 1, 1, tzinfo=UTC)
FUTURE = datetime(2199, 1, 1, tzinfo=UTC)


def nested(depth: int) -> dict[str, Any]:
    """A map nested `depth` times."""
    value: dict[str, Any] = {}
    for _ in range(depth - 1):
        value = {"a": value}
    return value


def endless() -> dict[str, Any]:
    """A map that contains itself."""
    value: dict[str, Any] = {}
    value["a"] = value
    return value


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("unknown field", {"colour": "red"}, "metadata.colour: no such field"),
    ("type of no enumeration", {"type": "boss"}, "metadata.type: "),
    ("type no string", {"type": 5}, "metadata.type: "),
    ("health of no enumeration", {"health_status": "fine"}, "metadata.health_status: "),
    ("health None", {"health_status": None}, "metadata.health_status: "),
    ("capabilities a string", {"capabilities": "planning"}, "metadata.capabilities: "),
    ("capabilities a map", {"capabilities": {"planning": 1}}, "metadata.capabilities: "),
    ("capabilities None", {"capabilities": None}, "metadata.capabilities: "),
    ("capability no string", {"capabilities": [5]}, "metadata.capabilities[0]: "),
    ("capability empty", {"capabilities": {""}}, "metadata.capabilities: "),
    ("capability with NUL", {"capabilities": {"a\0b"}}, "metadata.capabilities: "),
    ("capability no Unicode", {"capabilities": {"\ud800"}}, "metadata.capabilities: "),
    ("capability too long", {"capabilities": {"x" * 256}}, "metadata.capabilities: "),
    ("variable no string", {"coordination_variables": [b"x"]}, "metadata.coordination_variables[0]: "),
    ("variable empty", {"coordination_variables": {""}}, "metadata.coordination_variables: "),
    ("variables a string", {"coordination_variables": "ab"}, "metadata.coordination_variables: "),
    ("resources a list", {"resources": [1]}, "metadata.resources: "),
    ("resources a range", {"resources": range(3)}, "metadata.resources: expected `dict`, got `range`"),
    ("custom a range of a search", {"custom": adsum.at_least(1)}, "metadata.custom: at_least(1) is for searches"),
    ("custom a range", {"custom": range(3)}, "metadata.custom: expected `dict`, got `range`"),
    ("capabilities no Unicode", {"capabilities": "\ud800"}, "metadata: a text in it is not valid Unicode text"),
    ("resource a bool", {"resources": {"gpu": True}}, "metadata.resources"),
    ("resource None", {"resources": {"gpu": None}}, "metadata.resources"),
    ("resource a list", {"resources": {"gpu": [1]}}, "metadata.resources"),
    ("resource name no string", {"resources": {1: 1}}, "metadata.resources: the key 1 is no string"),
    ("resource name empty", {"resources": {"": 1}}, "metadata.resources: "),
    ("resource too large", {"resources": {"gpu": 2**64}}, "metadata.resources['gpu']: "),
    ("resource no Unicode", {"resources": {"gpu": "\udfff"}}, "metadata.resources['gpu']: "),
    ("affinity a string", {"node_affinity": "n1"}, "metadata.node_affinity: "),
    ("affinity a map", {"node_affinity": {"n1": 1}}, "metadata.node_affinity: "),
    ("affinity no string", {"node_affinity": ["n1", 2]}, "metadata.node_affinity[1]: "),
    ("affinity empty", {"node_affinity": [""]}, "metadata.node_affinity: "),
    ("created_at naive", {"created_at": PAST.replace(tzinfo=None)}, "metadata.created_at: "),
    ("created_at a number", {"created_at": 5}, "metadata.created_at: "),
    ("created_at in the future", {"created_at": FUTURE}, "metadata.created_at: "),
    ("last_health_check naive", {"last_health_check": PAST.replace(tzinfo=None)}, "metadata.last_health_check: "),
    ("last_health_check in the future", {"last_health_check": FUTURE}, "metadata.last_health_check: "),
    ("times out of order", {"created_at": LATER, "last_health_check": PAST}, "metadata.created_at: "),
    ("time before all time", {"created_at": datetime.min.replace(tzinfo=timezone(timedelta(hours=1)))}, "metadata."),
    ("endpoint a number", {"endpoint": 9001}, "metadata.endpoint: "),
    ("endpoint empty", {"endpoint": ""}, "metadata.endpoint: "),
    ("endpoint too long", {"endpoint": "x" * 2049}, "metadata.endpoint: "),
    ("endpoint no Unicode", {"endpoint": "\ud800"}, "metadata.endpoint: "),
    ("description None", {"description": None}, "metadata.description: "),
    ("description no string", {"description": b"x"}, "metadata.description: "),
    ("description no Unicode", {"description": "\ud800"}, "metadata.description: "),
    ("description too long", {"description": "é" * 2049}, "metadata.description: "),
    ("version a number", {"version": 1.2}, "metadata.version: "),
    ("version of two lines", {"version": "1\n2"}, "metadata.version: '1\\n2' has the control character"),
    ("version too long", {"version": "x" * 129}, "metadata.version: "),
    ("protocols a string", {"protocols": "mcp"}, "metadata.protocols: "),
    ("protocols None", {"protocols": None}, "metadata.protocols: "),
    ("protocol empty", {"protocols": {""}}, "metadata.protocols: "),
    ("protocol with NUL", {"protocols": {"a\0"}}, "metadata.protocols: "),
    ("protocol too long", {"protocols": {"x" * 33}}, "metadata.protocols: "),
    ("too many protocols", {"protocols": set(map(str, range(33)))}, "metadata.protocols: 33 given, at most 32"),
    ("doing a list", {"doing": ["x"]}, "metadata.doing: "),
    ("doing two lines", {"doing": "a\rb"}, "metadata.doing: "),
    ("doing two lines in Unicode", {"doing": "a\u2028b"}, "metadata.doing: "),
    ("doing with an escape", {"doing": "\x1b[2J"}, "metadata.doing: "),
    ("doing with another control character", {"doing": "\x9b2J"}, "metadata.doing: "),
    ("doing too long", {"doing": "x" * 201}, "metadata.doing: "),
    ("doing no Unicode", {"doing": "\udfff"}, "metadata.doing: "),
    ("custom a list", {"custom": [1]}, "metadata.custom: "),
    ("custom None", {"custom": None}, "metadata.custom: "),
    ("custom key no string", {"custom": {1: 1}}, "metadata.custom: the key 1 is no string"),
    ("custom inner key no string", {"custom": {"a": {1: 1}}}, "metadata.custom['a']: "),
    ("custom with a set", {"custom": {"a": [{1}]}}, "metadata.custom['a'][0]: "),
    ("custom with an object", {"custom": {"a": object()}}, "metadata.custom['a']: "),
    ("custom with a time", {"custom": {"a": PAST}}, "metadata.custom['a']: "),
    ("custom with a function", {"custom": {"a": {"b": print}}}, "metadata.custom['a']['b']: "),
    ("custom with a bytearray", {"custom": {"a": bytearray()}}, "metadata.custom['a']: "),
    ("custom too large a number", {"custom": {"a": 2**64}}, "metadata.custom['a']: "),
    ("custom too small a number", {"custom": {"a": -(2**63) - 1}}, "metadata.custom['a']: "),
    ("custom no Unicode", {"custom": {"a": "\ud800"}}, "metadata.custom['a']: "),
    ("custom key no Unicode", {"custom": {"\ud800": 1}}, "metadata.custom"),
    ("custom too deep", {"custom": nested(66)}, "metadata.custom['a']"),
    ("custom far too deep", {"custom": nested(5000)}, "metadata.custom['a']"),
    ("custom inside itself", {"custom": endless()}, "metadata.custom['a']"),
    ("custom too large", {"custom": {"a": "x" * 65_536}}, "metadata.custom: "),
    ("larger than a message", {"custom": {"a": "x" * 9_000_000}}, "metadata"),
]


@pytest.fixture
def standing(either: Registry) -> Registry:
    """A registry in which ``standing`` is registered."""
    either.register("standing", custom={"before": 1})
    return either


@pytest.mark.parametrize(("fields", "path"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_what_breaks_a_rule_is_refused(standing: Registry, fields: dict[str, Any], path: str) -> None:
    """Invalid metadata raises `InvalidMetadata`, a `ValueError`, with the field's path, and nothing is written."""
    before = standing["standing"]
    for call in (
        lambda: standing.register("new", **fields),
        lambda: standing.get_or_register("new", **fields),
        lambda: standing.register_many([("other", {}), ("new", cast("MetadataKeywords", fields))]),
        lambda: standing.update("standing", **fields),
    ):
        with pytest.raises(InvalidMetadata, match=re.escape(path)) as caught:
            call()
        assert isinstance(caught.value, ValueError)
    assert standing.list_all() == [before]


@pytest.mark.parametrize(
    ("fields", "remedy"),
    [
        ({"colour": "red"}, "the fields are type, capabilities, .* goes into custom"),
        ({"type": "boss"}, "agent, service, coordinator, resource_manager"),
        ({"health_status": "fine"}, "healthy, degraded, unhealthy"),
        ({"colour": "red", "capabilites": ["planning"]}, "no such field"),
        ({"capabilites": ["planning"]}, "do you mean capabilities"),
        ({"timeot": 3}, "do you mean timeout"),
        ({"capabilities": "planning"}, r"capabilities: expected `list`, got `str`; .* such as \['planning'\]"),
        ({"capabilities": None}, "capabilities: expected `list`, got `None`"),
        ({"capabilities": {"a": 1}}, "capabilities: expected `list`, got `dict`"),
        ({"node_affinity": ["a", ("b",)]}, r"node_affinity\[1\]: expected `str`, got `tuple`"),
        ({"resources": ["memory"]}, "resources: expected `dict`, got `list`"),
        (
            {"resources": {"cpus": 4, "memory": None}},
            r"resources\['memory'\]: expected `int | float | str`, got `None`",
        ),
        ({"resources": {"memory": True}}, r"resources\['memory'\]: .* got `bool`"),
        ({"resources": {"cpus": 4, 8: 1}}, "resources: the key 8 is no string"),
        ({"endpoint": 8080}, "endpoint: expected `str | None`, got `int`"),
        ({"created_at": "today"}, r"datetime\.now\(UTC\)"),
        ({"created_at": FUTURE}, "give a time up to now"),
        ({"created_at": LATER, "last_health_check": PAST}, "created_at <= last_health_check must hold"),
        ({"created_at": PAST.replace(tzinfo=None)}, "with a timezone component"),
        ({"endpoint": "x" * 2049}, "from 1 to 2048"),
        ({"capabilities": {""}}, "give non-empty text"),
        ({"description": "x" * 4097}, "from 0 to 4096"),
        ({"doing": "x" * 201}, "201 characters, at most 200 are admitted; shorten it"),
        ({"doing": "x" * 801}, "from 0 to 800"),
        ({"version": "a\tb"}, r"control character '\\t' at 1; give one line of text"),
        ({"protocols": {"x" * 33}}, "from 1 to 32"),
        ({"protocols": "mcp"}, r"protocols: expected `list`, got `str`; .* such as \['mcp'\]"),
        ({"custom": {"a": 2**64}}, "store it as a string"),
        ({"custom": {"a": object()}}, "use None, bool, int, float, str, bytes, list or dict"),
        ({"custom": endless()}, "flatten it"),
        ({"custom": {"a": "x" * 65_536}}, "admits 65536; keep large data elsewhere"),
        ({"custom": {"a": "x" * 9_000_000}}, "split it|keep large data elsewhere"),
    ],
    ids=range(32),
)
def test_the_refusal_says_what_to_give(either: Registry, fields: dict[str, Any], remedy: str) -> None:
    """The message says what a valid value is."""
    with pytest.raises(InvalidMetadata, match=remedy):
        either.register("a", **fields)


def test_the_defaults(either: Registry) -> None:
    """A registration without metadata is a healthy agent, created and checked now."""
    entry = either.register("a").entry
    metadata = entry.metadata
    assert (metadata.type, metadata.health_status, metadata.endpoint) == ("agent", "healthy", None)
    assert metadata.capabilities == metadata.coordination_variables == set()
    assert (metadata.resources, metadata.node_affinity, metadata.custom) == ({}, [], {})
    assert (metadata.description, metadata.version, metadata.doing) == ("", "", "")
    assert metadata.protocols == frozenset()
    assert isinstance(metadata.protocols, frozenset)
    assert metadata.created_at == metadata.last_health_check == entry.registered_at == entry.last_updated
    assert entry.registered_at.tzinfo is not None
    assert entry.registered_at.utcoffset() == timedelta(0)


def test_every_field_comes_back(either: Registry) -> None:
    """A lookup returns every field as it was given."""
    given: dict[str, Any] = {
        "type": "resource_manager",
        "capabilities": {"planning", "日本語", "x" * 255},
        "resources": {"gpu": 2, "load": 0.5, "zone": "north", "most": 2**64 - 1, "least": -(2**63)},
        "coordination_variables": {"phase"},
        "health_status": "degraded",
        "node_affinity": ["n2", "n1", "n2"],
        "created_at": PAST,
        "last_health_check": LATER,
        "endpoint": "http://127.0.0.1:9001/é",
        "description": "Plans.\n\tIn steps. " + "é" * 2039,
        "version": "1.2.0+" + "x" * 122,
        "protocols": {"a2a", "x" * 32, *map(str, range(30))},
        "doing": "🤖" * 200,
        "custom": {"none": None, "yes": True, "bytes": b"\0\xff", "": [1, [2.5, {"deep": "ö"}]], "nul": "a\0b"},
    }
    either.register("a", **given)
    metadata = either["a"].metadata
    assert {name: getattr(metadata, name) for name in given} == given


def test_any_collection_will_do(either: Registry) -> None:
    """Sets may be passed as lists or tuples, and lists as tuples."""
    metadata = either.register("a", capabilities=["x", "y", "x"], node_affinity=("n1",), custom={"a": (1, 2)})
    assert metadata.entry.metadata.capabilities == {"x", "y"}
    assert metadata.entry.metadata.node_affinity == ["n1"]
    assert metadata.entry.metadata.custom == {"a": [1, 2]}


class Text(str):
    """A subclass of str, as libraries define them."""

    def __repr__(self) -> str:
        return f"Text({super().__repr__()})"


class Whole(int):
    """A subclass of int."""

    def __repr__(self) -> str:
        return f"Whole({super().__repr__()})"


class Part(float):
    """A subclass of float, as numpy's are."""

    def __repr__(self) -> str:
        return f"Part({super().__repr__()})"


class Raw(bytes):
    """A subclass of bytes."""


@pytest.mark.parametrize(
    "fields",
    [
        {"custom": {"a": Text("x")}},
        {"custom": {"a": Whole(5)}},
        {"custom": {"a": Part(0.5), "b": Raw(b"x")}},
        {"custom": {Text("a"): 1}},
        {"capabilities": {Text("x")}},
        {"coordination_variables": {Text("x")}},
        {"resources": {"a": Text("x")}},
        {"node_affinity": [Text("x")]},
        {"endpoint": Text("x")},
        {"description": Text("x"), "version": Text("x"), "doing": Text("x"), "protocols": {Text("x")}},
    ],
    ids=range(10),
)
def test_subclasses_of_plain_types_are_stored_as_those(standing: Registry, fields: dict[str, Any]) -> None:
    """A value of a subclass of a plain type is stored as the plain type, and equals the given value."""
    metadata = standing.update("standing", **fields).metadata
    assert {name: getattr(metadata, name) for name in fields} == fields
    assert not any(name in repr(metadata) for name in ("Text", "Whole", "Part"))
    assert standing["standing"].metadata == metadata


def test_times_are_kept_in_utc(either: Registry) -> None:
    """A time with another offset is stored as the same instant in UTC."""
    there = PAST.astimezone(timezone(timedelta(hours=-7)))
    stored = either.register("a", created_at=there).entry.metadata.created_at
    assert stored == PAST
    assert stored.utcoffset() == timedelta(0)


def test_a_creation_time_alone_is_checked_now(either: Registry) -> None:
    """With only `created_at` given, the last health check is the time of registration."""
    entry = either.register("a", created_at=PAST).entry
    assert entry.metadata.last_health_check == entry.registered_at


def test_an_early_health_check_makes_creation_as_early(either: Registry) -> None:
    """With only `last_health_check` given, the creation time is not later."""
    metadata = either.register("a", last_health_check=PAST).entry.metadata
    assert metadata.created_at == metadata.last_health_check == PAST


def test_enumerations_equal_their_strings(either: Registry) -> None:
    """Type and health are enumerations that compare, hash and look up as their strings do."""
    metadata = either.register("a", type=ProcessType.service, health_status=HealthStatus.degraded).entry.metadata
    assert metadata.type is ProcessType.service
    assert metadata.type == "service"
    assert {"service": 1}[metadata.type] == 1
    assert f"{metadata.health_status}" == "degraded"
    assert either.find(type="service") == either.find(type=ProcessType.service) == either.list_all()


def test_deep_data_is_admitted_to_the_bound(either: Registry) -> None:
    """Data may be nested 64 levels deep; one more level is refused, see above."""
    either.register("a", custom=nested(65))
    assert either["a"].metadata.custom == nested(65)


def test_metadata_is_no_positional_puzzle() -> None:
    """`Metadata` and `Entry` have the fields of the specification, under those names."""
    assert adsum.Metadata.__struct_fields__ == (
        "type",
        "capabilities",
        "resources",
        "coordination_variables",
        "health_status",
        "node_affinity",
        "created_at",
        "last_health_check",
        "endpoint",
        "custom",
        "heartbeat",
        "gauges",
        "slots",
        "description",
        "version",
        "protocols",
        "doing",
    )
    promised = {
        "process_id",
        "pid",
        "start_time",
        "incarnation",
        "registered_at",
        "last_updated",
        "revision",
        "metadata",
    }
    assert promised <= set(adsum.Entry.__struct_fields__)
