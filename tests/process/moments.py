"""The moments inside a call at which a signal handler or a garbage collection may run.

CPython runs signal handlers (and, from 3.12 on, the garbage collector) at the beginning of a function and after a call
of C code. A profile function is called at exactly these moments, so it can trigger the event at each of them in turn.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import adsum

# Moments are counted in adsum, and in the standard library's locks that it uses.
SOURCES = (str(Path(adsum.__file__).parent), threading.__file__)


class Moment:
    """Calls `happens` once, at the n-th moment inside the block, in this thread or in one that was started after
    `everywhere` was called. `place` is the location of that moment, or empty if there were fewer moments."""

    def __init__(self, number: int, happens: Callable[[], None]) -> None:
        self.left = number
        self.happens = happens
        self.place = ""

    def __enter__(self) -> Moment:
        _current[0] = self
        sys.setprofile(_at)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)
        _current[0] = None

    def reached(self, frame: FrameType, event: str, argument: object) -> None:
        self.left -= 1
        if self.left < 0:
            _current[0] = None
            after = f" after {argument}" if event == "c_return" else ""
            self.place = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}{after}"
            self.happens()


_current: list[Moment | None] = [None]


def _at(frame: FrameType, event: str, argument: object) -> None:
    moment = _current[0]
    if moment is not None and event in ("call", "c_return") and frame.f_code.co_filename.startswith(SOURCES):
        moment.reached(frame, event, argument)


def everywhere() -> None:
    """Count moments also in threads that are started from now on."""
    threading.setprofile(_at)
