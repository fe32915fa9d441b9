"""The history: the last changes, one row each, so that whoever watches can follow them.

A row says what a change *replaced*, not what it made. What it made stands among the entries, or was itself replaced by
a later change, whose row then holds it; so every state that was ever between two rows can be had, a registration (by
far the most frequent change) costs 17 bytes, and going backwards from the present is as easy as going forward. The
history is written in the transaction of its changes: a registrar that is killed loses none of it.

Each change has a revision of its own, one more than the last, so the rows have no gaps: if the row after a revision is
there, so are all later ones.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from ..errors import CorruptRegistry
from ..model import Entry, Kind, ProcessId
from . import snapshot
from .environment import Environment
from .layout import Change, decode_entry, decode_public, encode, pack_number, unpack_number
from .page import remedy

# What is kept: so many changes, or so many bytes of table pages, whichever is less.
MAX_HISTORY = 8192
MAX_HISTORY_BYTES = 8 * 1024 * 1024
MAX_REVISION = 2**64 - 1

_KINDS = tuple(Kind)
# Kind, incarnation of the entry as the change left it (or of the one that it ended), revision of what was replaced.
_head = struct.Struct(">BQQ")


class Step(NamedTuple):
    """One change as readers see it: the entry before it and the entry after it, either of them None."""

    revision: int
    kind: Kind
    before: Entry | None
    after: Entry | None


def row_of(change: Change) -> bytes:
    kind = _KINDS.index(change.kind)
    newest = change.after or change.before
    incarnation = newest.entry.incarnation if newest else 0
    if change.before is None:
        return _head.pack(kind, incarnation, 0)
    before = change.before.entry
    return _head.pack(kind, incarnation, before.revision) + encode(before)


def steps_since(txn: snapshot.Txn, environment: Environment, since: int) -> list[Step] | None:
    """Every change after revision `since`, oldest first; None where the history does not reach back so far."""
    if since >= MAX_REVISION:
        return None
    with txn.cursor(environment.tables["history"]) as cursor:
        found = cursor if cursor.set_key(pack_number(since + 1)) else ()
        rows = [(unpack_number(key), *_head.unpack_from(row), row[_head.size :]) for key, row in found]
    if not rows:
        return [] if since == snapshot.revision(txn, environment) else None
    replaced = {of: row for _, _, _, of, row in rows if of}
    steps: list[Step] = []
    for revision, code, incarnation, _, before in rows:
        kind = _KINDS[code]
        after: Entry | None = None
        if kind not in (Kind.unregistered, Kind.died):
            if (later := replaced.get(revision)) is not None:
                after = decode_entry(later)
            elif (stored := txn.get(pack_number(incarnation), db=environment.entries)) is not None:
                after = decode_public(stored).entry
            else:
                raise CorruptRegistry(
                    f"{environment.data_file} lacks what revision {revision} wrote; {remedy(environment.folder)}"
                )
        steps.append(Step(revision, kind, decode_entry(before) if before else None, after))
    return steps


def undo(entries: dict[ProcessId, Entry], steps: list[Step]) -> dict[ProcessId, Entry]:
    """The entries, by id, as they stood before `steps`."""
    earlier = dict(entries)
    for step in reversed(steps):
        if step.after is not None:
            earlier.pop(step.after.process_id, None)
        if step.before is not None:
            earlier[step.before.process_id] = step.before
    return earlier
