"""The command's side of the coordinators: starts both, reads their status updates, and merges them into one view."""

from __future__ import annotations

import selectors
import subprocess
import sys
import time
from collections import Counter
from typing import IO

from .coordinator import DemoFailed
from .messages import READ_BYTES, Frames
from .status import JobEnd, StatusUpdate
from .view import View
from .workspace import Workspace

_END_SECONDS = 10.0


class CoordinatorProcess:
    """The process of one coordinator, and its latest status update."""

    def __init__(self, workspace: Workspace) -> None:
        command = [sys.executable, "-P", "-m", "adsum_demo.leader", str(workspace.orders)]
        with workspace.log.open("ab") as errors:
            # A session of its own, so that Ctrl-C at the terminal does not reach it: the command decides when it ends.
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, start_new_session=True
            )
        self.frames: Frames[StatusUpdate | JobEnd] = Frames(StatusUpdate | JobEnd)
        self.update: StatusUpdate | None = None

    @property
    def pipe(self) -> IO[bytes]:
        """Its standard output."""
        if self.process.stdout is None:
            raise DemoFailed("a coordinator has no output")
        return self.process.stdout

    def end(self) -> None:
        """Close the lifeline and wait until the process has exited."""
        try:
            self.process.communicate(timeout=_END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()


class Coordinators:
    """Two coordinators and their status updates. As a context manager it starts them, and ends them."""

    def __init__(self, workspace: Workspace, files: int) -> None:
        self._workspace = workspace
        self._files = files
        self._began = time.monotonic()
        self._events: list[str] = []
        self._selector = selectors.DefaultSelector()
        self._latest: CoordinatorProcess | None = None
        self.is_over = False
        self.processes: list[CoordinatorProcess] = []

    def __enter__(self) -> Coordinators:
        for _ in range(2):
            process = CoordinatorProcess(self._workspace)
            self.processes.append(process)
            self._selector.register(process.pipe, selectors.EVENT_READ, process)
        return self

    def __exit__(self, *_: object) -> None:
        self._selector.close()
        # The process that leads ends last, so that the other one does not take over.
        for process in sorted(self.processes, key=lambda one: one is self._latest):
            process.end()

    def watch_chaos(self, pipe: IO[bytes]) -> None:
        """`pipe` is the output of chaos; its end means that no agent will be started any more."""
        self._selector.register(pipe, selectors.EVENT_READ)

    def receive(self, seconds: float) -> None:
        """Take the status updates that come within so many seconds. Errors: `DemoFailed`."""
        for key, _ in self._selector.select(seconds):
            if key.data is None:
                raise DemoFailed("chaos, which starts the agents, has failed")
            self._receive_from(key.data)

    def view(self) -> View:
        """The latest update, with the pieces that an earlier leader handed out added."""
        view = View(
            registry=self._workspace.team.registry,
            namespace=self._workspace.team.namespace,
            files=self._files,
            seconds=time.monotonic() - self._began,
            events=self._events,
        )
        update = self._latest.update if self._latest is not None else None
        if update is None:
            return view
        earlier = self._pieces_of_others()
        rows = [row._replace(pieces=row.pieces + earlier[row.name]) for row in update.rows]
        return view._replace(rows=rows, done=update.done, deaths=update.deaths)

    def _receive_from(self, process: CoordinatorProcess) -> None:
        part = process.pipe.read1(READ_BYTES)  # type: ignore[attr-defined]
        if not part:
            self._selector.unregister(process.pipe)
            if len(self._selector.get_map()) < 2:
                raise DemoFailed("both coordinators have ended")
            return
        for update in process.frames.feed(part):
            if isinstance(update, StatusUpdate):
                process.update = update
                self._latest = process
                self._events += update.events
            elif update.error:
                raise DemoFailed(update.error)
            else:
                self.is_over = True

    def _pieces_of_others(self) -> Counter[str]:
        pieces: Counter[str] = Counter()
        for process in self.processes:
            if process is not self._latest and process.update is not None:
                pieces.update({row.name: row.pieces for row in process.update.rows})
        return pieces
