"""Tables of an older format, as this version sees them: which living processes need them, and the refusal that says so.

A process needs the tables if it is a *member*, which holds an id or stands by for one, or a *reader*, which has the
tables open. Members are rows; the kernel is asked which of them are alive. Readers are slots of LMDB's reader table; a
slot may be left over from a killed process, so a reader counts only while it maps the file.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import lmdb

from .._os.forking import call_around_fork
from .._os.liveness import is_running
from .._os.locks import holding
from .._os.mappings import maps, name_of
from ..errors import AdsumError, CorruptRegistry, VersionMismatch
from ..model import Limits, Owner
from . import format_1, page
from .environment import Environment, open_environment, translating
from .layout import FORMAT, decode_standby, owner_of, unpack_number
from .tables import stored_limits

NAMED = 5
# Processes of this version open older tables for a moment only, to look who needs them. A reader that is still there
# after so many looks, so long apart, is none of those.
_LOOKS = 4
_LOOK_SECONDS = 0.02

# LMDB must not be opened twice in one process. Reentrant, for a signal handler that reads.
_opening = threading.RLock()


def _replace_lock() -> None:
    global _opening
    _opening = threading.RLock()


call_around_fork(
    before=lambda: _opening.acquire(), after_in_parent=lambda: _opening.release(), after_in_child=_replace_lock
)

Txn = lmdb.Transaction


class OlderMember(NamedTuple):
    """A process that the older tables know, and the id that it holds or stands by for."""

    owner: Owner
    id: str

    def __str__(self) -> str:
        return f"{self.id} (pid {self.owner.pid})"


@contextlib.contextmanager
def opened(folder: Path, older: page.Page) -> Iterator[tuple[Txn[bytes], Environment, Limits]]:
    """A snapshot of the older tables, and their limits. A client that calls this holds `_opening`.

    Errors: `CorruptRegistry` where the tables do not belong to the page.
    """
    environment = open_environment(folder, older.generation, older.map_size, writable=False, names=format_1.TABLES)
    try:
        with translating(folder), environment.lmdb.begin() as txn:
            yield txn, environment, stored_limits(txn, environment, older.format)
    finally:
        environment.close()


def living_members(folder: Path, older: page.Page) -> list[OlderMember]:
    """The members of the older registry that are alive."""
    known = holding(_opening, _known_members, folder, older)
    alive = {owner for owner in {member.owner for member in known} if is_running(owner)}
    return [member for member in known if member.owner in alive]


def _known_members(folder: Path, older: page.Page) -> list[OlderMember]:
    with opened(folder, older) as (txn, environment, _):
        return [*_holders(txn, environment), *_standbys(txn, environment)]


def attach(folder: Path, require: Callable[[Path, page.Page], None]) -> tuple[page.Page | None, page.Page | None]:
    """The registry's page, and the page of an older format that passed `require`: one of them, or neither.

    Errors: as `page.attach` and `require`.
    """
    while True:
        try:
            return page.attach(folder), None
        except page.OlderFormat as found:
            older, generation = found.page, found.page.generation
        if not generation:
            # Retired since, and about to be removed.
            continue
        try:
            require(folder, older)
            return None, older
        except AdsumError:
            # A registrar may have replaced that page meanwhile, and removed the tables.
            if older.generation == generation and older.is_in(folder):
                raise


def require_no_member(folder: Path, older: page.Page) -> None:
    """Raise `VersionMismatch`, which names the members and the remedy, where one is alive."""
    if members := living_members(folder, older):
        raise VersionMismatch(
            f"the registry in {folder} has table format {older.format}, this adsum has {FORMAT}, and these members are "
            f"alive: {named(members)}; run adsum registrar --replace, which keeps every entry, or end them first"
        )


def require_unneeded(folder: Path, older: page.Page) -> None:
    """Raise `VersionMismatch`, which names the processes and the remedy, where one needs the older tables."""
    require_no_member(folder, older)
    if readers := living_readers(folder, older):
        processes = named([f"{name_of(pid)} (pid {pid})" for pid in readers])
        raise VersionMismatch(
            f"the registry in {folder} has table format {older.format}, this adsum has {FORMAT}, and these processes "
            f"have it open: {processes}; run adsum registrar --replace, or end them first"
        )


def living_readers(folder: Path, older: page.Page) -> list[int]:
    """The pids of the processes that have the older tables open, without the registrar and this process."""
    data = folder / f"tables.{older.generation}" / "data.mdb"
    found = _reader_slots(data) - {os.getpid(), older.registrar.pid}
    for _ in range(_LOOKS - 1):
        found = {pid for pid in found if maps(pid, data)}
        if not found:
            break
        time.sleep(_LOOK_SECONDS)
        found &= _reader_slots(data)
    return sorted(found)


def named(things: list[OlderMember] | list[str]) -> str:
    """The first few in words, and how many more there are."""
    more = f" and {len(things) - NAMED} more" if len(things) > NAMED else ""
    return ", ".join(map(str, things[:NAMED])) + more


def _reader_slots(data: Path) -> set[int]:
    """The pids in LMDB's reader table. Opened without a transaction, so that this process takes no slot itself."""
    first_words = [row.split()[0] for row in holding(_opening, _reader_table, data) if row.split()]
    return {int(word) for word in first_words if word.isdecimal()}


def _reader_table(data: Path) -> list[str]:
    with translating(data.parent.parent):
        environment = lmdb.open(os.fsencode(data.parent), readonly=True, create=False, lib_version=0)
        try:
            return environment.readers().splitlines()
        finally:
            environment.close()


def _holders(txn: Txn[bytes], environment: Environment) -> Iterator[OlderMember]:
    with txn.cursor(environment.tables["owners"]) as cursor:
        for key, incarnation in cursor:
            row = txn.get(incarnation, db=environment.entries)
            if row is None:
                raise CorruptRegistry(
                    f"{environment.data_file} lacks incarnation {unpack_number(incarnation)}; "
                    f"{page.remedy(environment.folder)}"
                )
            yield OlderMember(owner_of(key), str(format_1.process_id_of(row)))


def _standbys(txn: Txn[bytes], environment: Environment) -> Iterator[OlderMember]:
    with txn.cursor(environment.tables["standbys"]) as cursor:
        for row in cursor.iternext(keys=False, values=True):
            waiting = decode_standby(row)
            yield OlderMember(waiting.owner, str(waiting.process_id))
