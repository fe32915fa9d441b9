"""The documents of `adsum.views`: one published schema, which the command line's answers follow."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest

from adsum import Departure, Entry, Kind, Metadata, Registry, Stats
from adsum.views import documents

from .command import Command

T = TypeVar("T")
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
        # Its present gauges, in place of where they are in memory.
        (Entry, documents.EntryDocument, {"id", "gauges", "row_place", "host", "reach"}),
        (Metadata, documents.MetadataDocument, set()),
        (Departure, documents.DepartureDocument, {"id", "time_known"}),
    ],
)
def test_a_document_has_every_field_of_its_record(record: type[Any], document: type[Any], own: set[str]) -> None:
    """A document has every field of its record."""
    assert set(document.__struct_fields__) == set(record.__struct_fields__) ^ own


def test_the_answers_of_the_command_line_follow_the_schema(members: Registry, command: Command) -> None:
    """The answers of show, ls, health, update, stats, top, departures, namespaces, register, audit, unregister, wait,
    registrar and doctor are documents of the schema, with its fields and no others, in its order."""
    registration = members.register("worker", capabilities={"b", "a"}, custom={"bytes": b"x", "n": [1, None]})
    members.register("other")
    registration.unregister()
    members.register("worker", resources={"gpu": 1})
    shown = _answer(command, documents.EntryDocument, "show", "worker")
    assert shown == documents.entry_document(members["worker"])
    assert len(_answer(command, list[documents.EntryDocument], "ls")) == 2
    degraded = _answer(command, documents.EntryDocument, "health", "worker", "degraded")
    assert degraded.metadata.health_status == "degraded"
    assert _answer(command, Stats, "stats").entries == 2
    everything = _answer(command, documents.RegistryDocument, "top")
    assert [entry.id for entry in everything.entries] == ["default/here/other", "default/here/worker"]
    assert [departure.how for departure in everything.departures] == ["unregistered"]
    assert [one.how for one in _answer(command, list[documents.DepartureDocument], "departures")] == ["unregistered"]
    assert [one.members for one in _answer(command, list[documents.NamespaceDocument], "namespaces")] == [2]
    assert _answer(command, documents.EntryDocument, "register", "third", str(os.getpid())).pid == os.getpid()
    assert _answer(command, documents.UnregistrationDocument, "unregister", "third").unregistered
    assert _answer(command, documents.AuditDocument, "audit").violations == []
    assert _answer(command, documents.UnregistrationDocument, "unregister", "other").unregistered
    assert _answer(command, documents.GoneDocument, "wait", "--gone", "other").entry is None
    assert _answer(command, documents.EntryDocument, "update", "worker", "--add", "custom.n=1").revision == 9
    assert _answer(command, documents.RegistrarDocument, "registrar").pid == members.stats().registrar_pid
    assert _answer(command, documents.ChecksDocument, "doctor").checks


def test_the_lines_of_a_watch_follow_the_schema(members: Registry, command: Command) -> None:
    """So is each line of watch, whatever the kind of event."""
    members.register("worker", capabilities={"a"})
    with command.start("watch", "--since", "1000", "--snapshot", "--json") as watching:
        lines = [watching.line() for _ in range(3)]
        members.register("other").update(endpoint="x")
        members.unregister("other")
        lines += [watching.line() for _ in range(3)]
    kinds = [_strict(line, documents.EventDocument).kind for line in lines]
    assert kinds == ["snapshot", "lagged", "snapshot", "registered", "updated", "unregistered"]


def _answer(command: Command, kind: type[T], *typed: str) -> T:
    return _strict(command(*typed, "--json").out, kind)


def _strict(text: str, kind: type[T]) -> T:
    """The document, which must have every field of its kind and no other, in that order."""
    decoded = msgspec.json.decode(text, type=kind)
    printed, encoded = (json.loads(one, object_pairs_hook=list) for one in (text, msgspec.json.encode(decoded)))
    assert printed == encoded
    return decoded
