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
from .._store.room import fitted_to
from .._store.tables import Retention
from ..errors import AdsumError, RegistrarUnavailable
from ..model import Limits
from . import tenure as tenures
from .clock import SystemClock
from .failpoints import from_environment
from .ports import Failpoint
from .server import Server
from .sweep import sweep
from .wiring import build_core, build_engine, build_machine, build_server

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
    try:
        _serve_locked(folder, limits, lock, ready, failpoint or from_environment(), log)
    except AdsumError as error:
        log.error("cannot serve: %s", error)
        raise
    finally:
        os.close(lock)
    return True


def _serve_locked(
    folder: Path, limits: Limits, lock: int, ready: Callable[[], None], failpoint: Failpoint, log: Log
) -> None:
    clock = SystemClock()
    started = clock.monotonic_ns()
    failpoint("starting")
    with translating(folder):
        environment, page, limits = open_registry(folder, limits, failpoint, log)
        machine = build_machine(folder, page, clock, failpoint, log)
        engine = build_engine(environment, limits, machine.kernel)
        core = build_core(environment, page, limits, engine, machine.ports, Retention())
        swept = sweep(core, machine.ports)
        # Readers judge by this number. Where nothing was swept, no commit has written it.
        page.promises = len(core.heartbeats)
        page.announce(identity.current(), started)
        listener = _listen(folder)
    server = build_server(core, page, limits, machine, listener, lock, swept)
    _stop_on_signals(server)
    gc.freeze()
    log.info("serving %s, %d entries", folder, core.committer.entries)
    why = "failed"
    ready()
    try:
        why = server.run()
    finally:
        server.close(why)
        core.generations.close()
        log.info("left: %s", why)


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
