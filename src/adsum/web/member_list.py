"""The topic of a list of members: rows that changed, appeared or went, and the counts of the chips."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from ..model import Entry, ProcessId, Revision
from ..views.recent import Step
from .facets import Facets, count
from .html import RenderedRows
from .paths import row_key
from .selection import Selection
from .topics import Parts, message

# While many changes come, a message holds those of so many seconds; the first one after a pause is sent at once.
BATCH_SECONDS = 0.1
# A row that has to go waits less.
DEATH_SECONDS = 0.02


class _PendingChange(NamedTuple):
    """A change that is not sent yet: the entry, None where it ended, and whether it was in the list before."""

    entry: Entry | None
    was_listed: bool


class _Order:
    """The members that match, in the order of the list: where a new row belongs."""

    def __init__(self, selection: Selection, entries: Iterable[Entry]) -> None:
        self._key = selection.key
        pairs = sorted(((selection.key(entry), entry.process_id) for entry in entries), key=lambda pair: pair[0])
        self._keys: list[Any] = [key for key, _ in pairs]
        self._ids = [process_id for _, process_id in pairs]
        self._known = {process_id: key for key, process_id in pairs}

    def __contains__(self, process_id: ProcessId) -> bool:
        return process_id in self._known

    def remove(self, process_id: ProcessId) -> None:
        if (key := self._known.pop(process_id, None)) is None:
            return
        index = bisect.bisect_left(self._keys, key)
        while self._ids[index] != process_id:
            index += 1
        del self._keys[index], self._ids[index]

    def put(self, entry: Entry) -> tuple[int, ProcessId | None]:
        """Add a member, or give it its new index: the index, and the member after it."""
        self.remove(entry.process_id)
        key = self._known[entry.process_id] = self._key(entry)
        index = bisect.bisect_left(self._keys, key)
        self._keys.insert(index, key)
        self._ids.insert(index, entry.process_id)
        return index, self._ids[index + 1] if index + 1 < len(self._ids) else None


class MembersTopic:
    """A list of members with one selection. `render` makes the parts beside the rows, of the counts."""

    def __init__(
        self,
        revision: Revision,
        selection: Selection,
        living: Callable[[], list[Entry]],
        rows: RenderedRows,
        render: Callable[[Facets], dict[str, str]],
    ) -> None:
        self.sent = self._noted = revision
        self._selection = selection
        self._rows = rows
        now = living()
        self._order = _Order(selection, filter(selection.matches, now))
        self._volatile = {entry.process_id: _volatile(entry) for entry in now}
        self._pending: dict[ProcessId, _PendingChange] = {}
        self._parts = Parts(lambda: render(count(living(), selection)))
        self._taken_at = 0.0
        self._has_death = False

    def note(self, steps: Iterable[Step], revision: Revision) -> None:
        self._noted = revision
        for process_id, pending in coalesced(steps, self._selection).items():
            self._note_one(process_id, pending)
        if not self._pending:
            self.sent = revision

    def _note_one(self, process_id: ProcessId, pending: _PendingChange) -> None:
        self._parts.note()
        was_listed = process_id in self._order
        if pending.entry is None:
            self._volatile.pop(process_id, None)
            self._has_death |= was_listed
        earlier = self._pending.get(process_id)
        self._pending[process_id] = _PendingChange(pending.entry, was_listed if earlier is None else earlier.was_listed)

    def sweep(self, living: dict[ProcessId, Entry], gone: set[ProcessId]) -> None:
        for process_id in gone:
            if process_id in self._order:
                self._note_one(process_id, _PendingChange(None, was_listed=True))
        for process_id, entry in living.items():
            is_listed = process_id in self._order
            if (seen := _volatile(entry)) != self._volatile.get(process_id):
                self._volatile[process_id] = seen
                if is_listed:
                    self._note_one(process_id, _PendingChange(entry, was_listed=True))
            # Members of a host that can be reached again come back without a change of their own. A later entry comes
            # with its change.
            if not is_listed and entry.revision <= self._noted and self._selection.matches(entry):
                self._note_one(process_id, _PendingChange(entry, was_listed=False))

    def take(self, now: float) -> bytes | None:
        least = DEATH_SECONDS if self._has_death else BATCH_SECONDS
        if now - self._taken_at < least:
            return None
        pending, self._pending, self._has_death = self._pending, {}, False
        self.sent = self._noted
        fields = self._rendered(pending)
        if parts := self._parts.take(now):
            fields["parts"] = parts
        if not fields:
            return None
        self._taken_at = now
        return message(**fields)

    def missed(self, steps: Iterable[Step]) -> bytes | None:
        """The message of changes that one page has missed, while others have them."""
        self._parts.forget()
        fields = self._rendered(coalesced(steps, self._selection))
        return message(**fields) if fields else None

    def _rendered(self, pending: dict[ProcessId, _PendingChange]) -> dict[str, object]:
        rows: list[tuple[str, ...]] = []
        matching = {
            process_id: (entry, was_listed)
            for process_id, (entry, was_listed) in pending.items()
            if entry is not None and self._selection.matches(entry)
        }
        # First what goes, in the page too: a new row is placed before one that stays.
        gone = [row_key(process_id) for process_id in pending if process_id not in matching]
        for process_id in pending.keys() - matching.keys():
            self._order.remove(process_id)
        for process_id, (entry, was_listed) in matching.items():
            index, following = self._order.put(entry)
            key, html = row_key(process_id), self._rows.row(entry)
            if was_listed:
                rows.append((key, html))
            elif index < self._selection.limit:
                # Before which row it belongs; at the end where that is empty.
                rows.append((key, html, row_key(following) if following else ""))
        fields: dict[str, object] = {"rows": rows} if rows else {}
        return {**fields, "gone": gone} if gone else fields


def coalesced(steps: Iterable[Step], selection: Selection) -> dict[ProcessId, _PendingChange]:
    """The last state of each member among the changes that matched before or match after them."""
    found: dict[ProcessId, _PendingChange] = {}
    for step in steps:
        entry = step.after or step.before
        if entry is None:
            continue
        process_id = entry.process_id
        before = step.before is not None and selection.matches(step.before)
        if process_id not in found:
            if not before and (step.after is None or not selection.matches(step.after)):
                continue
            found[process_id] = _PendingChange(step.after, before)
        else:
            found[process_id] = found[process_id]._replace(entry=step.after)
    return found


def _volatile(entry: Entry) -> tuple[object, ...]:
    """What changes without being a change of the registry."""
    metadata = entry.metadata
    if not entry.row_place and metadata.heartbeat is None:
        return ()
    return metadata.health_status, metadata.last_health_check, entry.gauges
