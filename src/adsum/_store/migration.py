"""Tables of an older format: whether a living member needs them, and their migration to the present format.

A migration writes all rows into the next generation in one transaction, then puts a page of the present format in the
place of the old one with one rename(2). A registrar that is killed before the rename leaves the old registry whole; one
that is killed after it leaves the new one whole. Readers of the older version that still map the old page find it
retired, open the folder again, and raise `VersionMismatch`.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import lmdb
import msgspec

from .._os import identity
from .._os.liveness import is_running
from ..errors import CorruptRegistry, VersionMismatch
from ..model import Limits, Owner
from . import format_1, page
from .environment import Environment, create_environment, open_environment, translating
from .layout import (
    FORMAT,
    META_IDENTITY,
    META_LIMITS,
    TABLES,
    Identity,
    decode_identity,
    decode_standby,
    encode,
    owner_of,
    unpack_number,
)

NAMED_MEMBERS = 5

log = logging.getLogger("adsum.registrar")

Txn = lmdb.Transaction


class LivingMember(NamedTuple):
    """A living process that the older tables know, and the id that it holds or stands by for."""

    owner: Owner
    id: str


def living_members(folder: Path, older: page.Page) -> list[LivingMember]:
    """The living processes that hold an id, or stand by for one, in tables of an older format.

    Errors: `CorruptRegistry` where the tables do not belong to the page.
    """
    environment = open_environment(folder, older.generation, older.map_size, writable=False)
    try:
        with translating(folder), environment.lmdb.begin() as txn:
            _limits(txn, environment, older.format)
            known = [*_holders(txn, environment), *_standbys(txn, environment)]
        alive = {owner for owner in {member.owner for member in known} if is_running(owner)}
        return [member for member in known if member.owner in alive]
    finally:
        environment.close()


def require_no_living_member(folder: Path, older: page.Page) -> None:
    """Raise `VersionMismatch`, with the remedy, where a living member needs the older tables."""
    if members := living_members(folder, older):
        raise VersionMismatch(
            f"the registry in {folder} has table format {older.format}, this adsum has {FORMAT}, and "
            f"{_named(members)} still alive in it; run adsum registrar --replace, which keeps every entry, or end "
            "these processes first"
        )


def migrate(
    folder: Path, older: page.Page, failpoint: Callable[[str], None]
) -> tuple[Environment, page.Page, Limits] | None:
    """The registry in the present format, or None where no living member needs it. Only a registrar calls this.

    Entries, indexes, owners, standbys, history, departures and limits are carried over, incarnations, revisions and the
    epoch with them. Receipts are not: only clients of the older version could ask for those replies, and they cannot
    speak to this registrar.
    """
    members = living_members(folder, older)
    if not members:
        return None
    old = open_environment(folder, older.generation, older.map_size, writable=False)
    try:
        with translating(folder), old.lmdb.begin() as txn:
            limits = _limits(txn, old, older.format)
            fresh = create_environment(folder, older.generation + 1, older.map_size, limits.max_readers)
            try:
                with fresh.lmdb.begin(write=True) as target:
                    _copy_converted(txn, old, target, fresh)
                    failpoint("migrating")
                written = page.create(
                    folder, older.map_size, generation=fresh.generation, epoch=older.epoch, restarts=older.restarts + 1
                )
            except BaseException:
                fresh.close()
                raise
    finally:
        old.close()
    failpoint("migrated")
    older.retire()
    shutil.rmtree(folder / f"tables.{older.generation}", ignore_errors=True)
    log.info("migrated table format %d to %d, with %s alive", older.format, FORMAT, _named(members))
    return fresh, written, limits


def _copy_converted(source: Txn[bytes], old: Environment, target: Txn[bytes], fresh: Environment) -> None:
    convert = {"entries": format_1.entries_row, "history": format_1.history_row}
    for name in TABLES:
        if name == "receipts":
            continue
        change = convert.get(name, _unchanged)
        with source.cursor(old.tables[name]) as rows, target.cursor(fresh.tables[name]) as copy:
            copy.putmulti([(key, change(value)) for key, value in rows])
    here = Identity(FORMAT, identity.boot_id(), identity.pid_namespace())
    target.put(META_IDENTITY, encode(here), db=fresh.meta)


def _unchanged(row: bytes) -> bytes:
    return row


def _limits(txn: Txn[bytes], environment: Environment, format: int) -> Limits:
    """The stored limits, once it is known that the tables are of this boot, namespace and format."""
    stored, limits = (txn.get(word, db=environment.meta) for word in (META_IDENTITY, META_LIMITS))
    here = Identity(format, identity.boot_id(), identity.pid_namespace())
    if stored is None or limits is None or decode_identity(stored) != here:
        raise CorruptRegistry(
            f"{environment.data_file} does not belong to the page beside it; {page.remedy(environment.folder)}"
        )
    return msgspec.msgpack.decode(limits, type=Limits)


def _holders(txn: Txn[bytes], environment: Environment) -> Iterator[LivingMember]:
    with txn.cursor(environment.tables["owners"]) as cursor:
        for key, incarnation in cursor:
            row = txn.get(incarnation, db=environment.entries)
            if row is None:
                raise CorruptRegistry(
                    f"{environment.data_file} lacks incarnation {unpack_number(incarnation)}; "
                    f"{page.remedy(environment.folder)}"
                )
            yield LivingMember(owner_of(key), str(format_1.process_id_of(row)))


def _standbys(txn: Txn[bytes], environment: Environment) -> Iterator[LivingMember]:
    with txn.cursor(environment.tables["standbys"]) as cursor:
        for row in cursor.iternext(keys=False, values=True):
            waiting = decode_standby(row)
            yield LivingMember(waiting.owner, str(waiting.process_id))


def _named(members: list[LivingMember]) -> str:
    """The members in words, the first few of them."""
    named = ", ".join(f"{member.id} (pid {member.owner.pid})" for member in members[:NAMED_MEMBERS])
    more = len(members) - NAMED_MEMBERS
    return f"{named} and {more} more" if more > 0 else named
