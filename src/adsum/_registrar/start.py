"""Becoming the registrar of a folder, and ceasing to be it.

An exclusive `flock` on the file ``lock`` makes the registrar the only one: the kernel releases it when the process
dies, however it dies. Whoever does not get it leaves quietly, for another serves already. The socket is put in its
place only when it can be connected to, so a client never mistakes a starting registrar for a dead one.
"""

from __future__ import annotations

import fcntl
import gc
import logging
import logging.handlers
import os
import shutil
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from .. import _wire as wire
from .._os import folder as folders
from .._os import identity
from .._os.liveness import DeathWatch
from .._store import page as pages
from .._store import tables
from .._store.environment import (
    Environment,
    create_environment,
    map_size_for,
    open_environment,
    remove_other_generations,
    translating,
)
from ..errors import AdsumError
from ..model import Limits
from .committer import Committer
from .failpoints import failpoint
from .server import Server

LOG_BYTES = 256 * 1024
BACKLOG = 1024

log = logging.getLogger("adsum.registrar")


def serve(folder: Path, limits: Limits, *, ready: Callable[[], None], foreground: bool = False) -> bool:
    """Serve the registry in `folder` until there is nothing left to do. False when another registrar does already.

    `limits` count if the registry has to be made; `ready` is called when clients can connect. In the background it is
    a client that makes the folder: one that was removed since is not brought back behind whoever removed it, and False.
    """
    identity.require_linux()
    if foreground:
        folders.create(folder)
    elif not folders.check(folder):
        return False
    lock = _lock(folder)
    if lock is None:
        return False
    _log_to(folder, foreground)
    try:
        _serve_locked(folder, limits, lock, ready)
    except AdsumError as error:
        log.error("cannot serve: %s", error)
        raise
    finally:
        os.close(lock)
    return True


def _serve_locked(folder: Path, limits: Limits, lock: int, ready: Callable[[], None]) -> None:
    started = time.monotonic_ns()
    failpoint("starting")
    with translating(folder):
        environment, page, limits = _open_registry(folder, limits)
        kernel = DeathWatch()
        committer = Committer(environment, page, limits, kernel)
        sessions = committer.sweep()
        page.announce(identity.current(), started)
        listener = _listen(folder)

    socket_file = os.stat(folder / wire.SOCKET_NAME)

    def still_ours() -> bool:
        try:
            return (
                os.path.samestat(os.stat(folder / "lock"), os.fstat(lock))
                and os.path.samestat(os.stat(folder / wire.SOCKET_NAME), socket_file)
                and page.is_in(folder)
                and committer.environment.is_in_place()
            )
        except OSError:
            return False

    server = Server(listener, committer, kernel, still_ours, folder)
    server.inherit(sessions)

    def stop(_number: int, _frame: FrameType | None) -> None:
        server.stop()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    gc.freeze()
    log.info("serving %s, %d entries", folder, committer.entries)
    why = "failed"
    ready()
    try:
        why = server.run()
    finally:
        # First nobody can connect any more, then those who are connected learn that they must ask the next one.
        if why != "evicted":
            # Otherwise what lies at these paths belongs to another registrar.
            (folder / wire.SOCKET_NAME).unlink(missing_ok=True)
        elif not (page.is_in(folder) and committer.environment.is_in_place()):
            page.retire()
        server.close()
        committer.environment.close()
        log.info("left: %s", why)


def _open_registry(folder: Path, limits: Limits) -> tuple[Environment, pages.Page, Limits]:
    """The registry that is there, or a new one where there is none of this boot."""
    page = pages.attach(folder, writable=True)
    if page is not None:
        environment = open_environment(folder, page.generation, page.map_size, writable=True)
        remove_other_generations(folder, page.generation)
        return environment, page, tables.check_identity(environment)
    # Nothing of this boot: what lies here is of no use to anybody. The page comes last, for it is what readers look at.
    pages.path_in(folder).unlink(missing_ok=True)
    for old in folder.glob("tables.*"):
        shutil.rmtree(old)
    map_size = map_size_for(limits)
    environment = create_environment(folder, 1, map_size, limits.max_readers)
    tables.initialise(environment, limits)
    return environment, pages.create(folder, map_size), limits


def _lock(folder: Path) -> int | None:
    with translating(folder):
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _listen(folder: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with folders.short_path(folder) as reachable:
        unfinished = f"{wire.SOCKET_NAME}.new"
        (folder / unfinished).unlink(missing_ok=True)
        listener.bind(f"{reachable}/{unfinished}")
        os.chmod(folder / unfinished, 0o600)
        listener.listen(BACKLOG)
    (folder / unfinished).rename(folder / wire.SOCKET_NAME)
    return listener


def _log_to(folder: Path, foreground: bool) -> None:
    handler = _handler(folder, foreground)
    handler.setFormatter(logging.Formatter("%(asctime)s %(process)d %(levelname)s %(message)s"))
    log.handlers[:] = [handler]
    log.setLevel(logging.INFO)
    log.propagate = False


def _handler(folder: Path, foreground: bool) -> logging.Handler:
    if not foreground:
        try:
            return logging.handlers.RotatingFileHandler(folder / "registrar.log", maxBytes=LOG_BYTES, backupCount=1)
        except OSError:
            # Better a registrar without a log than none. `adsum doctor` says why there is none.
            pass
    return logging.StreamHandler()
