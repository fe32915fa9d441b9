"""A draft against a plain dictionary that is changed at once."""

from __future__ import annotations

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from adsum._engine.draft import Draft
from adsum._engine.free_rows import FreeMemberRows
from adsum._store.layout import Change, Record
from adsum._validation import id_key
from adsum.model import HealthSource, Kind, Metadata, Owner, ProcessId
from tests.support.engine import FakeView

from .generated import NOW, entry

IDS = [ProcessId("a", "n", name) for name in "wxyz"]
OWNERS = [Owner(pid, 1, 1) for pid in (1, 2)]
_ids = st.sampled_from(IDS)
_owners = st.sampled_from(OWNERS)
_metadata = st.builds(Metadata, endpoint=st.none() | st.sampled_from(["e", "f"]))


class DraftMachine(RuleBasedStateMachine):
    """One batch, one change after the other; the dictionary is what the tables will hold when it is committed."""

    @initialize(held=st.lists(st.tuples(_ids, _owners), unique_by=lambda pair: pair[0]))
    def begin(self, held: list[tuple[ProcessId, Owner]]) -> None:
        stored = [Record(entry(id, owner, number, Metadata())) for number, (id, owner) in enumerate(held, 1)]
        self.before = {id_key(one.entry.process_id): one for one in stored}
        self.draft = Draft(FakeView(stored), NOW, FreeMemberRows())
        self.after = dict(self.before)
        self.revision = self.first = len(stored)
        self.departed: list[tuple[int, str, Record]] = []

    @rule(id=_ids, owner=_owners, metadata=_metadata)
    def add(self, id: ProcessId, owner: Owner, metadata: Metadata) -> None:
        if id_key(id) not in self.after:
            self.revision += 1
            added = self.draft.add(id_key(id), id, owner, metadata, b"")
            assert added == entry(id, owner, self.revision, metadata)
            self.after[id_key(id)] = Record(added)

    @precondition(lambda self: self.after)
    @rule(data=st.data(), metadata=_metadata)
    def replace(self, data: st.DataObject, metadata: Metadata) -> None:
        held = self._any(data)
        self.revision += 1
        replaced = self.draft.replace(held, metadata, HealthSource.other, None)
        assert (replaced.incarnation, replaced.owner) == (held.entry.incarnation, held.entry.owner)
        assert (replaced.revision, replaced.metadata) == (self.revision, metadata)
        self.after[id_key(replaced.process_id)] = Record(replaced)

    @precondition(lambda self: self.after)
    @rule(data=st.data(), owner=_owners)
    def transfer(self, data: st.DataObject, owner: Owner) -> None:
        held = self._any(data)
        self.revision += 1
        transferred = self.draft.transfer(held, owner, {})
        wanted = entry(held.entry.process_id, owner, self.revision, held.entry.metadata)
        source = held.entry.health_source
        if owner != held.entry.owner and held.entry.health_said_by is HealthSource.process:
            source = HealthSource.other
        assert transferred == msgspec.structs.replace(wanted, health_source=source)
        self.after[id_key(wanted.process_id)] = Record(transferred)
        self.departed.append((self.revision, "handed_over", held))

    @precondition(lambda self: self.after)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        held = self._any(data)
        self.revision += 1
        self.draft.remove(held, Kind.died, "died")
        del self.after[id_key(held.entry.process_id)]
        self.departed.append((self.revision, "died", held))

    def _any(self, data: st.DataObject) -> Record:
        found = self.draft.record(data.draw(st.sampled_from(sorted(self.after))))
        if found is None:
            raise LookupError("the draft lost a record")
        return found

    @invariant()
    def it_shows_the_records_after_the_commit(self) -> None:
        if hasattr(self, "draft"):
            assert {id: self.draft.record(id_key(id)) for id in IDS} == {id: self.after.get(id_key(id)) for id in IDS}
            assert (self.draft.revision, self.draft.entries) == (self.revision, len(self.after))

    @invariant()
    def owners_own_the_records_after_the_commit(self) -> None:
        if hasattr(self, "draft"):
            for owner in OWNERS:
                owned = [stored for stored in self.after.values() if stored.entry.owner == owner]
                assert self.draft.owned(owner) == sorted(owned, key=_incarnation)
                assert self.draft.owns_nothing(owner) == (not owned)

    @invariant()
    def the_changes_lead_from_the_tables_to_the_dictionary(self) -> None:
        if hasattr(self, "draft"):
            assert _replayed(self.before, self.draft.changes) == self.after
            revisions = [change.revision for change in self.draft.changes]
            assert revisions == list(range(self.first + 1, self.revision + 1))

    @invariant()
    def departures_name_the_entries_that_ended(self) -> None:
        if hasattr(self, "draft"):
            kept = [(revision, left.how, left.entry.incarnation) for revision, left in self.draft.departures]
            assert kept == [(revision, how, held.entry.incarnation) for revision, how, held in self.departed]


def _incarnation(record: Record) -> int:
    return record.entry.incarnation


def _replayed(records: dict[bytes, Record], changes: list[Change]) -> dict[bytes, Record]:
    """The records after the changes, each of which must find its own before-image."""
    after = dict(records)
    for change in changes:
        assert after.pop(change.key, None) == change.before
        if change.after is not None:
            after[change.key] = change.after
    return after


TestDraft = DraftMachine.TestCase
TestDraft.settings = settings(max_examples=60, stateful_step_count=25, deadline=None, print_blob=True)
