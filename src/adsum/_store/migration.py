"""The migration of tables of an older format to the present one, at the start of a registrar.

The registrar writes all rows into the next generation in one transaction. Then one rename(2) puts a page of the present
format in the place of the old page: a registrar that is killed before it leaves the old registry whole, one that is
killed after it the new one.

Readers of the older version still map the old page. Its retirement makes them open the folder again and raise
`VersionMismatch`. A registrar that is killed between the rename and the retirement would leave such a reader trusting
its cached entries, so the old page keeps a second name until it is retired, by this registrar or by the next one, which
does it before it serves.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from .._os import identity
from .._os.log import Log
from ..model import Limits
from . import format_1, page
from .environment import Environment, create_environment, remove_tables, tables_in
from .layout import (
    FORMAT,
    META_FLOORS,
    META_IDENTITY,
    META_NODE,
    META_REVISION,
    Identity,
    encode,
    pack_number,
    unpack_number,
)
from .older_tables import Txn, living_members, named, opened

Registry: TypeAlias = "tuple[Environment, page.Page, Limits]"
Failpoint: TypeAlias = Callable[[str], None]


def migrate(folder: Path, older: page.Page, failpoint: Failpoint, log: Log) -> Registry | None:
    """The registry in the present format, or None where no living member needs the older one, which is then retired.
    Only a registrar calls this.

    Entries, indexes, owners, standbys, history, departures and limits are carried over, incarnations, revisions and the
    epoch with them. Receipts are not: only clients of the older version could ask for those replies, and they cannot
    speak to this registrar.
    """
    members = living_members(folder, older)
    if not members:
        log.info("no member of the registry of format %d is alive; it is made anew", older.format)
        older.retire()
        failpoint("retired")
        return None
    # A retired page names no tables any more.
    old_tables = tables_in(folder, older.generation)
    fresh, limits = _converted(folder, older, failpoint)
    try:
        failpoint("converted")
        page.keep_until_retired(folder)
        written = page.create(
            folder, older.map_size, generation=fresh.generation, epoch=older.epoch, restarts=older.restarts
        )
    except BaseException:
        _discard(fresh)
        raise
    failpoint("migrated")
    page.retire_replaced(folder)
    remove_tables(old_tables)
    log.info("migrated table format %d to %d, with these members alive: %s", older.format, FORMAT, named(members))
    return fresh, written, limits


def _converted(folder: Path, older: page.Page, failpoint: Failpoint) -> tuple[Environment, Limits]:
    """The next generation, with every row in the present format."""
    with opened(folder, older) as (txn, old, limits):
        fresh = create_environment(folder, older.generation + 1, older.map_size, limits.max_readers)
        try:
            with fresh.lmdb.begin(write=True) as target:
                _copy(txn, old, target, fresh)
                failpoint("migrating")
        except BaseException:
            _discard(fresh)
            raise
        return fresh, limits


def _keep_floor(target: Txn[bytes], fresh: Environment) -> None:
    """Older tables do not say up to which revision the history is gone."""
    with target.cursor(fresh.tables["history"]) as cursor:
        first = unpack_number(cursor.key()) if cursor.first() else 0
    newest = target.get(META_REVISION, db=fresh.meta)
    floor = first - 1 if first else unpack_number(newest) if newest else 0
    target.put(META_FLOORS["history"], pack_number(floor), db=fresh.meta)


def _discard(fresh: Environment) -> None:
    """Give the memory of a half-made generation back: the folder is in RAM."""
    fresh.close()
    remove_tables(tables_in(fresh.folder, fresh.generation))


def _copy(source: Txn[bytes], old: Environment, target: Txn[bytes], fresh: Environment) -> None:
    convert = {"entries": format_1.entries_row, "history": format_1.history_row}
    for name in format_1.TABLES:
        if name == "receipts":
            continue
        change = convert.get(name, bytes)
        with source.cursor(old.tables[name]) as rows, target.cursor(fresh.tables[name]) as copy:
            copy.putmulti((key, change(value)) for key, value in rows)
    _keep_floor(target, fresh)
    here = Identity(FORMAT, identity.boot_id(), identity.pid_namespace())
    target.put(META_IDENTITY, encode(here), db=fresh.meta)
    target.put(META_NODE, identity.host_name().encode(), db=fresh.meta)
