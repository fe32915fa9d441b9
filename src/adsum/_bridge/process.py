"""The process of a bridge: one for each folder, found by its lock, ended by a signal.

SIGTERM ends it; its lease lives on, so that the next bridge goes on with it. SIGUSR1 takes the host out of the cluster
in order first, and so does SIGINT, with which a person ends a bridge in the foreground.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time
from pathlib import Path

import msgspec

from .. import __version__
from .._client import bridge_status
from .._client.bridge_status import BridgeStatus
from .._client.cluster import JoinedCluster, change, checked_host, forget, has_left, join, joined
from .._etcd.address import ClusterAddress
from .._etcd.client import EtcdClient
from .._etcd.errors import EtcdError
from .._foreign import reraise_foreign
from .._os import folder as folders
from .._os.log import RotatedFile, utc
from .._os.presence import hold_alone, lock_holders
from .._store.hosts import boottime_ns
from ..errors import VersionMismatch
from .bridge import Bridge
from .forgetter import FORGET_AFTER
from .keys import id_of
from .local import LocalRegistry
from .service_manager import notify

LOCK_NAME = "bridge"
LOG_NAME = "bridge.log"
IDLE_SECONDS = 1.0
EVICTION_SECONDS = 0.5
# How long a bridge that a client has started goes on without a member and a client.
LINGER_SECONDS = 30.0

log = logging.getLogger("adsum.bridge")


class BridgeSettings(msgspec.Struct, frozen=True):
    """How a bridge works. `host` is empty for the registry's own node. One in the `foreground` logs to standard error,
    and does not end by itself. With `leave_at_end`, SIGTERM takes the host out of the cluster too."""

    ttl: float
    host: str = ""
    forget_after: float = FORGET_AFTER
    password: str | None = None
    foreground: bool = False
    leave_at_end: bool = False


def lock(folder: Path) -> int | None:
    """The locked descriptor, or None where another bridge serves this folder."""
    return hold_alone(folder / LOCK_NAME)


def serve(folder: Path, address: ClusterAddress, settings: BridgeSettings) -> bool:
    """Be the bridge of a folder until a signal ends it. False where another one is. Errors: `AdsumError`.

    Where the folder is removed, one that a client has started ends: clients start the next. One in the foreground goes
    on in the folder that is there then, whose registry joins the cluster too.
    """
    os.umask(0o077)
    while True:
        if settings.foreground:
            folders.create(folder)
        elif not folders.check(folder) or joined(folder) is None:
            # Removed since a client started this process.
            return False
        locked = lock(folder)
        if locked is None:
            return False
        is_evicted = False
        before = joined(folder)
        try:
            if settings.foreground:
                # Only now: a bridge that does not serve changes nothing.
                _join(folder, JoinedCluster(str(address), settings.host, settings.ttl, settings.forget_after))
            os.ftruncate(locked, 0)
            os.pwrite(locked, b"%d\n" % os.getpid(), 0)
            _log_to(folder, settings.foreground)
            with contextlib.suppress(asyncio.CancelledError):
                is_evicted = asyncio.run(_serve(folder, locked, address, settings, before))
        finally:
            os.close(locked)
        if not (is_evicted and settings.foreground) or has_left(folder):
            return True


def _join(folder: Path, wanted: JoinedCluster | None) -> None:
    """Have the registry be part of this, under the lock of its bridge. Errors: `InvalidClusterAddress`."""
    if wanted is None:
        forget(folder)
    elif join(folder, wanted) != wanted:
        change(folder, wanted)


async def _serve(
    folder: Path, locked: int, address: ClusterAddress, settings: BridgeSettings, before: JoinedCluster | None
) -> bool:
    """Whether it ended because its folder was removed. `before` is what the registry was part of before."""
    async with (
        LocalRegistry(folder) as local,
        EtcdClient(address, password=settings.password) as etcd,
    ):
        process = _BridgeProcess(folder, locked, address, settings, local, etcd)
        try:
            await process.run()
        except VersionMismatch:
            if settings.foreground and not process.has_served:
                _join(folder, before)
            raise
        finally:
            is_evicted = not process.holds_folder
            if not is_evicted:
                bridge_status.remove(folder)
        return is_evicted


class _BridgeProcess:
    """A bridge, with what goes on around it."""

    def __init__(
        self,
        folder: Path,
        locked: int,
        address: ClusterAddress,
        settings: BridgeSettings,
        local: LocalRegistry,
        etcd: EtcdClient,
    ) -> None:
        self._folder = folder
        self._locked = locked
        self._address = address
        self._settings = settings
        self._local = local
        self._etcd = etcd
        self._started = boottime_ns()
        host = settings.host or checked_host("ADSUM_HOST is not set, and the registry's own node", local.node)
        self._bridge = Bridge(etcd, address.name, local, host, settings.ttl, self._report, settings.forget_after)
        self._running: asyncio.Task[None] | None = None
        self._leaving = False

    async def run(self) -> None:
        """Serve until a signal, or until no process needs it. Errors: those of `Bridge.run`."""
        loop = asyncio.get_running_loop()
        self._running = running = asyncio.create_task(self._bridge.run())
        actions = {
            signal.SIGTERM: self._leave if self._settings.leave_at_end else running.cancel,
            signal.SIGINT: self._leave,
            signal.SIGUSR1: self._leave,
        }
        # A bridge inherits blocked signals from a starter that waits for signals, as adsum run does.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, actions)
        for number, action in actions.items():
            loop.add_signal_handler(number, action)
        beside = [asyncio.create_task(self._report_often()), asyncio.create_task(self._end_when_evicted(running))]
        if not self._settings.foreground:
            beside.append(asyncio.create_task(self._leave_when_needless()))
        notify("READY=1")
        try:
            await running
        except asyncio.CancelledError:
            if self._leaving:
                with contextlib.suppress(EtcdError):
                    await self._bridge.leave()
        finally:
            notify("STOPPING=1")
            for task in beside:
                task.cancel()
            for number in actions:
                loop.remove_signal_handler(number)

    @property
    def has_served(self) -> bool:
        """Whether it has ever vouched for the entries here."""
        return self._bridge.tenure.number > 0

    @property
    def holds_folder(self) -> bool:
        """Whether the file that this process has locked is that in the folder."""
        try:
            return os.path.samestat((self._folder / LOCK_NAME).stat(), os.fstat(self._locked))
        except OSError as error:
            reraise_foreign(error)
            return False

    async def _end_when_evicted(self, running: asyncio.Task[None]) -> None:
        """End once the folder was removed, or made anew: then another bridge may serve it."""
        while True:
            await asyncio.sleep(EVICTION_SECONDS)
            if not self.holds_folder:
                log.warning("the folder %s was removed", self._folder)
                running.cancel()
                return

    def _leave(self) -> None:
        self._leaving = True
        if self._running is not None:
            self._running.cancel()

    async def _leave_when_needless(self) -> None:
        """Leave once the registry here has had no member and no other client for `LINGER_SECONDS`."""
        idle_since = time.monotonic()
        while time.monotonic() - idle_since < LINGER_SECONDS:
            await asyncio.sleep(IDLE_SECONDS)
            others = set(lock_holders(self._folder / "clients")) - {os.getpid()}
            if self._local.table or others:
                idle_since = time.monotonic()
        self._leave()

    async def _report_often(self) -> None:
        while True:
            self._report()
            # A service manager with WatchdogSec= starts a bridge anew that does not say this any more.
            notify("WATCHDOG=1", f"STATUS={self._bridge.trouble or 'connected to the cluster'}")
            await asyncio.sleep(bridge_status.SAY_SECONDS)

    def _report(self) -> None:
        bridge = self._bridge
        status = BridgeStatus(
            pid=os.getpid(),
            cluster=str(self._address),
            host=bridge.tenure.host,
            ttl=bridge.tenure.ttl,
            version=__version__,
            trouble=bridge.trouble or bridge.etcd_writer.trouble,
            member=self._etcd.member,
            fence=bridge.tenure.fence,
            revision=bridge.etcd_reader.revision,
            hosts=len(bridge.etcd_reader.remote_hosts.hosts),
            writes=bridge.etcd_writer.writes,
            loads=bridge.etcd_reader.loads,
            refused_nodes=sorted(bridge.etcd_writer.nodes.refused),
            too_large=sorted(str(id_of(key)) for key in bridge.etcd_writer.too_large),
            forget_after=bridge.forgetter.seconds,
            foreground=self._settings.foreground,
            started_ns=self._started,
            tenures=bridge.tenure.number,
            written_ns=boottime_ns(),
        )
        try:
            bridge_status.write(self._folder, status)
        except OSError as error:
            # A full file system, or a folder that is gone: the status is for people.
            log.debug("cannot write the status: %s", error)


class _Lines(logging.Formatter):
    """The lines of the log, with the time as in that of a registrar."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 - of logging
        return utc(record.created)


def _log_to(folder: Path, foreground: bool) -> None:
    handler: logging.Handler = logging.StreamHandler()
    if not foreground:
        with contextlib.suppress(OSError):
            handler = logging.StreamHandler(RotatedFile(folder / LOG_NAME))
    handler.setFormatter(_Lines("%(asctime)s %(process)d %(levelname)s %(message)s"))
    log.handlers[:] = [handler]
    log.setLevel(logging.INFO)
    log.propagate = False
