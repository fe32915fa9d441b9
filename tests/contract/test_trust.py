"""The registrar trusts no client: what `Registry` would have refused, it refuses itself."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from adsum import Limits, ProcessId, Registry
from adsum import _wire as wire
from adsum._client.dial import Connection, dial
from adsum._os import identity
from adsum._validation import MetadataFields
from adsum.model import Owner

A, B = ProcessId("default", "n", "a"), ProcessId("default", "n", "b")
FUTURE = datetime(2199, 1, 1, tzinfo=UTC)


class Raw:
    """A client that checks nothing before it sends."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.number = 0

    def ask(self, kind: type[wire.Request], **fields: Any) -> wire.AnyReply:
        self.number += 1
        request = kind(number=self.number, deadline=time.monotonic_ns() + 10**10, **fields)
        self.connection.send(wire.frame(request), time.monotonic() + 10)
        (reply,) = self.connection.receive(time.monotonic() + 10)
        return wire.decode_reply(reply)

    def refused(self, kind: type[wire.Request], **fields: Any) -> str:
        reply = self.ask(kind, **fields)
        assert isinstance(reply, wire.Failed)
        return reply.reason


@pytest.fixture
def raw(registry: Registry) -> Iterator[Raw]:
    """A connection of its own beside `registry`, in which `A` is registered."""
    registry.register(A)
    connection = dial(registry.folder, Limits(), os.urandom(16), time.monotonic() + 10)
    yield Raw(connection)
    connection.close()


BAD_FIELDS = [
    {"capabilities": frozenset({""})},
    {"capabilities": frozenset({"a\0b"})},
    {"capabilities": frozenset({"x" * 256})},
    {"capabilities": frozenset(map(str, range(257)))},
    {"coordination_variables": frozenset({""})},
    {"resources": {"": 1}},
    {"node_affinity": [""]},
    {"endpoint": ""},
    {"endpoint": "x" * 3000},
    {"created_at": FUTURE},
    {"last_health_check": FUTURE},
    {"custom": {"a": "x" * 70_000}},
]


@pytest.mark.parametrize("fields", BAD_FIELDS, ids=range(len(BAD_FIELDS)))
def test_bad_metadata_is_refused_by_the_registrar(registry: Registry, raw: Raw, fields: dict[str, Any]) -> None:
    """I4: metadata that no rule admits is not stored, whoever sends it."""
    before = registry[A]
    bad = MetadataFields(**fields)
    owner = identity.current()
    assert raw.refused(wire.Register, owner=owner, items=[(B, bad)]) == "invalid_metadata"
    assert raw.refused(wire.Register, owner=owner, items=[(B, bad)], or_get=True) == "invalid_metadata"
    assert raw.refused(wire.Update, process_id=A, fields=bad) == "invalid_metadata"
    assert registry.list_all() == [before]
    assert registry.audit() == []


@pytest.mark.parametrize("id", [("", "n", "a"), ("s", "n", "a\0b"), ("s", "n", "x" * 479)], ids=range(3))
def test_bad_ids_are_refused_by_the_registrar(registry: Registry, raw: Raw, id: tuple[str, str, str]) -> None:
    """An id that breaks a rule is not stored, whoever sends it."""
    bad = ProcessId(*id)
    owner = identity.current()
    assert raw.refused(wire.Register, owner=owner, items=[(bad, MetadataFields())]) == "invalid_process_id"
    assert raw.refused(wire.Update, process_id=bad, fields=MetadataFields()) == "invalid_process_id"
    assert raw.refused(wire.Unregister, process_id=bad) == "invalid_process_id"
    assert raw.refused(wire.HandOver, process_id=bad, owner=owner, if_incarnation=1) == "invalid_process_id"
    assert len(registry) == 0 or registry.list_all()[0].process_id == A


def test_the_owner_must_live(raw: Raw) -> None:
    """An owner whose start is not that of the process with its number is somebody else, and dead."""
    here = identity.current()
    impostor = Owner(here.pid, here.start_time + 1, 12345 if here.pidfd_inode else 0)
    for owner in (impostor, Owner(0, 0, 0), Owner(2**31, 1, 1), Owner(-1, 0, 0)):
        assert raw.refused(wire.Register, owner=owner, items=[(B, MetadataFields())]) == "dead_process"
        assert raw.refused(wire.HandOver, process_id=A, owner=owner, if_incarnation=1) == "dead_process"


def test_a_late_request_is_not_applied(registry: Registry, raw: Raw) -> None:
    """A request whose deadline has passed when it arrives is `timeout`, and nothing is changed."""
    late = wire.Register(number=9, deadline=1, owner=identity.current(), items=[(B, MetadataFields())])
    raw.connection.send(wire.frame(late), time.monotonic() + 10)
    (body,) = raw.connection.receive(time.monotonic() + 10)
    reply = wire.decode_reply(body)
    assert isinstance(reply, wire.Failed)
    assert (reply.number, reply.reason) == (9, "timeout")
    assert registry.lookup(B) is None


def test_refusals_leave_the_connection_alone(registry: Registry, raw: Raw) -> None:
    """After any number of refusals the same connection is served."""
    for _ in range(50):
        assert raw.refused(wire.Update, process_id=B, fields=MetadataFields()) == "not_registered"
    reply = raw.ask(
        wire.Register, owner=identity.current(), items=[(B, MetadataFields(type=registry[A].metadata.type))]
    )
    assert isinstance(reply, wire.Done)
    assert registry[B] == reply.entries[0]
