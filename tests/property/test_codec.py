"""What goes into the tables and over the socket comes out the same."""

from __future__ import annotations

import pickle
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adsum import _wire as wire
from adsum._frozen import FrozenDict, FrozenList
from adsum._store.layout import Record, decode_entry, decode_record, encode
from adsum._validation import MetadataFields
from adsum.errors import BY_REASON, AdsumError
from adsum.model import Entry, Metadata, Owner, ProcessId

from . import generated


@given(generated.records)
def test_a_stored_record_is_read_back_as_it_was(record: Record) -> None:
    """A record, written to a row and read again, is the same record."""
    assert decode_record(encode(record)) == record


@given(generated.records)
def test_a_reader_sees_the_entry_in_a_record_and_nothing_more(record: Record) -> None:
    """A row read as an `Entry` has every field of the record except those that only the registrar needs."""
    entry = decode_entry(encode(record))
    assert type(entry) is Entry
    assert {name: getattr(entry, name) for name in Entry.__struct_fields__} == {
        name: getattr(record, name) for name in Entry.__struct_fields__
    }


@given(generated.metadata)
def test_metadata_read_from_a_row_cannot_be_changed(metadata: Metadata) -> None:
    """Every map and list inside decoded metadata is a frozen one, however deep."""

    def frozen(value: Any) -> bool:
        if isinstance(value, dict):
            return type(value) is FrozenDict and all(map(frozen, value.values()))
        if isinstance(value, (list, tuple)):
            return type(value) is FrozenList and all(map(frozen, value))
        return True

    decoded = msgspec.msgpack.decode(encode(metadata), type=Metadata)
    assert all(frozen(getattr(decoded, name)) for name in Metadata.__struct_fields__)


@given(generated.records)
def test_an_entry_survives_pickling(record: Record) -> None:
    """An entry that crosses to another process by pickle is equal to the one that was sent, and as frozen."""
    entry = decode_entry(encode(record))
    crossed = pickle.loads(pickle.dumps(entry))
    assert crossed == entry
    assert type(crossed.metadata.custom) is FrozenDict


_fields = st.builds(
    MetadataFields,
    capabilities=st.frozensets(generated.text, max_size=3),
    created_at=generated.times | st.just(msgspec.UNSET),
    endpoint=st.none() | generated.text,
    custom=st.dictionaries(generated.text, generated.plain, max_size=2),
)
_items = st.lists(st.tuples(generated.process_ids, _fields), max_size=3)
_known_incarnation = st.none() | generated.words
_requests: st.SearchStrategy[wire.AnyRequest] = st.one_of(
    st.builds(
        wire.Register,
        owner=generated.owners,
        items=_items,
        bound=st.booleans(),
        or_get=st.booleans(),
    ),
    st.builds(
        wire.Update,
        process_id=generated.process_ids,
        fields=_fields,
        if_incarnation=_known_incarnation,
        checked=st.booleans(),
    ),
    st.builds(
        wire.Unregister,
        process_id=generated.process_ids,
        if_incarnation=_known_incarnation,
    ),
    st.builds(
        wire.HandOver,
        process_id=generated.process_ids,
        owner=generated.owners,
        if_incarnation=generated.words,
    ),
)


_envelopes = st.builds(wire.Envelope, generated.words, generated.words, _requests)


@given(st.lists(_envelopes, max_size=4), st.data())
def test_requests_arrive_whole_and_in_order_however_the_stream_is_cut(
    requests: list[wire.Envelope], data: st.DataObject
) -> None:
    """A stream cut into pieces at any bytes gives the requests that were sent, each once, and keeps nothing back."""
    stream = b"".join(map(wire.frame, requests))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    frames, arrived = wire.Frames(), []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        frames.feed(stream[start:end])
        arrived += [wire.decode_envelope(body) for body in frames]
    assert arrived == requests
    assert len(frames) == 0


@given(st.integers(wire.MAX_FRAME + 1, 2**32 - 1), st.binary(max_size=8))
def test_a_frame_that_is_too_large_is_refused_by_its_announcement(size: int, beginning: bytes) -> None:
    """Nothing of an oversized frame is awaited: its length alone is an error."""
    frames = wire.Frames()
    frames.feed(size.to_bytes(4, "little") + beginning)
    with pytest.raises(wire.FrameTooLarge):
        list(frames)


@given(st.sampled_from(sorted(BY_REASON)), generated.text, st.none() | generated.records)
def test_an_error_crosses_the_socket_with_its_class_words_and_entry(
    reason: str, message: str, record: Record | None
) -> None:
    """An error sent as a reply is raised by the client as the same error, with the holder's entry where it has one."""
    held = {} if record is None else {"entry": decode_entry(encode(record))}
    sent = BY_REASON[reason](message, **held)
    reply = wire.decode_reply(wire.frame(wire.failure(7, sent))[4:])
    assert isinstance(reply, wire.Failed)
    raised = wire.error_from(reply)
    assert (type(raised), str(raised), vars(raised)) == (type(sent), message, held)


@given(st.sampled_from(sorted(BY_REASON)), generated.text, generated.records)
def test_an_error_survives_pickling(reason: str, message: str, record: Record) -> None:
    """An error that crosses to another process by pickle keeps its class, its words and its fields."""
    entry = decode_entry(encode(record))
    crossed: AdsumError = pickle.loads(pickle.dumps(BY_REASON[reason](message, entry=entry)))
    assert (type(crossed), str(crossed), vars(crossed)) == (BY_REASON[reason], message, {"entry": entry})


@given(generated.process_ids, generated.owners)
def test_ids_and_owners_come_back_as_themselves(process_id: ProcessId, owner: Owner) -> None:
    """Decoding gives named tuples of the right kind, not bare ones."""
    decoded = msgspec.msgpack.decode(msgspec.msgpack.encode((process_id, owner)), type=tuple[ProcessId, Owner])
    assert decoded == (process_id, owner)
    assert (type(decoded[0]), type(decoded[1])) == (ProcessId, Owner)
