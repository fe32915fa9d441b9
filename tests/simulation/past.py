"""The history as it should be: the rows of all changes, and the steps that readers get from any revision."""

from __future__ import annotations

from collections.abc import Sequence

import lmdb
import msgspec

from adsum._store import history
from adsum._store.environment import Environment
from adsum._store.layout import decode_public
from adsum.model import Entry

from .asks import Id
from .expected import public
from .reading import Change, PlainEntry, Tables, plain_entry


def wrong_rows(tables: Tables, changes: Sequence[Change], least: int) -> list[str]:
    """The violations of the history's rows: they have no gap, end with the newest change, hold the before-images, and
    are at least `least`."""
    rows = tables.history
    wrong = []
    if len(rows) < least:
        wrong.append(f"the history keeps {len(rows)} changes, should keep {least}")
    kept = changes[len(changes) - len(rows) :]
    for row, change in zip(rows, kept, strict=True):
        stands = change.after or change.before
        assert stands is not None
        before = public(change.before) if change.before else None
        of = before.revision if before else 0
        if row != (change.revision, change.kind, stands.incarnation, of, before):
            wrong.append(f"the history has {row}, should have {change}")
    return wrong


def wrong_steps(environment: Environment, changes: Sequence[Change], kept: int) -> list[str]:
    """From each revision that the history reaches back to: the steps are the changes since, and undoing them rebuilds
    the earlier state. From a revision further back there are no steps."""
    newest = changes[-1].revision if changes else 0
    wrong = []
    with environment.lmdb.begin() as txn:
        present = {entry.process_id: entry for entry in _entries(txn, environment)}
        for since in {newest - kept, newest - kept // 2, newest - 1, newest} & set(range(newest - kept, newest + 1)):
            steps = history.steps_since(txn, environment, since)
            due = changes[len(changes) - (newest - since) :] if since < newest else []
            if steps is None:
                wrong.append(f"the steps since {since} are not known, {kept} changes are kept")
                continue
            shown = [Change(one.revision, one.kind.value, _outline(one.before), _outline(one.after)) for one in steps]
            wanted = [one._replace(before=_blurred(one.before), after=_blurred(one.after)) for one in due]
            if shown != wanted:
                wrong.append(f"the steps since {since} are {shown}, should be {wanted}")
            earlier = history.undo(present, steps)
            then = {tuple(id): _outline(entry) for id, entry in earlier.items() if entry is not present.get(id)}
            gone = {tuple(id) for id in present.keys() - earlier.keys()}
            stood = _state_before(due)
            due_gone = {id for id, entry in stood.items() if entry is None} & {tuple(id) for id in present}
            if then != {id: entry for id, entry in stood.items() if entry} or gone != due_gone:
                wrong.append(f"at {since} there was {then}, and not {gone}; should be {stood}")
        unknown = [since for since in (newest - kept - 1, newest + 1) if since >= 0]
        known = [since for since in unknown if history.steps_since(txn, environment, since) is not None]
    return wrong + [f"there are steps since {since}, of which the history has no rows" for since in known]


def _state_before(since: Sequence[Change]) -> dict[Id, PlainEntry | None]:
    """The entries before these changes, under each id that they changed."""
    state: dict[Id, PlainEntry | None] = {}
    for change in reversed(since):
        stands = change.after or change.before
        assert stands is not None
        state[stands.id] = _blurred(change.before)
    return state


def _entries(txn: lmdb.Transaction[bytes], environment: Environment) -> list[Entry]:
    return [decode_public(row).entry for _, row in txn.cursor(db=environment.entries)]


def _outline(entry: Entry | None) -> PlainEntry | None:
    return None if entry is None else _blurred(plain_entry(msgspec.msgpack.decode(msgspec.msgpack.encode(entry))))


def _blurred(entry: PlainEntry | None) -> PlainEntry | None:
    """As a reader sees it, without the time of the last health check, which a heartbeat moves without a change."""
    if entry is None:
        return None
    return entry._replace(session=b"", before_late=None, metadata={**entry.metadata, "last_health_check": None})
