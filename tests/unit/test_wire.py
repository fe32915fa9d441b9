"""The messages of the wire: each request, reply and error is equal after encoding and decoding."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adsum import _wire as wire
from adsum._amendment import MergeFields
from adsum._validation import MetadataFields
from adsum.errors import BY_REASON, AdsumError
from adsum.model import EPOCH, Entry, Metadata, Owner, ProcessId

ID = ProcessId("ns", "node", "a")
OWNER = Owner(1, 2, 2**40)
ENTRY = Entry(ID, 1, 2, 2**40, 7, EPOCH, EPOCH, 9, Metadata(capabilities=frozenset({"x"}), custom={"a": [1]}))
MESSAGES: list[wire.Envelope] = [
    wire.Envelope(1, 2**60, wire.Register(owner=OWNER, items=[(ID, MetadataFields(endpoint=None))], or_get=True)),
    wire.Envelope(2, 0, wire.Update(process_id=ID, fields=MetadataFields(capabilities=frozenset()), checked=True)),
    wire.Envelope(
        2,
        5,
        wire.Amend(
            process_id=ID,
            fields=MetadataFields(endpoint=None),
            if_revision=7,
            merged=MergeFields(capabilities={"x": False}, resources={"gpu": None, "cpu": 2}, custom={"a": {"b": None}}),
            added={"custom.done": 1, "resources.tokens": -0.5},
        ),
    ),
    wire.Envelope(3, 5, wire.Unregister(process_id=ID, if_incarnation=7)),
    wire.Envelope(4, 5, wire.HandOver(process_id=ID, owner=OWNER, if_incarnation=7)),
    wire.Envelope(5, 5, wire.UpdateMany(items=[(ID, MetadataFields(endpoint=None)), (ID, MetadataFields())])),
    wire.Envelope(6, 5, wire.UnregisterMany(items=[(ID, None), (ID, 7)])),
]


def frames_in(stream: bytes) -> list[bytes]:
    frames = wire.FrameBuffer()
    frames.feed(stream)
    return list(frames)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message.request).__name__)
def test_requests_come_out_as_they_went_in(message: object) -> None:
    """Every request is equal after the wire; a field that was not given stays apart from one that was given None."""
    (body,) = frames_in(wire.frame(message))
    assert wire.decode_envelope(body) == message


@pytest.mark.parametrize(
    "body",
    [b"", b"\xc1", b"\x90", msgspec.msgpack.encode(["nothing", "x"]), msgspec.msgpack.encode({"type": "register"})],
    ids=range(5),
)
def test_what_is_no_message_is_a_decode_error(body: bytes) -> None:
    """Bytes that are no message raise `DecodeError`, and no other kind of error."""
    for decode in (wire.decode_envelope, wire.decode_reply, wire.decode_hello, wire.decode_welcome):
        with pytest.raises(msgspec.DecodeError):
            decode(body)


@given(st.sampled_from(MESSAGES), st.integers(0, 200), st.binary(min_size=1, max_size=3))
def test_a_damaged_message_is_a_message_or_refused(message: object, place: int, damage: bytes) -> None:
    """Bytes changed at any place give another message, or one of the errors that end a connection; nothing else."""
    body = bytearray(wire.frame(message)[4:])
    body[place % len(body) : place % len(body) + len(damage)] = damage
    try:
        request = wire.decode_envelope(bytes(body))
    except (msgspec.DecodeError, ValueError):
        return
    assert isinstance(request, wire.Envelope)


def test_a_longer_message_of_a_later_version_is_understood() -> None:
    """Fields are only appended, and a decoder that does not know the appended ones ignores them."""
    for message in MESSAGES:
        number, deadline, request = msgspec.msgpack.decode(wire.frame(message)[4:])
        longer = [number, deadline, [*request, "a field of the future"], "another one"]
        assert wire.decode_envelope(msgspec.msgpack.encode(longer)) == message


@pytest.mark.parametrize("reason", BY_REASON)
def test_errors_cross_the_wire(reason: str) -> None:
    """A failure becomes the same error with the same message, and with the entry it carries."""
    error = BY_REASON[reason]("what; and what to do")
    failed = wire.decode_reply(wire.frame(wire.failure(9, error))[4:])
    assert isinstance(failed, wire.Failed)
    assert failed.number == 9
    again = wire.error_from(failed)
    assert type(again) is type(error)
    assert str(again) == str(error)


def test_an_entry_crosses_with_its_error() -> None:
    """The holder's entry is in the reply."""
    error = BY_REASON["already_registered"]("held", entry=ENTRY)
    failed = wire.decode_reply(wire.frame(wire.failure(1, error))[4:])
    assert isinstance(failed, wire.Failed)
    assert vars(wire.error_from(failed)) == {"entry": ENTRY}


def test_an_unknown_reason_is_still_an_error() -> None:
    """A word of a later version becomes the root of the tree, with its message."""
    error = wire.error_from(wire.Failed(1, "of_the_future", "message"))
    assert type(error) is AdsumError
    assert str(error) == "message"


def test_replies_come_out_as_they_went_in() -> None:
    """`Done` and its entries are equal after the wire."""
    done = wire.Done(5, [ENTRY, ENTRY], changed=False)
    assert wire.decode_reply(wire.frame(done)[4:]) == done
