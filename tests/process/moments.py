"""The moments inside a call at which something else may happen: a signal handler, a collection.

CPython runs signal handlers (and, from 3.12 on, the garbage collector) at the beginning of a function and after a call
of C code. A profile function is called at just these moments, so it can make each of them the one, one after the other.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import adsum

# Where things are let happen: adsum, and the standard library's locks, on its behalf.
SOURCES = (str(Path(adsum.__file__).parent), threading.__file__)


class Moment:
    """Calls `happens` at the n-th moment inside the block, in this thread or in one that was started while `everywhere`
    was called; then never again. `place` tells where that was, and is empty if there were fewer moments."""

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
    """Threads started from now on have moments too."""
    threading.setprofile(_at)
