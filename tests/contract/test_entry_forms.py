"""What an entry offers beside its fields, and custom data as objects of a program's own classes."""

from __future__ import annotations

import dataclasses
import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

import adsum
from adsum import Entry, InvalidMetadata, Registry
from adsum.views.documents import entry_document


class Point(msgspec.Struct):
    x: int
    y: float = 0.5


class Task(msgspec.Struct, rename="camel"):
    task_number: int
    tags: set[str]
    where: Point
    since: datetime
    raw: bytes


@dataclasses.dataclass
class Job:
    number: int
    point: Point
    by_number: dict[int, tuple[str, ...]]
    anything: dict[str, Any]


class Model:
    """A class with the two methods by which a model of pydantic is recognised."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Model) and other.number == self.number

    __hash__ = None  # type: ignore[assignment]

    def model_dump(self, *, mode: str, by_alias: bool) -> dict[str, Any]:
        assert (mode, by_alias) == ("json", True)
        return {"Number": str(self.number)}

    @classmethod
    def model_validate(cls, data: dict[str, Any]) -> Model:
        try:
            return cls(int(data.pop("Number")))
        except KeyError:
            raise ValueError("Number is missing") from None


OBJECTS: list[Any] = [
    Task(7, {"urgent", "late"}, Point(1), datetime(2026, 1, 2, 3, tzinfo=UTC), b"\xff\0"),
    Job(8, Point(2, 3.5), {1: ("a", "b")}, {"list": [1, {"x": None}]}),
    Model(9),
]


@pytest.fixture
def entry(either: Registry) -> Entry:
    """An entry with a value in every field, some of which JSON has no word for."""
    either.register(
        ("robots", "rack\n7", "arm/2"),
        type="service",
        capabilities={"weld", "paint", "lift", "cut", "move"},
        resources={"load": math.inf, "name": "x"},
        coordination_variables={"b", "a"},
        node_affinity=["n2", "n1"],
        endpoint="tcp://host\t:1",
        custom={"bytes": b"\xff", "nested": [{"a": (1, 2)}], "nan": math.nan},
        heartbeat=5.0,
        description="Welds.\nAnd paints.",
        version="1.2",
        protocols={"mcp", "a2a"},
        doing="welds a door",
    )
    return either[("robots", "rack\n7", "arm/2")]


def test_short_names_are_parts_of_the_entry(entry: Entry) -> None:
    """`id` is the process id as one string; `endpoint` and `custom` are those of the metadata."""
    assert entry.id == str(entry.process_id) == "robots/rack\n7/arm/2"
    assert entry.endpoint == entry.metadata.endpoint == "tcp://host\t:1"
    assert entry.custom is entry.metadata.custom


def test_custom_data_of_an_entry_does_not_change(entry: Entry) -> None:
    """`custom` is the shared data of the entry: changing it in place is an error."""
    with pytest.raises(TypeError, match="never change in place"):
        entry.custom["new"] = 1


def test_the_dictionary_is_the_published_document(entry: Entry) -> None:
    """`to_dict` gives what the command line prints with --json, and json can write it under its strict rules."""
    document = entry.to_dict()
    assert document == json.loads(msgspec.json.encode(entry_document(entry)))
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert (document["id"], document["metadata"]["custom"]["bytes"]) == (entry.id, "/w==")


def test_the_dictionary_is_the_callers(entry: Entry) -> None:
    """What `to_dict` gives may be changed, inside too, and the entry stays as it is."""
    document = entry.to_dict()
    document["metadata"]["custom"]["nested"].append(1)
    assert entry.to_dict() != document


def test_a_repr_is_one_line(entry: Entry, either: Registry) -> None:
    """The repr names what matters in one line, whatever characters are in it, and not all of many capabilities."""
    assert repr(entry) == (
        f"<Entry 'robots/rack\\n7/arm/2' pid={entry.pid} service healthy {{'cut', 'lift', 'move', 'paint', ...}} "
        f"endpoint='tcp://host\\t:1' incarnation=1 revision=1>"
    )
    assert str(either.register("b").entry).endswith(f"/b' pid={entry.pid} agent healthy incarnation=2 revision=2>")


def test_the_stored_record_has_the_fields_alone(entry: Entry) -> None:
    """What is stored and sent of an entry are its fifteen fields, in their order."""
    assert Entry.__struct_fields__[-5:] == ("row_place", "claims", "owned_by", "origin", "fencing_token")
    assert len(msgspec.msgpack.decode(msgspec.msgpack.encode(entry))) == len(Entry.__struct_fields__) == 15


@pytest.mark.parametrize("custom", OBJECTS, ids=["struct", "dataclass", "model"])
def test_custom_data_may_be_an_object(either: Registry, custom: Any) -> None:
    """Every call that takes `custom` takes an object; plain data is stored, and `custom_as` makes an equal object."""
    calls: list[Entry] = [
        either.register("a", custom=custom).entry,
        either.update("a", custom=custom),
        either.register("b").update(custom=custom),
        either.register_many([("c", {"custom": custom})])[0].entry,
        either.get_or_register("d", custom=custom)[0],
        either.stand_by("e", custom=custom).result(timeout=10).entry,
        either.register_nowait("f", custom=custom).result(timeout=10).entry if not _is_async(either) else either["a"],
    ]
    for entry in calls:
        assert type(dict(entry.custom)) is dict
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(entry.custom)) == entry.custom
        assert entry.custom_as(type(custom)) == custom


def _is_async(registry: Registry) -> bool:
    return "Async" in repr(registry)


def test_objects_are_stored_under_the_names_that_they_are_encoded_with(either: Registry) -> None:
    """A reader without the class finds the encoded names, times as text, sets as lists, and bytes as bytes."""
    custom = either.register("a", custom=OBJECTS[0]).entry.custom
    assert custom["taskNumber"] == 7
    assert sorted(custom["tags"]) == ["late", "urgent"]
    assert (custom["where"], custom["since"], custom["raw"]) == (
        {"x": 1, "y": 0.5},
        "2026-01-02T03:00:00Z",
        b"\xff\0",
    )


@pytest.mark.parametrize("type", [Task, Job, Model, int, list[int]])
def test_data_that_does_not_fit_is_an_error(either: Registry, type: Any) -> None:
    """`custom_as` names the member, the class and what does not fit."""
    entry = either.register("a", custom={"number": "x"}).entry
    with pytest.raises(InvalidMetadata, match=r"custom of default/.*/a does not fit (Task|Job|Model|int|list): "):
        entry.custom_as(type)


def test_an_object_that_is_not_plain_data_is_refused(either: Registry) -> None:
    """An object with a part that no plain data can say is refused with its class, and nothing is registered."""
    for custom in (Job(1, object(), {}, {}), Job(1, Point(1), {}, {"a": 1 << 70})):  # type: ignore[arg-type]
        with pytest.raises(InvalidMetadata, match=r"metadata\.custom"):
            either.register("a", custom=custom)
    assert "a" not in either


@pytest.mark.parametrize("custom", [Job, Point, Model, 3, "x", [1]])
def test_other_values_are_refused_as_before(either: Registry, custom: Any) -> None:
    """A class in place of its instance, and a value that is no map, are refused."""
    with pytest.raises(InvalidMetadata, match=r"metadata\.custom: expected `dict`"):
        either.register("a", custom=custom)


def test_a_model_of_pydantic(registry_folder: Path) -> None:
    """A model of pydantic is stored by its aliases, and is an equal model again; its own errors are translated."""
    pydantic = pytest.importorskip("pydantic")
    model = pydantic.create_model("M", number=(int, pydantic.Field(alias="No")), at=(datetime, ...))
    made = model(No=3, at=datetime(2026, 1, 2, tzinfo=UTC))
    with adsum.open(path=registry_folder) as registry:
        entry = registry.register("a", custom=made).entry
        assert dict(entry.custom) == {"No": 3, "at": "2026-01-02T00:00:00Z"}
        assert entry.custom_as(model) == made
        with pytest.raises(InvalidMetadata, match="does not fit M"):
            registry.update("a", custom={"No": "x"}).custom_as(model)
