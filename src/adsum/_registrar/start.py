"""Becoming the registrar of a folder, and ceasing to be it.

A process that does not get the folder's lock leaves quietly, for another registrar serves already. The socket is put in
its place only when it can be connected to, so a client never mistakes a starting registrar for a dead one.
"""

from __future__ import annotations

import _socket
import gc
import os
import resource
import signal
import sys
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from types import FrameType

from .. import _wire as wire
from .._os import folder as folders
from .._os import identity, log_file
from .._os.log import Log, RotatedFile
from .._store import page as pages
from .._store import tables
from .._store.environment import (
    Environment,
    create_environment,
    map_size_for,
    open_environment,
    remove_other_generations,
    remove_tables,
    translating,
)
from .._store.layout import Change
from .._store.room import fitted_to
from .._store.tables import Retention
from ..errors import AdsumError, RegistrarUnavailable
from ..model import Limits
from . import survivors
from . import tenure as tenures
from .clock import SystemClock
from .failpoints import from_environment
from .ports import Failpoint
from .server import Server
from .survivors import Survivor, SurvivorSocket
from .sweep import sweep
from .wiring import Core, build_core, build_engine, build_machine, build_server

BACKLOG = 1024


def serve(
    folder: Path,
    limits: Limits,
    *,
    ready: Callable[[], None],
    foreground: bool = False,
    kept: Sequence[str] = (),
    failpoint: Failpoint | None = None,
) -> bool:
    """Serve the registry in `folder` until there is nothing left to do. False when another registrar does already.

    `limits` count if the registry has to be made; `ready` is called when clients can connect. In the background the
    folder was made by the client that started this process; one that was removed since is not made again (False).
    `kept` is what this process had to keep of its starter, for the log.
    """
    identity.require_linux()
    # Not before the imports: modules that they compile are for all users who can read the sources.
    os.umask(0o077)
    if foreground:
        folders.create(folder)
    elif not folders.check(folder):
        return False
    lock = tenures.lock(folder)
    if lock is None:
        return False
    log = _log_of(folder, foreground)
    for what in kept:
        log.warning("%s", what)
    successor, members = SurvivorSocket(folder, log), []
    try:
        members = _serve_locked(folder, limits, lock, ready, failpoint or from_environment(), log, successor)
    except AdsumError as error:
        log.error("cannot serve: %s", error)
        raise
    finally:
        # Before the fork, which would keep the lock of a folder that was renamed.
        os.close(lock)
        successor.answer_in_fork(members)
        successor.close()
    return True


def _serve_locked(
    folder: Path,
    limits: Limits,
    lock: int,
    ready: Callable[[], None],
    failpoint: Failpoint,
    log: Log,
    successor: SurvivorSocket,
) -> list[Survivor]:
    """Serve. Returns the members that are left where the registry is gone from the folder."""
    clock = SystemClock()
    started = clock.monotonic_ns()
    failpoint("starting")
    with translating(folder):
        environment, page, limits = open_registry(folder, limits, failpoint, log)
        machine = build_machine(folder, page, clock, failpoint, log)
        engine = build_engine(environment, limits, machine.kernel)
        core = build_core(environment, page, limits, engine, machine.ports, Retention())
        swept = sweep(core, machine.ports)
        _reserve(folder, core, clock.monotonic_ns(), log)
        successor.listen()
        # Readers judge by this number. Where nothing was swept, no commit has written it.
        page.promises = len(core.heartbeats)
        page.announce(identity.current(), started)
        listener = _listen(folder)
    server = build_server(core, page, limits, machine, listener, lock, successor, swept)
    _stop_on_signals(server)
    gc.freeze()
    log.info("serving %s, %d entries", folder, core.committer.entries)
    why, members = "failed", []
    ready()
    try:
        why = server.run()
    finally:
        server.close(why)
        if why == "evicted" and not core.generations.is_in_place():
            members = _members(core, server.unanswered)
        core.generations.close()
        log.info("left: %s", why)
    return members


def _members(core: Core, unanswered: Sequence[Change]) -> list[Survivor]:
    """The members as their processes know them, and those that had not come back yet from an earlier loss."""
    with tables.read(core.generations.current) as stored:
        holders = dict(islice(stored.holders(), survivors.MOST_MEMBERS))
    for change in reversed(unanswered):
        if change.before is not None and change.before.entry.origin is None:
            holders[change.before.entry.process_id] = change.before.entry.owner
    holders = {one.process_id: one.owner for _, one in core.memory.reservations} | holders
    return [Survivor(*holder) for holder in holders.items()]


def _reserve(folder: Path, core: Core, now: int, log: Log) -> None:
    """Reserve the ids of the members that a registry had here until a moment ago. Also where there are tables: the
    registrar that made them may have been killed before all members were back."""
    found = survivors.ask(folder, log)
    if found:
        with tables.read(core.generations.current) as stored:
            found = {key: one for key, one in found.items() if stored.record(key) is None}
        log.info("%d ids are reserved for the members of the folder that was removed", len(found))
        core.memory.reservations.begin(found, now + int(survivors.WINDOW_SECONDS * 1e9))


def _stop_on_signals(server: Server) -> None:
    def stop(_number: int, _frame: FrameType | None) -> None:
        server.stop()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)


def open_registry(
    folder: Path, limits: Limits, failpoint: Failpoint, log: Log
) -> tuple[Environment, pages.Page, Limits]:
    """The registry in the folder, migrated where its format is older, or a new one if it has none of this boot. The
    limits are the registry's own."""
    pages.retire_replaced(folder)
    try:
        page = pages.attach(folder, writable=True)
    except pages.OlderFormat as older:
        from .._store import migration  # Not in the memory of the many registrars that have nothing to migrate.

        if (migrated := migration.migrate(folder, older.page, failpoint, log)) is not None:
            return migrated
        page = None
    if page is None:
        limits = fitted_to(folder, limits)
    _require_file_size(folder, map_size_for(limits) if page is None else page.map_size)
    if page is not None:
        environment = open_environment(folder, page.generation, page.map_size, writable=True)
        remove_other_generations(folder, page.generation)
        return environment, page, tables.check_identity(environment)
    # Files of an earlier boot are of no use any more. The page comes last, for readers begin with it.
    pages.path_in(folder).unlink(missing_ok=True)
    for old in folder.glob("tables.*"):
        remove_tables(old)
    map_size = map_size_for(limits)
    environment = create_environment(folder, 1, map_size, limits.max_readers)
    tables.initialise(environment, limits)
    return environment, pages.create(folder, map_size), limits


def _require_file_size(folder: Path, size: int) -> None:
    """Errors: `RegistrarUnavailable` where this process may not write files of `size` bytes, as the tables may have."""
    allowed = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    if allowed != resource.RLIM_INFINITY and allowed < size:
        raise RegistrarUnavailable(
            f"a process started from here may write at most {allowed} bytes to a file (ulimit -f), the tables in "
            f"{folder} may need {size}; start the registrar where there is no such limit: adsum registrar"
        )


def _listen(folder: Path) -> _socket.socket:
    listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    with folders.short_path(folder) as reachable:
        unfinished = f"{wire.SOCKET_NAME}.new"
        (folder / unfinished).unlink(missing_ok=True)
        listener.bind(f"{reachable}/{unfinished}")
        os.chmod(folder / unfinished, 0o600)
        listener.listen(BACKLOG)
    (folder / unfinished).rename(folder / wire.SOCKET_NAME)
    return listener


def _log_of(folder: Path, foreground: bool) -> Log:
    if not foreground:
        try:
            return Log(RotatedFile(folder / log_file.NAME))
        except OSError:
            # Better a registrar without a log file than no registrar. `adsum doctor` says why it cannot be written.
            pass
    return Log(sys.stderr)
