"""Frames: bytes in whatever pieces, messages out."""

from __future__ import annotations

import struct

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adsum import _wire as wire
from adsum._validation import MetadataFields
from adsum.errors import BY_REASON, AdsumError
from adsum.model import EPOCH, Entry, Metadata, Owner, ProcessId

ID = ProcessId("ns", "node", "a")
OWNER = Owner(1, 2, 2**40)
ENTRY = Entry(ID, 1, 2, 2**40, 7, EPOCH, EPOCH, 9, Metadata(capabilities=frozenset({"x"}), custom={"a": [1]}))
MESSAGES: list[wire.Envelope] = [
    wire.Envelope(1, 2**60, wire.Register(owner=OWNER, items=[(ID, MetadataFields(endpoint=None))], or_get=True)),
    wire.Envelope(2, 0, wire.Update(process_id=ID, fields=MetadataFields(capabilities=frozenset()), checked=True)),
    wire.Envelope(3, 5, wire.Unregister(process_id=ID, if_incarnation=7)),
    wire.Envelope(4, 5, wire.HandOver(process_id=ID, owner=OWNER, if_incarnation=7)),
]
STREAM = b"".join(map(wire.frame, MESSAGES))


def decoded(frames: wire.Frames) -> list[wire.Envelope]:
    return [wire.decode_envelope(body) for body in frames]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message.request).__name__)
def test_requests_come_out_as_they_went_in(message: object) -> None:
    """Every request is equal after the wire; a field that was not given stays apart from one that was given None."""
    frames = wire.FrameBuffer()
    frames.feed(wire.frame(message))
    assert decoded(frames) == [message]


@pytest.mark.parametrize("split", range(len(STREAM) + 1))
def test_a_stream_may_be_cut_anywhere(split: int) -> None:
    """Two pieces, cut at any byte, give the same messages as the whole."""
    frames = wire.FrameBuffer()
    frames.feed(STREAM[:split])
    first = decoded(frames)
    frames.feed(STREAM[split:])
    assert first + decoded(frames) == MESSAGES
    assert len(frames) == 0


def test_a_stream_may_come_byte_by_byte() -> None:
    """Single bytes give the same messages, each as soon as its last byte is there."""
    frames, found = wire.FrameBuffer(), []
    for position in range(len(STREAM)):
        frames.feed(STREAM[position : position + 1])
        found += decoded(frames)
    assert found == MESSAGES


@given(st.lists(st.binary(max_size=200), max_size=8), st.lists(st.integers(0, 2000), max_size=6))
def test_any_bodies_in_any_pieces(bodies: list[bytes], cuts: list[int]) -> None:
    """Whatever the bodies, empty ones included, and wherever the stream is cut, they come out whole and in order."""
    stream = b"".join(struct.pack("<I", len(body)) + body for body in bodies)
    frames, found, last = wire.FrameBuffer(), [], 0
    for cut in [*sorted(min(cut, len(stream)) for cut in cuts), len(stream)]:
        frames.feed(stream[last:cut])
        found += list(frames)
        last = cut
    assert found == bodies


def test_a_reader_may_stop_in_between() -> None:
    """Frames that were not taken yet come with the next look."""
    frames = wire.FrameBuffer()
    frames.feed(STREAM)
    for taken in frames:
        assert wire.decode_envelope(taken) == MESSAGES[0]
        break
    assert decoded(frames) == MESSAGES[1:]


@pytest.mark.parametrize("length", [wire.MAX_FRAME + 1, 2**32 - 1])
def test_an_oversized_frame_is_refused_when_it_is_announced(length: int) -> None:
    """Four bytes are enough to know; whole frames before it are still given."""
    frames = wire.FrameBuffer()
    frames.feed(wire.frame(MESSAGES[0]) + struct.pack("<I", length))
    looking = iter(frames)
    assert wire.decode_envelope(next(looking)) == MESSAGES[0]
    with pytest.raises(wire.FrameTooLarge, match=f"{length} bytes .* at most {wire.MAX_FRAME}"):
        next(looking)


def test_a_frame_may_be_as_large_as_the_bound() -> None:
    """Exactly `MAX_FRAME` bytes are a frame."""
    frames = wire.FrameBuffer()
    frames.feed(struct.pack("<I", wire.MAX_FRAME))
    assert list(frames) == []
    frames.feed(bytes(wire.MAX_FRAME))
    assert list(map(len, frames)) == [wire.MAX_FRAME]


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
