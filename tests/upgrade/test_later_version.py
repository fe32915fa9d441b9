"""Records and messages of a later version, which has more fields and more kinds than this one."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from adsum import Limits, Registry
from adsum import _wire as wire
from adsum._client.connection import Connection
from adsum._client.dial import dial
from adsum._client.launch import Launch
from adsum._os import identity
from adsum._store import layout
from adsum._validation import MetadataFields
from adsum.errors import VersionMismatch
from adsum.model import EPOCH, Departure, Entry, Metadata, Owner, ProcessId, RegistrarStats

ID = ProcessId("default", "n", "a")
METADATA = Metadata(capabilities=frozenset({"x"}), custom={"n": [1]})
ENTRY = Entry(ID, 1, 2, 3, 7, EPOCH, EPOCH, 9, METADATA)
STORED: list[Any] = [
    ENTRY,
    METADATA,
    layout.Record(ENTRY, b"session"),
    layout.Standby(ID, Owner(1, 2, 3), MetadataFields(), b"session", 1, 2),
    Departure(ENTRY, "died", EPOCH, 0.5),
]


@pytest.mark.parametrize("record", STORED, ids=lambda record: type(record).__name__)
def test_a_stored_record_with_appended_fields_is_read(record: Any) -> None:
    """A row of a later version is read by this one: the fields that this one knows, and no others."""
    later = [*msgspec.msgpack.decode(msgspec.msgpack.encode(record)), "appended", {"by": "a later version"}]
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(later), type=type(record)) == record


@pytest.mark.parametrize("record", STORED, ids=lambda record: type(record).__name__)
def test_a_later_version_reads_rows_of_this_one(record: Any) -> None:
    """A record with one more field, which has a default, reads a row that lacks it."""
    kind = type(record)
    kw_only = kind is Metadata
    appended = [("appended", int, 5)]
    later = msgspec.defstruct("Later", appended, bases=(kind,), array_like=True, frozen=True, kw_only=kw_only)
    read = msgspec.msgpack.decode(msgspec.msgpack.encode(record), type=later)
    assert read.appended == 5  # type: ignore[attr-defined]
    assert all(getattr(read, name) == getattr(record, name) for name in record.__struct_fields__)


def test_an_entry_grows_without_touching_the_private_part() -> None:
    """A field appended to `Entry` leaves the session behind it where it was."""
    entry, session, before_late = msgspec.msgpack.decode(layout.encode(layout.Record(ENTRY, b"session")))
    row = msgspec.msgpack.encode([[*entry, "appended"], session, before_late, "appended"])
    assert layout.decode_record(row) == layout.Record(ENTRY, b"session")
    assert layout.decode_public(row).entry == ENTRY


@pytest.mark.parametrize("record", [Limits(), RegistrarStats(pending=3)], ids=["Limits", "RegistrarStats"])
def test_named_fields_that_are_not_known_are_ignored(record: Any) -> None:
    """Limits and statistics are maps: a later version's field is ignored."""
    later = {**msgspec.msgpack.decode(msgspec.msgpack.encode(record)), "appended": 1}
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(later), type=type(record)) == record


class Later:
    """A client of a later version, on a connection of its own."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._number = 0

    def ask(self, *request: object) -> wire.AnyReply:
        self._number += 1
        self._connection.send(
            wire.frame([self._number, time.monotonic_ns() + 10**10, list(request), "appended"]), time.monotonic() + 10
        )
        (reply,) = self._connection.receive(time.monotonic() + 10)
        return wire.decode_reply(reply)


@pytest.fixture
def later(registry: Registry) -> Iterator[Later]:
    """Beside `registry`, in which "a" is registered."""
    registry.register(ID)
    connection = dial(registry.folder, Launch(Limits()), os.urandom(16), time.monotonic() + 10)
    yield Later(connection)
    connection.close()


def test_appended_fields_of_a_request_are_ignored(registry: Registry, later: Later) -> None:
    """The registrar carries out what it knows of a longer request."""
    done = later.ask("unregister", ID, None, "appended")
    assert isinstance(done, wire.Done)
    assert registry.lookup(ID) is None


def test_an_unknown_request_is_refused_by_its_number(registry: Registry, later: Later) -> None:
    """A request of a later version fails explicitly, and the connection goes on."""
    for _ in range(3):
        refused = later.ask("teleport", ID)
        assert isinstance(refused, wire.Failed)
        assert refused.reason == "version_mismatch"
        assert "'teleport'" in refused.message
        assert "adsum registrar --replace" in refused.message
    assert isinstance(later.ask("unregister", ID, None), wire.Done)


def test_an_unknown_metadata_field_is_refused_by_name(registry: Registry, later: Later) -> None:
    """A field of a later version is not dropped in silence: the request fails, and nothing is changed."""
    refused = later.ask("register", identity.current(), [(ProcessId("default", "n", "b"), {"motto": "x"})])
    assert isinstance(refused, wire.Failed)
    assert refused.reason == "invalid_metadata"
    assert refused.message.startswith("metadata.motto:")
    assert registry.count(node="n") == 1


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (["register", identity.current(), [(ProcessId("default", "n", "b"), {"type": "gateway"})]], "type"),
        (["update", ID, {"health_status": "dormant"}], "health_status"),
    ],
)
def test_an_unknown_value_of_a_field_is_refused_by_name(
    request_: list[object], field: str, registry: Registry, later: Later
) -> None:
    """A process type or health status of a later version is refused, and the connection goes on: a client whose
    connection ended would send the request again."""
    for _ in range(2):
        refused = later.ask(*request_)
        assert isinstance(refused, wire.Failed)
        assert refused.reason == "invalid_metadata"
        assert refused.message.startswith(f"metadata.{field}: this registrar does not know the value ")
    assert registry.count(node="n") == 1


def test_a_client_of_a_later_version_is_welcome(registry: Registry) -> None:
    """The registrar serves a client whose protocol differs by appended fields and kinds."""
    registry.register(ID)
    from tests.registrar.by_hand import Caller, hello

    with Caller(registry.folder) as caller:
        caller.send(hello(version=wire.VERSION + 1))
        assert isinstance(wire.decode_welcome(caller.frame()), wire.Welcome)


def test_an_unknown_reply_fails_that_one_call() -> None:
    """A kind of reply that this version does not know becomes `VersionMismatch` for the request with its number."""
    reply = wire.decode_reply(msgspec.msgpack.encode(["teleported", 7, "anywhere"]))
    assert isinstance(reply, wire.Failed)
    assert reply.number == 7
    assert isinstance(wire.error_from(reply), VersionMismatch)


def test_a_known_reply_with_appended_fields_is_read() -> None:
    """Fields that are appended to a reply are ignored."""
    body = msgspec.msgpack.encode([*msgspec.msgpack.decode(wire.frame(wire.Done(5, [ENTRY]))[4:]), "appended"])
    assert wire.decode_reply(body) == wire.Done(5, [ENTRY])
