"""The documents of `adsum.views`: one published schema, which the command line's answers follow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from adsum import Departure, Entry, Kind, Metadata, Registry, Stats
from adsum.views import documents

from .command import Command

PUBLISHED = Path(__file__).resolve().parents[2] / "docs" / "schema.json"


def test_the_published_schema_is_current() -> None:
    """docs/schema.json is the schema of the code. To renew it: python -m adsum.views.documents > docs/schema.json"""
    assert json.loads(PUBLISHED.read_text()) == json.loads(msgspec.json.encode(documents.schema()))


def test_an_event_document_has_every_kind() -> None:
    """The documents have every kind of event."""
    assert {*documents.EventKind} == {*Kind, "snapshot"}


@pytest.mark.parametrize(
    ("record", "document", "own"),
    [
        (Entry, documents.EntryDocument, {"id"}),
        (Metadata, documents.MetadataDocument, set()),
        (Departure, documents.DepartureDocument, {"id"}),
    ],
)
def test_a_document_has_every_field_of_its_record(record: type[Any], document: type[Any], own: set[str]) -> None:
    """A document has every field of its record."""
    assert set(document.__struct_fields__) == {*record.__struct_fields__, *own}


def test_the_answers_of_the_command_line_follow_the_schema(members: Registry, command: Command) -> None:
    """The answers of show, ls, stats, watch and top decode strictly as the documents of the schema."""
    registration = members.register("worker", capabilities={"b", "a"}, custom={"bytes": b"x", "n": [1, None]})
    members.register("other")
    registration.unregister()
    members.register("worker", resources={"gpu": 1})
    shown = _strict(command("show", "worker", "--json").out, documents.EntryDocument)
    assert shown == documents.entry_document(members["worker"])
    assert len(_strict(command("ls", "--json").out, list[documents.EntryDocument])) == 2
    assert _strict(command("stats", "--json").out, Stats).entries == 2
    everything = json.loads(command("top", "--json").out)
    (departure,) = _strict(json.dumps(everything["departures"]), list[documents.DepartureDocument])
    assert departure.how == "unregistered"


def _strict(text: str, kind: type[Any]) -> Any:
    """The document, which must have every field and no other."""
    decoded = msgspec.json.decode(text, type=kind)
    assert json.loads(msgspec.json.encode(decoded)) == json.loads(text)
    return decoded
