"""A registry that is part of a cluster: what its file ``cluster`` says, and the bridge that a process keeps running.

Each process that opened the registry with an address waits in a thread for the end of the bridge, and starts the next
one; the lock of the bridge lets one of them win. So the bridge needs no supervisor, and costs nothing while it runs.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import math
import os
import re
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec

from .._etcd.address import parse
from .._foreign import reraise_foreign
from .._os import folder as folders
from .._os import log_file, polling, threads
from .._os.descriptors import Descriptor, Wakeup, note
from .._os.forking import add_fork_aware
from .._os.locks import locked
from .._os.pidfd import open_pidfd
from .._store import page as pages
from ..errors import AdsumError, ClusterUnavailable, InvalidClusterAddress
from .launch import Launch, bridge_command, environment

FILE_NAME = "cluster"
LOCK_NAME = "bridge"
LOG_NAME = "bridge.log"
DEFAULT_TTL = 10.0
FORGET_AFTER = 600.0
# How often the thread looks where it has no descriptor of the bridge to wait with.
LOOK_SECONDS = 1.0
# Between two starts, at first and at most.
_PAUSES = (0.1, 5.0)
# A host name goes into keys and roles of etcd.
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}")
# How long `close` waits for the thread.
END_SECONDS = 1.0
# How long a bridge may take from its start until it holds the folder.
START_SECONDS = 10.0


class Joined(msgspec.Struct, frozen=True):
    """The cluster that a registry is part of: the address, the name of this host (empty for the registry's own node),
    and, in seconds, the time to live of its lease and the time after which it forgets hosts that it cannot reach."""

    address: str
    host: str = ""
    ttl: float = DEFAULT_TTL
    forget_after: float = FORGET_AFTER


def joined(folder: Path) -> Joined | None:
    """The cluster that the registry in a folder is part of; None where it is part of none."""
    try:
        return msgspec.json.decode((folder / FILE_NAME).read_bytes(), type=Joined)
    except (FileNotFoundError, NotADirectoryError) as error:
        reraise_foreign(error)
        return None
    except (OSError, msgspec.DecodeError) as error:
        reraise_foreign(error)
        raise InvalidClusterAddress(
            f"{folder / FILE_NAME} cannot be read ({error}); remove it, and open the registry with cluster= again"
        ) from error


def wanted(address: str, environment: Mapping[str, str]) -> Joined:
    """What a process asks for with this address. Errors: `InvalidClusterAddress`."""
    ttl = environment.get("ADSUM_CLUSTER_TTL") or DEFAULT_TTL
    forget_after = environment.get("ADSUM_CLUSTER_FORGET_AFTER") or FORGET_AFTER
    return Joined(
        address,
        checked_host("ADSUM_HOST", environment.get("ADSUM_HOST", "")),
        checked_ttl("ADSUM_CLUSTER_TTL", ttl),
        checked_forget_after("ADSUM_CLUSTER_FORGET_AFTER", forget_after),
    )


def is_host_name(name: str) -> bool:
    """Whether a host can have this name: letters, digits, dots, hyphens and underscores."""
    return _HOST.fullmatch(name) is not None


def checked_host(name: str, value: str) -> str:
    """The name of a host; an empty one is the registry's own node. Errors: `InvalidClusterAddress`, which calls it
    `name`."""
    if value and not is_host_name(value):
        raise InvalidClusterAddress(
            f"{name}={value!r}: give the name of a host, 1 to 253 letters, digits, '.', '-' or '_', of which the first "
            "is a letter or digit"
        )
    return value


def checked_ttl(name: str, value: str | float) -> float:
    """A time to live. Errors: `InvalidClusterAddress`, which calls it `name`."""
    return _checked_seconds(name, value, 2.0, 3600.0)


def checked_forget_after(name: str, value: str | float) -> float:
    """A time after which hosts are forgotten. Errors: `InvalidClusterAddress`, which calls it `name`."""
    return _checked_seconds(name, value, 1.0, 31_536_000.0)


def _checked_seconds(name: str, value: str | float, least: float, most: float) -> float:
    try:
        seconds = float(value)
    except ValueError as error:
        reraise_foreign(error)
        seconds = math.nan
    if not least <= seconds <= most:
        raise InvalidClusterAddress(f"{name}={value!r}: give seconds from {least:.9g} to {most:.9g}")
    return seconds


def join(folder: Path, wanted: Joined) -> Joined:
    """Have the registry in a folder be part of a cluster, and return what it is part of. Errors:
    `InvalidClusterAddress` for an address that cannot be read, or where it is part of another cluster;
    `ClusterUnavailable` where the extra is not installed."""
    address = str(parse(wanted.address))
    require_extra()
    present = joined(folder)
    if present is None:
        wanted = msgspec.structs.replace(wanted, address=address)
        folders.create(folder)
        unfinished = _unfinished(folder, wanted)
        # Another process may be first: its file stays.
        with contextlib.suppress(FileExistsError):
            os.link(unfinished, folder / FILE_NAME)
        os.unlink(unfinished)
        present = joined(folder) or wanted
    if present.address != address:
        raise InvalidClusterAddress(
            f"the registry in {folder} is part of the cluster {present.address}, not {address}; give its address, or "
            "another registry (name=, path=). To change it: adsum bridge --leave, and then open it again"
        )
    return present


def forget(folder: Path) -> None:
    """Have the registry in a folder be part of no cluster."""
    (folder / FILE_NAME).unlink(missing_ok=True)


def change(folder: Path, joined: Joined) -> None:
    """Replace what a registry that has joined says about its host; the next bridge reads it."""
    _unfinished(folder, joined).rename(folder / FILE_NAME)


def _unfinished(folder: Path, joined: Joined) -> Path:
    """A file beside `FILE_NAME` that no other process writes."""
    path = folder / f"{FILE_NAME}.{os.urandom(6).hex()}"
    path.write_bytes(msgspec.json.encode(joined))
    return path


def require_extra() -> None:
    """Errors: `ClusterUnavailable` where the packages that speak to etcd are missing."""
    if importlib.util.find_spec("grpc") is None:
        raise ClusterUnavailable("a cluster needs grpcio and protobuf; install them: pip install 'adsum[cluster]'")


def running_bridge(folder: Path) -> int | None:
    """The pid of the bridge of a folder, as its own PID namespace numbers it, 0 where that is not known; None where
    none runs."""
    try:
        descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        reraise_foreign(error)
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError as error:
        reraise_foreign(error)
        said = os.pread(descriptor, 32, 0).strip()
        return int(said) if said.isdigit() else 0
    finally:
        os.close(descriptor)
    return None


class BridgeKeeper:
    """Keeps a bridge running for the registry in `folder`, until it is closed. `wanted` is what the program has asked
    for: a registry that is made anew in the folder joins the cluster again."""

    def __init__(self, folder: Path, launch: Launch, wanted: Joined | None = None) -> None:
        self._folder = folder
        self._launch = launch
        self._wanted = wanted
        # Of the registry that had joined; 0 where it was not made yet.
        self._epoch = 0
        self._closed = False
        self._reset()
        add_fork_aware(self)

    def _reset(self) -> None:
        self._lock = threading.RLock()
        self._thread: threading.Thread | None = None
        self._wake: Wakeup | None = None
        self._bridge: Descriptor | None = None
        # The file `FILE_NAME`, on which a process that starts a bridge has a lock, so that of many only one does.
        self._starting: Descriptor | None = None

    @locked
    def start(self) -> None:
        """Start the thread, if there is none. A child of a fork has none before it calls this."""
        if self._thread is None and not self._closed:
            self._wake = Wakeup()
            self._thread = threading.Thread(target=self._run, name="adsum-bridge-keeper", daemon=True)
            threads.start(self._thread)

    @locked
    def close(self) -> None:
        """End the thread. The bridge goes on."""
        self._closed = True
        if self._wake is not None:
            self._wake.ring()

    def join(self) -> None:
        """Wait, for a moment at most, until the thread has ended."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            threads.join(thread, END_SECONDS)

    def _run(self) -> None:
        pause = _PAUSES[0]
        while not self._closed:
            pid = running_bridge(self._folder)
            self._epoch = pages.epoch_in(self._folder) if pid is not None else self._epoch
            if pid is None:
                self._start_bridge()
                self._wait(None, pause)
                pause = min(2 * pause, _PAUSES[1])
            else:
                pause = _PAUSES[0]
                self._wait(pid, LOOK_SECONDS)
        wake, self._wake = self._wake, None
        if wake is not None:
            wake.close()

    def _wait(self, pid: int | None, seconds: float) -> None:
        """Wait for the end of the bridge, or of this keeper; so long at most where the bridge cannot be waited for."""
        waiting = polling.wait_set()
        if self._wake is not None:
            waiting.register(self._wake, polling.POLLIN)
        bridge: Descriptor | None = None
        if pid:
            with contextlib.suppress(OSError):
                bridge = self._bridge = note(open_pidfd(pid))
                waiting.register(bridge.number, polling.POLLIN)
        try:
            # Its number may be another process's by now, or in another PID namespace: so it is looked at again.
            waiting.poll((30 * LOOK_SECONDS if bridge else seconds) * 1000)
        finally:
            self._bridge = None
            if bridge is not None:
                bridge.close()

    def _start_bridge(self) -> None:
        """Start a bridge, unless another process is just doing so."""
        try:
            present = joined(self._folder) or self._join_again()
            if present is None:
                return
            starting = self._starting = note(os.open(self._folder / FILE_NAME, os.O_RDONLY | os.O_CLOEXEC))
            try:
                fcntl.flock(starting.number, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._launch_bridge(present)
            except BlockingIOError as error:
                reraise_foreign(error)
            finally:
                self._starting = None
                starting.close()
        except (AdsumError, OSError, subprocess.SubprocessError) as error:
            reraise_foreign(error)
            with contextlib.suppress(OSError), log_file.open_to_append(self._folder) as log:
                log.write(f"cannot start a bridge: {error}\n".encode())

    def _join_again(self) -> Joined | None:
        """Join once more where the registry that had joined is gone, and another one is in its place."""
        epoch = pages.epoch_in(self._folder)
        if self._wanted is None or epoch in (0, self._epoch):
            return None
        return join(self._folder, self._wanted)

    def _launch_bridge(self, present: Joined) -> None:
        """Start the process of a bridge, and wait a moment until it holds the folder."""
        if running_bridge(self._folder) is not None:
            return
        arguments = [str(self._folder), *map(str, msgspec.structs.astuple(present))]
        with open(self._folder / LOG_NAME, "ab") as log:
            process = subprocess.Popen(
                [*bridge_command(self._launch.command), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd="/",
                env=environment(),
            )
        # It forks at once, so that init adopts the bridge.
        process.wait()
        until = time.monotonic() + START_SECONDS
        while running_bridge(self._folder) is None and time.monotonic() < until and not self._closed:
            time.sleep(_PAUSES[0] / 5)

    def quiesce(self) -> None:
        """Hold nothing: the thread stays in the parent."""

    def after_fork(self, *, child: bool) -> None:
        if child:
            copies = self._wake, self._bridge, self._starting
            self._reset()
            for copy in copies:
                if copy is not None:
                    copy.close()
