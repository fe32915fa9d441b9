"""The registrar trusts no client: it repeats every check that `Registry` makes before sending."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from adsum import Limits, ProcessId, Registry
from adsum import _wire as wire
from adsum._amendment import MergeFields
from adsum._client.connection import Connection
from adsum._client.dial import dial
from adsum._client.launch import Launch
from adsum._os import identity
from adsum._validation import MetadataFields
from adsum.model import Owner
from tests.support import eventually, registrar_pid

A, B = ProcessId("default", "n", "a"), ProcessId("default", "n", "b")
FUTURE = datetime(2199, 1, 1, tzinfo=UTC)


class Raw:
    """A client that sends without checking."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.number = 0

    def ask(self, request: wire.AnyRequest) -> wire.AnyReply:
        self.number += 1
        return self.answer_to(wire.frame(wire.Envelope(self.number, time.monotonic_ns() + 10**10, request))[4:])

    def answer_to(self, body: bytes) -> wire.AnyReply:
        """The reply to a frame with this body. Raises `ConnectionError` if the registrar closes the connection."""
        self.connection.send(struct.pack("<I", len(body)) + body, time.monotonic() + 10)
        (reply,) = self.connection.receive(time.monotonic() + 10)
        answer: wire.AnyReply = wire.decode_reply(reply)
        return answer

    def refused(self, request: wire.AnyRequest) -> str:
        reply = self.ask(request)
        assert isinstance(reply, wire.Failed)
        return reply.reason


@pytest.fixture
def raw(registry: Registry) -> Iterator[Raw]:
    """A separate connection to the registrar of `registry`, in which `A` is registered."""
    registry.register(A)
    connection = dial(registry.folder, Launch(Limits()), os.urandom(16), time.monotonic() + 10)
    yield Raw(connection)
    connection.close()


BAD_FIELDS: list[dict[str, Any]] = [
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
    """I4: the registrar refuses invalid metadata from any client."""
    before = registry[A]
    bad = MetadataFields(**fields)
    owner = identity.current()
    assert raw.refused(wire.Register(owner=owner, items=[(B, bad)])) == "invalid_metadata"
    assert raw.refused(wire.Register(owner=owner, items=[(B, bad)], or_get=True)) == "invalid_metadata"
    assert raw.refused(wire.Update(process_id=A, fields=bad)) == "invalid_metadata"
    assert registry.list_all() == [before]
    assert registry.audit() == []


def nested(depth: int) -> dict[str, Any]:
    return {"a": nested(depth - 1)} if depth else {}


BAD_AMENDMENTS: list[dict[str, Any]] = [
    *({"fields": MetadataFields(**fields)} for fields in BAD_FIELDS),
    {"merged": MergeFields(capabilities={"": True})},
    {"merged": MergeFields(capabilities=dict.fromkeys(map(str, range(257)), True))},
    {"merged": MergeFields(coordination_variables={"a\0b": True})},
    {"merged": MergeFields(resources={"": 1})},
    {"merged": MergeFields(resources={"a": "x" * 70_000})},
    {"merged": MergeFields(custom={"a": "x" * 70_000})},
    {"merged": MergeFields(custom=nested(80))},
    {"added": {"custom": 1}},
    {"added": {"": 1}},
    {"added": {"endpoint.x": 1}},
    {"added": {"custom..x": 1}},
    {"added": {"custom" + ".a" * 5000: 1}},
    {"added": {"custom.a": float("nan")}},
    {"added": {"custom.a": float("inf")}},
    {"added": {"custom.a": 2**64 - 1, "custom.b": 1, "resources.a\0b": 1}},
]


@pytest.mark.parametrize("amendment", BAD_AMENDMENTS, ids=range(len(BAD_AMENDMENTS)))
def test_bad_amendments_are_refused_by_the_registrar(registry: Registry, raw: Raw, amendment: dict[str, Any]) -> None:
    """I4: the registrar refuses an amendment that would make invalid metadata from any client, and changes nothing."""
    before = registry[A]
    request = wire.Amend(**{"process_id": A, "fields": MetadataFields(), **amendment})
    assert raw.refused(request) == "invalid_metadata"
    assert registry.list_all() == [before]
    assert registry.audit() == []


@pytest.mark.parametrize("id", [("", "n", "a"), ("s", "n", "a\0b"), ("s", "n", "x" * 479)], ids=range(3))
def test_bad_ids_are_refused_by_the_registrar(registry: Registry, raw: Raw, id: tuple[str, str, str]) -> None:
    """The registrar refuses an invalid id from any client."""
    bad = ProcessId(*id)
    owner = identity.current()
    assert raw.refused(wire.Register(owner=owner, items=[(bad, MetadataFields())])) == "invalid_process_id"
    assert raw.refused(wire.Update(process_id=bad, fields=MetadataFields())) == "invalid_process_id"
    assert raw.refused(wire.Amend(process_id=bad, fields=MetadataFields())) == "invalid_process_id"
    assert raw.refused(wire.Unregister(process_id=bad)) == "invalid_process_id"
    assert raw.refused(wire.HandOver(process_id=bad, owner=owner, if_incarnation=1)) == "invalid_process_id"
    assert len(registry) == 0 or registry.list_all()[0].process_id == A


def test_the_owner_must_live(raw: Raw) -> None:
    """The registrar refuses an owner as dead if its start time is not that of the process with its pid."""
    here = identity.current()
    impostor = Owner(here.pid, here.start_time + 1, 12345 if here.pidfd_inode else 0)
    for owner in (impostor, Owner(0, 0, 0), Owner(2**31, 1, 1)):
        assert raw.refused(wire.Register(owner=owner, items=[(B, MetadataFields())])) == "dead_process"
        assert raw.refused(wire.HandOver(process_id=A, owner=owner, if_incarnation=1)) == "dead_process"


def test_a_late_request_is_not_applied(registry: Registry, raw: Raw) -> None:
    """A request whose deadline has passed on arrival is answered with `timeout`, and changes nothing."""
    late = wire.Envelope(9, 1, wire.Register(owner=identity.current(), items=[(B, MetadataFields())]))
    reply = raw.answer_to(wire.frame(late)[4:])
    assert isinstance(reply, wire.Failed)
    assert (reply.number, reply.reason) == (9, "timeout")
    assert registry.lookup(B) is None


def test_refusals_leave_the_connection_alone(registry: Registry, raw: Raw) -> None:
    """After any number of refusals the registrar still serves the connection."""
    for _ in range(50):
        assert raw.refused(wire.Update(process_id=B, fields=MetadataFields())) == "not_registered"
    reply = raw.ask(
        wire.Register(owner=identity.current(), items=[(B, MetadataFields(type=registry[A].metadata.type))])
    )
    assert isinstance(reply, wire.Done)
    assert registry[B] == reply.entries[0]


def request(**changes: Any) -> bytes:
    """A registration of `B`, with some fields changed, as the body of a frame."""
    number, deadline = changes.pop("number", 1), changes.pop("deadline", 2**62)
    items = [(B, MetadataFields(custom={"a": "MARK"}))]
    registration = wire.Register(**{"owner": identity.current(), "items": items, **changes})
    return wire.frame(wire.Envelope(number, deadline, registration))[4:]


def hello(owner: Owner) -> wire.Hello:
    return wire.Hello(wire.VERSION, identity.pid_namespace(), os.urandom(16), owner)


HERE = identity.current()
# As msgpack: an array of one, nested a hundred thousand times; a time out of range; an unknown extension type.
DEEP, NO_TIME, EXTENSION = b"\x91" * 100_000 + b"\xc0", b"\xc7\x0c\xff" + b"\xff" * 12, b"\xd4\x05\x00"
POISON = {
    "negative pid": request(owner=Owner(-1, 0, 0)),
    "negative start time": request(owner=Owner(HERE.pid, -5, 0)),
    "negative inode": request(owner=Owner(HERE.pid, HERE.start_time, -1)),
    "hand-over to a negative pid": wire.frame(
        wire.Envelope(1, 2**62, wire.HandOver(process_id=A, owner=Owner(HERE.pid, -5, 0), if_incarnation=1))
    )[4:],
    "nothing but depth": DEEP,
    "depth inside custom": request().replace(b"\xa4MARK", DEEP),
    "impossible time": request().replace(b"\xa4MARK", NO_TIME),
    "extension": request().replace(b"\xa4MARK", EXTENSION),
    "no Unicode": request().replace(b"\xa4MARK", b"\xa4\xff\xff\xff\xff"),
    "number of 64 bits": request(number=2**64 - 1),
    "negative number": request(number=-1),
    "negative deadline": request(deadline=-1),
    "nothing to register": request(items=[]),
    "another message": wire.frame(wire.Welcome(1, 1.0))[4:],
    "a second greeting": wire.frame(hello(HERE))[4:],
    "empty": b"",
}


@pytest.mark.parametrize("poison", POISON)
def test_no_message_takes_the_registrar_from_others(registry: Registry, raw: Raw, poison: str) -> None:
    """A malformed message affects only its sender: the registrar refuses or disconnects it, and serves all others."""
    serving = registrar_pid(registry.folder)
    try:
        raw.answer_to(POISON[poison])
    except ConnectionError:
        pass
    registry.update(A, endpoint="after")
    assert registrar_pid(registry.folder) == serving
    assert registry.audit() == []


def test_a_false_identity_harms_only_its_bearer(registry: Registry) -> None:
    """A client that claims an impossible owner and registers in its session loses the entry when it disconnects."""
    registry.register(A)
    serving = registrar_pid(registry.folder)
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(registry.folder / wire.SOCKET_NAME))
        client.sendall(wire.frame(hello(Owner(-1, -1, -1))) + struct.pack("<I", len(request(bound=True))))
        try:
            client.sendall(request(bound=True))
            # Until the welcome and the reply have come, or the registrar has closed the connection.
            while (received := client.recv(4096)) and b"done" not in received:
                pass
        except ConnectionError:
            pass
    eventually(lambda: registry.lookup(B) is None)
    registry.update(A, endpoint="after")
    assert registrar_pid(registry.folder) == serving
