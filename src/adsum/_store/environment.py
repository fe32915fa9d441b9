"""Opening LMDB with the settings for a folder in memory, and the translation of its errors.

`lib_version=0` pins the 0.9 engine, the only format this project reads. No `writemap`: with it a full tmpfs is a
SIGBUS, without it an error. No `sync`: the folder does not outlive the boot anyway.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import resource
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import lmdb

from .._foreign import reraise_foreign
from .._os.descriptors import Descriptor, found_on, free_number, numbers_kept
from .._os.mappings import keep_private
from ..errors import AdsumError, CorruptRegistry, PermissionDenied, RegistrarUnavailable, RegistryFull, SystemBusy
from ..model import Limits
from .layout import MANY_ROW_TABLES, TABLES
from .own_index import IndexedName
from .page import path_in, remedy
from .room import Room

OPEN_TRIES = 200
DAMAGE = (
    lmdb.CorruptedError,
    lmdb.InvalidError,
    lmdb.PageNotFoundError,
    lmdb.VersionMismatchError,
    lmdb.NotFoundError,
    lmdb.PanicError,
    lmdb.IncompatibleError,
    lmdb.BadValsizeError,
)


def map_size_for(limits: Limits) -> int:
    """How far the tables may grow: every change writes new pages before the old ones are free, so a commit that touches
    all of a full registry needs it twice. Address space only; the file grows as pages are used."""
    return 2 * limits.max_memory_bytes + 64 * 1024 * 1024


def remove_other_generations(folder: Path, current: int) -> None:
    """Remove tables that a registrar left behind when it was killed while moving on to new ones."""
    for path in folder.glob("tables.*"):
        if path != tables_in(folder, current):
            remove_tables(path)


def remove_tables(path: Path) -> None:
    """Remove one generation of tables: a folder of files. One that is not there, or cannot be removed, is left: the
    next registrar tries again. Without shutil, whose compression modules would stay in each registrar's memory."""
    with contextlib.suppress(OSError):
        for file in path.iterdir():
            file.unlink()
        path.rmdir()


def tables_in(folder: Path, generation: int) -> Path:
    return folder / f"tables.{generation}"


class Environment:
    """One open LMDB environment and its tables. `first_number` is a descriptor that was free before it was opened."""

    # Before `__init__` is done, the caller closes what LMDB opened.
    _is_closed = True

    def __init__(
        self,
        lmdb_env: lmdb.Environment,
        folder: Path,
        generation: int,
        map_size: int,
        first_number: int,
        *,
        names: Sequence[str],
        writable: bool,
        create: bool,
    ) -> None:
        self.lmdb = lmdb_env
        self._page_bytes = int(lmdb_env.stat()["psize"])
        self.folder = folder
        self.generation = generation
        self.tables = {
            name: lmdb_env.open_db(
                name.encode(), create=create, dupsort=name in MANY_ROW_TABLES, dupfixed=name in MANY_ROW_TABLES
            )
            for name in names
        }
        self._files = _files_of(tables_in(folder, generation))
        self._descriptors = _descriptors_of(self._files, first_number)
        self.ids = self.tables["ids"]
        self.entries = self.tables["entries"]
        self.meta = self.tables["meta"]
        # None in a process that only reads.
        self.room = Room(self.data_file, map_size) if writable else None
        # The names of own data that have rows: known once the limits are.
        self.indexed: tuple[IndexedName, ...] = ()
        self._is_closed = False

    def is_in_place(self) -> bool:
        """Whether a process that opens the tables now finds the files that are open here."""
        return self._files == _files_of(tables_in(self.folder, self.generation))

    def file_bytes(self) -> int:
        """The bytes of every page that the tables have ever used, free ones included; known without counting."""
        return int(self.lmdb.info()["last_pgno"]) * self._page_bytes

    def available_bytes(self) -> int:
        """What the tables could take of their file system, less what they have used."""
        return 0 if self.room is None else self.room.available_bytes() - self.file_bytes()

    def free_dead_readers(self) -> None:
        """Free the slots of readers that died inside a read, whose snapshots keep pages from being used again."""
        self.lmdb.reader_check()

    @property
    def data_file(self) -> Path:
        return tables_in(self.folder, self.generation) / "data.mdb"

    def close(self) -> None:
        """Close the tables. No thread may read in them. Closing twice does nothing."""
        if self._is_closed:
            return
        self._is_closed = True
        with numbers_kept(self._descriptors):
            self.lmdb.close()
        if self.room is not None:
            self.room.close()
            self.room = None

    def __del__(self, is_finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        # At the end of the interpreter the modules are gone already.
        if not is_finalizing():
            self.close()

    def close_inherited(self) -> None:
        """`close` in a child of a fork before which the tables were not closed."""
        keep_private(self._files)
        self.close()


def _files_of(path: Path) -> list[tuple[int, int]]:
    """What identifies the files of an environment; empty when one is missing."""
    try:
        return [(found.st_dev, found.st_ino) for found in ((path / name).stat() for name in ("data.mdb", "lock.mdb"))]
    except OSError as error:
        reraise_foreign(error)
        return []


def _descriptors_of(files: list[tuple[int, int]], first_number: int) -> list[Descriptor]:
    """The descriptors that LMDB has just opened on these files. It leaves that of data.mdb to be inherited by a program
    that this process executes; from here on none is."""
    found = found_on(files, first_number)
    for noted in found:
        os.set_inheritable(noted.number, False)
    return found


def create_environment(folder: Path, generation: int, map_size: int, max_readers: int) -> Environment:
    """New, empty tables. The caller is the only registrar."""
    path = tables_in(folder, generation)
    remove_tables(path)
    with translating(folder):
        path.mkdir(mode=0o700)
        reserve_lock_file(path, max_readers)
        environment = _open(folder, generation, map_size, max_readers, TABLES, writable=True, create=True)
        # As long as it may ever become, all of it a hole, so a shorter file is a damaged one. LMDB alone leaves the
        # length to chance. By path, because a descriptor of this file must not be closed here.
        os.truncate(environment.data_file, map_size)
        return environment


def compact_copy(old: Environment, map_size: int, max_readers: int, needed: int) -> Environment:
    """The same tables without their free pages, as the next generation. `old` stays as it is. Errors: `RegistryFull`,
    before anything is copied where the file system lacks the `needed` bytes."""
    path = tables_in(old.folder, old.generation + 1)
    try:
        with translating(old.folder):
            fresh = create_environment(old.folder, old.generation + 1, map_size, max_readers)
            try:
                if fresh.room is not None and not fresh.room.reaches(needed):
                    raise RegistryFull(f"the file system of {old.folder} has no room for a copy of the tables")
                _copy_rows(old, fresh)
                fresh.indexed = old.indexed
            except BaseException:
                fresh.close()
                raise
            return fresh
    except BaseException:
        remove_tables(path)
        raise


def _copy_rows(old: Environment, fresh: Environment) -> None:
    # Row by row: LMDB 0.9.36's own compacting copy crashes once the rows under one key fill pages of their own.
    with old.lmdb.begin() as source, fresh.lmdb.begin(write=True) as target:
        for name in TABLES:
            with source.cursor(old.tables[name]) as rows, target.cursor(fresh.tables[name]) as copy:
                copy.putmulti(iter(rows))


def reserve_lock_file(path: Path, max_readers: int) -> None:
    """Give lock.mdb its space before LMDB maps it, where a full tmpfs would be SIGBUS.

    64 bytes for each reader and a page for the header; LMDB takes the number of slots from the size it finds. Nothing
    has this file open yet, so opening it here drops no lock of LMDB's.
    """
    descriptor = os.open(path / "lock.mdb", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, 64 * max_readers + 4096)
    finally:
        os.close(descriptor)


def open_environment(
    folder: Path, generation: int, map_size: int, *, writable: bool, names: Sequence[str] = TABLES
) -> Environment:
    """The tables of a registry that exists; those of an older format have other `names`. Errors: `CorruptRegistry`,
    `PermissionDenied`, `SystemBusy`."""
    with translating(folder):
        data = tables_in(folder, generation) / "data.mdb"
        try:
            size = data.stat().st_size
        except FileNotFoundError as error:
            reraise_foreign(error)
            raise CorruptRegistry(f"{data} is missing; {remedy(folder)}") from None
        # Reading past the end of a truncated file would be SIGBUS, not an error.
        if size != map_size:
            raise CorruptRegistry(f"{data} has {size} bytes instead of {map_size}; {remedy(folder)}")
        return _open(folder, generation, map_size, 126, names, writable=writable, create=False)


# Opens the tables of this generation, with a map of this size, to read.
OpenTables: TypeAlias = Callable[[Path, int, int], Environment]
open_to_read: OpenTables = functools.partial(open_environment, writable=False)


def _open(
    folder: Path,
    generation: int,
    map_size: int,
    max_readers: int,
    names: Sequence[str],
    *,
    writable: bool,
    create: bool,
) -> Environment:
    path = tables_in(folder, generation)
    for attempt in range(OPEN_TRIES):
        try:
            first_number = free_number()
            current_tables = lmdb.open(
                os.fsencode(path),
                map_size=map_size,
                max_readers=max_readers,
                max_dbs=len(TABLES),
                max_spare_txns=1,
                readonly=not writable,
                create=create,
                sync=False,
                metasync=False,
                writemap=False,
                lib_version=0,
                mode=0o700,
            )
        except lmdb.Error as error:
            # Another process is just opening or closing it and holds the lock file for that moment.
            busy = isinstance(error, lmdb.LockError) or error.code in (errno.EAGAIN, errno.EACCES, errno.EBUSY)
            if not busy or attempt == OPEN_TRIES - 1:
                raise
            time.sleep(0.001)
            continue
        try:
            return Environment(
                current_tables,
                folder,
                generation,
                map_size,
                first_number,
                names=names,
                writable=writable,
                create=create,
            )
        except BaseException:
            current_tables.close()
            raise
    raise AssertionError("the last attempt returns or raises")


class translating:  # noqa: N801 - used as a function; no generator, because each commit makes two
    """Translate errors of LMDB and the file system into `AdsumError`s that name file and remedy; keep the cause."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> None:
        return

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, (lmdb.Error, OSError)):
            reraise_foreign(error)
            raise translate(error, self._folder) from error


def translate(error: lmdb.Error | OSError, folder: Path) -> AdsumError:
    code = error.code if isinstance(error, lmdb.Error) else error.errno
    if isinstance(error, DAMAGE):
        return CorruptRegistry(f"the tables in {folder} are damaged ({error}); {remedy(folder)}")
    if isinstance(error, lmdb.ReadersFullError):
        return SystemBusy(
            f"every reader slot of {folder} is taken (Limits.max_readers, set when the registry was made); "
            "try again, or make the registry with a larger limit"
        )
    if code == errno.EFBIG:
        return RegistryFull(
            f"the tables in {folder} cannot grow past the limit of the process that writes them (ulimit -f, {error}); "
            "start the registrar without it: adsum registrar --replace"
        )
    if code == errno.ENOMEM and (mappable := resource.getrlimit(resource.RLIMIT_AS)[0]) != resource.RLIM_INFINITY:
        return SystemBusy(
            f"this process may map at most {mappable} bytes (ulimit -v), too few for the tables in {folder}; raise the "
            "limit"
        )
    # EIO: LMDB wrote less than it asked for, which in shared memory means that no memory was left.
    if isinstance(error, lmdb.MapFullError) or code in (errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.EIO):
        return RegistryFull(f"no memory left for the tables in {folder} ({error}); unregister or free space in tmpfs")
    if code in (errno.EMFILE, errno.ENFILE):
        return SystemBusy(
            f"this process has no file descriptor left for {folder}; close some or raise RLIMIT_NOFILE (ulimit -n)"
        )
    if code in (errno.EACCES, errno.EPERM, errno.EROFS):
        return PermissionDenied(
            f"cannot use the registry folder {folder} ({error}); it must be writable by you: check its file system, or "
            "set ADSUM_DIR or path= to a folder you own"
        )
    if code == errno.ENOENT and not path_in(folder).exists():
        return RegistrarUnavailable(f"the registry in {folder} was removed while it was used ({error}); try again")
    return CorruptRegistry(f"cannot use the tables in {folder} ({error}); {remedy(folder)}")


def unreadable_row(error: Exception, folder: Path) -> CorruptRegistry:
    """The error for a row that cannot be decoded."""
    return CorruptRegistry(f"a row of the tables in {folder} cannot be read ({error}); {remedy(folder)}")
