"""Dependants: entries that end with the process of another member, the one that owns them (`Entry.owned_by`).

Which member owns an entry is in the entry, so it outlives a registrar, and the next one finds its way from a process to
its dependants by reading all entries once, as it does for claims. Tables and their format are as without dependants: a
registrar that knows none serves them, and an entry that it changes has no owning member any more.

An entry ends with a *process*. Its owning member may be unregistered before; the process is watched until it has ended,
or until its last dependant has.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from .._store.layout import Change, Record
from ..model import Entry, Owner

# By incarnation: the keys of the dependants of one process.
_Keys = dict[int, bytes]


class Dependants:
    """The dependants of one registry, by the processes with which they end."""

    def __init__(self) -> None:
        self._of: dict[Owner, _Keys] = {}

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self._of)

    def __iter__(self) -> Iterator[Owner]:
        """The processes that have dependants."""
        return iter(self._of)

    def inherit(self, key: bytes, entry: Entry) -> None:
        """Take up an entry of an earlier registrar."""
        if entry.owned_by is not None:
            self._of.setdefault(entry.owned_by.owner, {})[entry.incarnation] = key

    def after(self, changes: Iterable[Change]) -> Mapping[Owner, _Keys]:
        """The dependants of the processes of which these changes begin or end some, as they are after the changes."""
        changed: dict[Owner, _Keys] = {}
        for change in changes:
            before, after = _owner_in(change.before), _owner_in(change.after)
            for owner in (before, after):
                if owner is not None and owner not in changed:
                    changed[owner] = dict(self._of.get(owner, {}))
            if before is not None and change.before is not None:
                changed[before].pop(change.before.entry.incarnation, None)
            if after is not None and change.after is not None:
                changed[after][change.after.entry.incarnation] = change.key
        return changed

    def of(self, owner: Owner, changes: Iterable[Change]) -> list[bytes]:
        """The keys of the dependants of a process after these changes, in the order of their registrations."""
        keys = self.after(changes).get(owner, self._of.get(owner, {}))
        return [keys[incarnation] for incarnation in sorted(keys)]

    def follow(self, changes: Iterable[Change]) -> None:
        """A batch was committed."""
        for owner, keys in self.after(changes).items():
            if keys:
                self._of[owner] = dict(keys)
            else:
                self._of.pop(owner, None)


def _owner_in(record: Record | None) -> Owner | None:
    """The process with which a record ends, beside its own."""
    owned_by = None if record is None else record.entry.owned_by
    return None if owned_by is None else owned_by.owner
