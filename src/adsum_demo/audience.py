"""What the command sees of the coordinators: it hears both of them, and makes one view of it."""

from __future__ import annotations

import selectors
import subprocess
import sys
import time
from collections import Counter
from typing import IO

from .coordinator import DemoFailed
from .messages import Frames
from .status import Over, StatusUpdate
from .view import View
from .workspace import Workspace

_PATIENCE_SECONDS = 10.0
_READ_BYTES = 1 << 20


class Speaker:
    """A coordinator's process, and the last that it told."""

    def __init__(self, where: Workspace) -> None:
        command = [sys.executable, "-P", "-m", "adsum_demo.leader", str(where.orders)]
        with where.log.open("ab") as errors:
            # In a session of its own Ctrl-C at the terminal does not reach it, so it ends when the command says so.
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, start_new_session=True
            )
        self.frames: Frames[StatusUpdate | Over] = Frames(StatusUpdate | Over)
        self.update: StatusUpdate | None = None

    @property
    def pipe(self) -> IO[bytes]:
        if self.process.stdout is None:
            raise DemoFailed("a coordinator has no output")
        return self.process.stdout

    def end(self) -> None:
        """Close the lifeline and wait until it has ended."""
        try:
            self.process.communicate(timeout=_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()


class Audience:
    """Two coordinators, from their start to their end, and everything they tell. As a context manager it ends them."""

    def __init__(self, where: Workspace, files: int) -> None:
        self._where = where
        self._files = files
        self._began = time.monotonic()
        self._news: list[str] = []
        self._selector = selectors.DefaultSelector()
        self._latest: Speaker | None = None
        self.over = False
        self.speakers: list[Speaker] = []

    def __enter__(self) -> Audience:
        for _ in range(2):
            speaker = Speaker(self._where)
            self.speakers.append(speaker)
            self._selector.register(speaker.pipe, selectors.EVENT_READ, speaker)
        return self

    def __exit__(self, *_: object) -> None:
        self._selector.close()
        # Who leads ends last, so that its end makes nobody lead.
        for speaker in sorted(self.speakers, key=lambda one: one is self._latest):
            speaker.end()

    def attend(self, chaos: IO[bytes]) -> None:
        """`chaos` is the pipe whose end means that no agent will be started any more."""
        self._selector.register(chaos, selectors.EVENT_READ)

    def listen(self, seconds: float) -> None:
        """Hear what is told within so many seconds. Errors: `DemoFailed`."""
        for key, _ in self._selector.select(seconds):
            if key.data is None:
                raise DemoFailed("whoever starts the agents has failed")
            self._hear(key.data)

    def view(self) -> View:
        update = self._latest.update if self._latest is not None else None
        earlier = self._pieces_of_others()
        rows = (
            [row._replace(pieces=row.pieces + earlier[row.name]) for row in update.rows] if update is not None else []
        )
        return View(
            registry=self._where.team.registry,
            namespace=self._where.team.namespace,
            rows=rows,
            done=update.done if update is not None else 0,
            files=self._files,
            seconds=time.monotonic() - self._began,
            deaths=update.deaths if update is not None else 0,
            news=self._news,
        )

    def _hear(self, speaker: Speaker) -> None:
        part = speaker.pipe.read1(_READ_BYTES)  # type: ignore[attr-defined]
        if not part:
            self._selector.unregister(speaker.pipe)
            if len(self._selector.get_map()) < 2:
                raise DemoFailed("both coordinators are gone")
            return
        for update in speaker.frames.feed(part):
            if isinstance(update, StatusUpdate):
                speaker.update = update
                self._latest = speaker
                self._news += update.news
            elif update.error:
                raise DemoFailed(update.error)
            else:
                self.over = True

    def _pieces_of_others(self) -> Counter[str]:
        pieces: Counter[str] = Counter()
        for speaker in self.speakers:
            if speaker is not self._latest and speaker.update is not None:
                pieces.update({row.name: row.pieces for row in speaker.update.rows})
        return pieces
