"""The bridge that a process keeps running.

Each process that opened the registry with an address waits in a thread for the end of the bridge, and starts the next
one; the lock of the bridge lets one of them win. So the bridge needs no supervisor, and costs nothing while it runs.
"""

from __future__ import annotations

import contextlib
import subprocess
import threading
import time
from pathlib import Path

import msgspec

from .._foreign import reraise_foreign
from .._os import log_file, polling, threads
from .._os.descriptors import Descriptor, Wakeup, note
from .._os.forking import add_fork_aware, no_fork_during
from .._os.locks import locked
from .._os.pidfd import open_pidfd
from .._store import page as pages
from ..errors import AdsumError
from .cluster import LOG_NAME, JoinedCluster, has_left, join, joined, lock_starting, running_bridge
from .launch import Launch, bridge_command, environment

# How often the thread looks where it has no descriptor of the bridge to wait with.
LOOK_SECONDS = 1.0
# Between two starts, at first and at most.
_PAUSES = (0.1, 5.0)
# How long `close` waits for the thread.
END_SECONDS = 1.0
# How long a bridge may take from its start until it holds the folder.
START_SECONDS = 10.0


class BridgeKeeper:
    """Keeps a bridge running for the registry in `folder`, until it is closed. `wanted` is what the program has asked
    for: a registry that is made anew in the folder joins the cluster again."""

    def __init__(self, folder: Path, launch: Launch, wanted: JoinedCluster | None = None) -> None:
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
        threads.join(self._thread, END_SECONDS)

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
        """Start a bridge, unless another process is just doing so, or takes the host out of the cluster."""
        try:
            present = joined(self._folder) or self._join_again()
            if present is None:
                return
            number = lock_starting(self._folder)
            if number is None:
                return
            starting = self._starting = note(number)
            try:
                self._launch_bridge(joined(self._folder) or present)
            finally:
                self._starting = None
                starting.close()
        except (AdsumError, OSError, subprocess.SubprocessError) as error:
            reraise_foreign(error)
            with contextlib.suppress(OSError), log_file.open_to_append(self._folder) as log:
                log.write(f"cannot start a bridge: {error}\n".encode())

    def _join_again(self) -> JoinedCluster | None:
        """Join once more where the registry that had joined is gone, and another one is in its place. One that has left
        the cluster stays out of it, whatever the programs that run had asked for."""
        epoch = pages.epoch_in(self._folder)
        if self._wanted is None or epoch in (0, self._epoch) or has_left(self._folder):
            return None
        return join(self._folder, self._wanted)

    def _launch_bridge(self, present: JoinedCluster) -> None:
        """Start the process of a bridge, and wait a moment until it holds the folder."""
        if running_bridge(self._folder) is not None:
            return
        arguments = [str(self._folder), *map(str, msgspec.structs.astuple(present))]
        with open(self._folder / LOG_NAME, "ab") as log:
            process = no_fork_during(
                subprocess.Popen,
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
