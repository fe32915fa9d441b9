"""The process of a bridge: one for each folder, found by its lock, ended by a signal.

SIGTERM and SIGINT end it; its lease lives on, so that the next bridge goes on with it. SIGUSR1 takes the host out of
the cluster in order first.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import logging.handlers
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from .. import __version__
from .._client.cluster import joined
from .._etcd.address import ClusterAddress
from .._etcd.client import EtcdClient
from .._etcd.errors import EtcdError
from .._foreign import reraise_foreign
from .._os import folder as folders
from .._os import log_file
from .._os.presence import lock_holders
from .bridge import Bridge
from .local import LocalRegistry

LOCK_NAME = "bridge"
STATUS_NAME = "bridge.status"
LOG_NAME = "bridge.log"
STATUS_SECONDS = 2.0
IDLE_SECONDS = 1.0
EVICTION_SECONDS = 0.5
# How long a bridge that a client has started goes on without a member and a client.
LINGER_SECONDS = 30.0

log = logging.getLogger("adsum.bridge")


class BridgeStatus(msgspec.Struct, frozen=True):
    """What a bridge says about itself, in the file `STATUS_NAME` of the registry's folder."""

    pid: int
    cluster: str
    host: str
    ttl: float
    version: str
    trouble: str
    member: str
    fence: int
    revision: int
    hosts: int
    writes: int
    loads: int
    refused_nodes: list[str]


def lock(folder: Path) -> int | None:
    """The locked descriptor, or None where another bridge serves this folder."""
    descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def serve(
    folder: Path, address: ClusterAddress, *, host: str | None, ttl: float, password: str | None, foreground: bool
) -> bool:
    """Be the bridge of a folder until a signal ends it. False where another one is. Errors: `AdsumError`.

    Where the folder is removed, one that a client has started ends: clients start the next. Another one goes on in the
    folder that is there then.
    """
    os.umask(0o077)
    while True:
        if foreground:
            folders.create(folder)
        elif not folders.check(folder) or joined(folder) is None:
            # Removed since a client started this process.
            return False
        locked = lock(folder)
        if locked is None:
            return False
        is_evicted = False
        try:
            os.ftruncate(locked, 0)
            os.pwrite(locked, b"%d\n" % os.getpid(), 0)
            _log_to(folder, foreground)
            with contextlib.suppress(asyncio.CancelledError):
                is_evicted = asyncio.run(_serve(folder, locked, address, host, ttl, password, lingers=not foreground))
        finally:
            os.close(locked)
        if not (is_evicted and foreground):
            return True


async def _serve(
    folder: Path,
    locked: int,
    address: ClusterAddress,
    host: str | None,
    ttl: float,
    password: str | None,
    *,
    lingers: bool,
) -> bool:
    """Whether it ended because its folder was removed."""
    async with (
        LocalRegistry(folder) as local,
        EtcdClient(address, password=password) as etcd,
    ):
        bridge: Bridge | None = None

        def report() -> None:
            if bridge is not None:
                _write_status(folder, address, bridge, etcd)

        bridge = Bridge(etcd, address.name, local, host or local.node, ttl, report)
        running = asyncio.create_task(bridge.run())
        leaving = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, running.cancel)
        loop.add_signal_handler(signal.SIGUSR1, _leave, leaving, running)
        reporting = asyncio.create_task(_report_often(report))
        evicted = asyncio.create_task(_until_evicted(folder, locked))
        evicted.add_done_callback(lambda _: running.cancel())
        needless = asyncio.create_task(_until_needless(local)) if lingers else None
        if needless is not None:
            needless.add_done_callback(lambda task: None if task.cancelled() else _leave(leaving, running))
        try:
            await running
        except asyncio.CancelledError:
            if leaving.is_set():
                with contextlib.suppress(EtcdError):
                    await bridge.leave()
        finally:
            reporting.cancel()
            evicted.cancel()
            if needless is not None:
                needless.cancel()
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
                loop.remove_signal_handler(number)
            is_evicted = not _holds(folder, locked)
            if not is_evicted:
                (folder / STATUS_NAME).unlink(missing_ok=True)
        return is_evicted


def _holds(folder: Path, locked: int) -> bool:
    """Whether the file that this process has locked is that in the folder."""
    try:
        return os.path.samestat((folder / LOCK_NAME).stat(), os.fstat(locked))
    except OSError as error:
        reraise_foreign(error)
        return False


async def _until_evicted(folder: Path, locked: int) -> None:
    """Wait until the folder was removed, or made anew: then another bridge may serve it."""
    while True:
        await asyncio.sleep(EVICTION_SECONDS)
        if not _holds(folder, locked):
            log.warning("the folder %s was removed", folder)
            return


def _leave(leaving: asyncio.Event, running: asyncio.Task[None]) -> None:
    leaving.set()
    running.cancel()


async def _report_often(report: Callable[[], None]) -> None:
    while True:
        report()
        await asyncio.sleep(STATUS_SECONDS)


async def _until_needless(local: LocalRegistry) -> None:
    """Wait until the registry here has had no member and no other client for `LINGER_SECONDS`."""
    idle_since = time.monotonic()
    while time.monotonic() - idle_since < LINGER_SECONDS:
        await asyncio.sleep(IDLE_SECONDS)
        others = set(lock_holders(local.folder / "clients")) - {os.getpid()}
        if local.table or others:
            idle_since = time.monotonic()


def _write_status(folder: Path, address: ClusterAddress, bridge: Bridge, etcd: EtcdClient) -> None:
    status = BridgeStatus(
        pid=os.getpid(),
        cluster=str(address),
        host=bridge.tenure.host,
        ttl=bridge.tenure.ttl,
        version=__version__,
        trouble=bridge.trouble or bridge.publisher.trouble,
        member=etcd.member,
        fence=bridge.tenure.fence,
        revision=bridge.mirror.revision,
        hosts=len(bridge.mirror.picture.hosts),
        writes=bridge.publisher.writes,
        loads=bridge.mirror.loads,
        refused_nodes=sorted(bridge.publisher.refused_nodes),
    )
    unfinished = folder / f"{STATUS_NAME}.new"
    try:
        unfinished.write_bytes(msgspec.json.encode(status))
        unfinished.rename(folder / STATUS_NAME)
    except OSError as error:
        # A full file system, or a folder that is gone: the status is for people.
        log.debug("cannot write the status: %s", error)


def status_in(folder: Path) -> BridgeStatus | None:
    """What the bridge of a folder says about itself; None where none has said anything."""
    try:
        return msgspec.json.decode((folder / STATUS_NAME).read_bytes(), type=BridgeStatus)
    except (OSError, msgspec.DecodeError):
        return None


def _log_to(folder: Path, foreground: bool) -> None:
    handler: logging.Handler = logging.StreamHandler()
    if not foreground:
        with contextlib.suppress(OSError):
            handler = logging.handlers.RotatingFileHandler(
                folder / LOG_NAME, maxBytes=log_file.MAX_BYTES, backupCount=1, encoding="utf-8"
            )
    handler.setFormatter(logging.Formatter("%(asctime)s %(process)d %(levelname)s %(message)s"))
    log.handlers[:] = [handler]
    log.setLevel(logging.INFO)
    log.propagate = False
