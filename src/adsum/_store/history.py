"""The history: an undo log of the last changes, from which the change feed reads.

A row holds the before-image of a change: the entry that it *replaced*, not the one that it made (undo logging: Gray and
Reuter, Transaction Processing, 1993, chapter 10). The entry that a change made is among the entries still, or a later
change replaced it, whose row then holds it. So any state between two kept revisions can be rebuilt, forward from an
older state and backward from the present. A registration, the most frequent change, replaces nothing and costs 17
bytes. The registrar writes the rows in the transaction of their changes: when it is killed, it loses neither or both.

Each change has a revision of its own, one more than the last. Changes about other hosts of the cluster have a table of
their own, with bounds of its own: they are many in a busy cluster, and must not push out what happened here. Each table
keeps its newest rows, and `META_FLOORS` says up to which revision rows are gone. Who follows the members of this
registry alone needs one of the two tables, and others both, which together have no gap.
"""

import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ..errors import CorruptRegistry
from ..model import Entry, Kind, ProcessId
from . import snapshot
from .environment import Environment
from .layout import (
    HISTORIES,
    HOST_KINDS,
    META_FLOORS,
    Change,
    HostRow,
    HostState,
    decode_entry,
    decode_public,
    encode,
    pack_number,
    unpack_number,
)
from .page import remedy

# Each table holds so many changes, or so many bytes of table pages, whichever is less.
MAX_HISTORY = 8192
MAX_HISTORY_BYTES = 8 * 1024 * 1024
MAX_REVISION = 2**64 - 1

_KINDS = tuple(Kind)
# The kind; the incarnation of the entry that the change made, or of the one that it ended; the revision of the entry
# that it replaced, 0 for none. The replaced entry follows.
_head = struct.Struct(">BQQ")


class Step(NamedTuple):
    """One change: the entry before it and the entry after it. `before` is None for a registration, `after` for the end
    of an entry. A change of a host of the cluster has the name of the `host`, and neither."""

    revision: int
    kind: Kind
    before: Entry | None
    after: Entry | None
    host: str = ""


def row_of(change: Change) -> bytes:
    """The row of a change."""
    kind = _KINDS.index(change.kind)
    if change.is_of_host:
        return _head.pack(kind, 0, 0) + change.key
    newest = change.after or change.before
    incarnation = newest.entry.incarnation if newest else 0
    if change.before is None:
        return _head.pack(kind, incarnation, 0)
    before = change.before.entry
    return _head.pack(kind, incarnation, before.revision) + encode(before)


def floor(txn: snapshot.Txn, environment: Environment, table: str) -> int:
    """The newest revision whose row this table of `HISTORIES` does not keep any more."""
    stored = txn.get(META_FLOORS[table], db=environment.meta)
    return unpack_number(stored) if stored else 0


def steps_since(txn: snapshot.Txn, environment: Environment, since: int, *, here: bool = False) -> list[Step] | None:
    """Every change after revision `since`, oldest first; with `here`, of members of this registry alone. None where the
    history does not reach back to it."""
    newest = snapshot.revision(txn, environment)
    tables = HISTORIES[:1] if here else HISTORIES
    if since > newest or any(since < floor(txn, environment, table) for table in tables):
        return None
    rows = sorted(row for table in tables for row in _rows_after(txn, environment, table, since))
    if not here and len(rows) != newest - since:
        return None
    steps: list[Step] = []
    replaced = {of: row for _, _, _, of, row in rows if of}
    for revision, code, incarnation, _, before in rows:
        kind = _KINDS[code]
        if kind in HOST_KINDS:
            steps.append(Step(revision, kind, None, None, before.decode()))
            continue
        after: Entry | None = None
        if kind not in (Kind.unregistered, Kind.died):
            if (later := replaced.get(revision)) is not None:
                after = decode_entry(later)
            elif (stored := txn.get(pack_number(incarnation), db=environment.entries)) is not None:
                after = decode_public(stored).entry
            else:
                raise CorruptRegistry(
                    f"{environment.data_file} lacks the entry of revision {revision}; {remedy(environment.folder)}"
                )
        steps.append(Step(revision, kind, decode_entry(before) if before else None, after))
    return steps


def _rows_after(
    txn: snapshot.Txn, environment: Environment, table: str, since: int
) -> list[tuple[int, int, int, int, bytes]]:
    """The rows of a table after a revision: revision, kind, incarnation, revision of the replaced entry, and that."""
    if since >= MAX_REVISION:
        return []
    with txn.cursor(environment.tables[table]) as cursor:
        found = cursor if cursor.set_range(pack_number(since + 1)) else ()
        return [(unpack_number(key), *_head.unpack_from(row), row[_head.size :]) for key, row in found]


def away(hosts: Iterable[HostRow], steps: Sequence[Step]) -> set[str]:
    """The hosts that could not be reached before `steps`; `hosts` are as they are after them."""
    found = {row.host for row in hosts if row.reported is not HostState.here}
    for step in reversed(steps):
        if step.kind is Kind.unreachable:
            found.discard(step.host)
        elif step.host:
            found.add(step.host)
    return found


def undo(entries: dict[ProcessId, Entry], steps: list[Step]) -> dict[ProcessId, Entry]:
    """The entries as they were before `steps`, by id; `entries` are those after them."""
    earlier = dict(entries)
    for step in reversed(steps):
        if step.after is not None:
            earlier.pop(step.after.process_id, None)
        if step.before is not None:
            earlier[step.before.process_id] = step.before
    return earlier
