"""What goes into the tables and over the socket comes out the same."""

from __future__ import annotations

import pickle
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from adsum import _wire as wire
from adsum._amendment import MergeFields
from adsum._frozen import FrozenDict, FrozenList
from adsum._store.layout import Record, decode_public, decode_record, encode
from adsum._validation import MetadataFields
from adsum.errors import BY_REASON, AdsumError
from adsum.model import Entry, HealthSource, Metadata, Owner, ProcessId

from . import generated


@given(generated.records)
def test_a_stored_record_is_read_back_as_it_was(record: Record) -> None:
    """A record, written to a row and read again, is the same record."""
    assert decode_record(encode(record)) == record


@given(generated.records)
def test_a_reader_decodes_the_entry_of_a_record_and_nothing_more(record: Record) -> None:
    """The registrar's private fields are skipped."""
    public = decode_public(encode(record))
    assert (type(public.entry), public.entry) == (Entry, record.entry)
    assert public.__struct_fields__ == ("entry",)


@given(generated.records, generated.plain, generated.plain)
def test_a_row_with_fields_of_a_newer_version_is_read(record: Record, public: Any, private: Any) -> None:
    """A field appended to `Entry`, and one appended to `Record`, are skipped."""
    entry, *rest = msgspec.msgpack.decode(encode(record))
    row = msgspec.msgpack.encode([[*entry, public], *rest, private])
    assert decode_record(row) == record
    assert decode_public(row).entry == record.entry


@given(generated.records)
def test_a_row_without_the_last_fields_is_read(record: Record) -> None:
    """A field that an older version did not write has its default."""
    (*entry, _source), session, _before_late = msgspec.msgpack.decode(encode(record))
    wanted = msgspec.structs.replace(record.entry, health_source=HealthSource.process)
    assert decode_record(msgspec.msgpack.encode([entry, session])) == Record(wanted, session)
    assert decode_record(msgspec.msgpack.encode([entry])) == Record(wanted)
    assert decode_public(msgspec.msgpack.encode([entry])).entry == wanted


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


@given(generated.entries)
def test_an_entry_survives_pickling(entry: Entry) -> None:
    """An entry that crosses to another process by pickle is equal to the one that was sent, and as frozen."""
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
        wire.Amend,
        process_id=generated.process_ids,
        fields=_fields,
        if_incarnation=_known_incarnation,
        if_revision=_known_incarnation,
        merged=st.builds(
            MergeFields,
            capabilities=st.dictionaries(generated.text, st.booleans(), max_size=2),
            resources=st.just(msgspec.UNSET),
            custom=st.dictionaries(generated.text, generated.plain, max_size=2),
        ),
        added=st.dictionaries(generated.text, st.integers(-9, 9), max_size=2),
    ),
    st.builds(
        wire.Unregister,
        process_id=generated.process_ids,
        if_incarnation=_known_incarnation,
    ),
    st.builds(wire.UpdateMany, items=_items),
    st.builds(wire.UnregisterMany, items=st.lists(st.tuples(generated.process_ids, _known_incarnation), max_size=3)),
    st.builds(
        wire.HandOver,
        process_id=generated.process_ids,
        owner=generated.owners,
        if_incarnation=generated.words,
    ),
    st.builds(wire.ExitOf, owner=generated.owners, code=st.integers(-64, 255)),
)


_envelopes = st.builds(wire.Envelope, generated.words, generated.words, _requests)


@given(_envelopes)
def test_a_request_is_decoded_as_it_was_sent(envelope: wire.Envelope) -> None:
    """An envelope, encoded and decoded, is equal to the one that was sent."""
    assert wire.decode_envelope(wire.frame(envelope)[4:]) == envelope


@given(st.sampled_from(sorted(BY_REASON)), generated.text, st.none() | generated.entries)
def test_an_error_crosses_the_socket_with_its_class_words_and_entry(
    reason: str, message: str, entry: Entry | None
) -> None:
    """An error sent as a reply is raised by the client as the same error, with the holder's entry where it has one."""
    held = {} if entry is None else {"entry": entry}
    sent = BY_REASON[reason](message, **held)
    reply = wire.decode_reply(wire.frame(wire.failure(7, sent))[4:])
    assert isinstance(reply, wire.Failed)
    raised = wire.error_from(reply)
    assert (type(raised), str(raised), vars(raised)) == (type(sent), message, held)


@given(st.sampled_from(sorted(BY_REASON)), generated.text, generated.entries)
def test_an_error_survives_pickling(reason: str, message: str, entry: Entry) -> None:
    """An error that crosses to another process by pickle keeps its class, its words and its fields."""
    crossed: AdsumError = pickle.loads(pickle.dumps(BY_REASON[reason](message, entry=entry)))
    assert (type(crossed), str(crossed), vars(crossed)) == (BY_REASON[reason], message, {"entry": entry})


@given(generated.process_ids, generated.owners)
def test_ids_and_owners_come_back_as_themselves(process_id: ProcessId, owner: Owner) -> None:
    """Decoding gives named tuples of the right kind, not bare ones."""
    decoded = msgspec.msgpack.decode(msgspec.msgpack.encode((process_id, owner)), type=tuple[ProcessId, Owner])
    assert decoded == (process_id, owner)
    assert (type(decoded[0]), type(decoded[1])) == (ProcessId, Owner)
