"""Exceptions that come from outside while adsum works, and pass through it unchanged.

A signal handler runs between any two steps of the main thread, and may raise what it likes: `TimeoutError` for an alarm
of its own, for one. To the code that it interrupts this looks like an error of the call in progress. So whatever adsum
catches in a caller's thread, other than its own errors, goes through `reraise_foreign` first.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import FrameType

_OURS = __name__.partition(".")[0]


def reraise_foreign(error: Exception) -> None:
    """Raise `error` again if it is foreign: then the code that caught it must neither translate nor swallow it."""
    cause = error.__cause__
    try:
        if is_foreign(error):
            raise error
        # msgspec translates a ValueError or TypeError that is raised while it decodes an object.
        if isinstance(cause, Exception) and is_foreign(cause):
            error.__cause__ = error.__context__ = None
            raise cause
    finally:
        # The traceback refers to this frame. A cycle would keep what the interrupted call had open.
        del error, cause


def is_foreign(error: Exception) -> bool:
    """Whether neither the kernel nor adsum raised `error`.

    - An error of the kernel has an errno, and so has each `OSError` that adsum raises for itself, except for its public
      errors. An exception that is thrown into a thread (PyThreadState_SetAsyncExc) or a greenlet usually has none.
    - Python calls a signal handler with the frame that it interrupts (`signal.signal`). No function of adsum, or
      between it and the kernel, is called with the frame of its caller. So a function that was, is a handler.
    """
    if isinstance(error, OSError) and error.errno is None and not _is_public(error):
        return True
    callers: list[FrameType] = []
    traceback = error.__traceback__
    while traceback is not None:
        if any(given is caller for given in _arguments(traceback.tb_frame) for caller in callers):
            return True
        callers.append(traceback.tb_frame)
        traceback = traceback.tb_next
    return False


def _is_public(error: Exception) -> bool:
    """Whether it is an error of `adsum.errors`, of which some are kinds of `OSError`."""
    return type(error).__module__ == f"{_OURS}.errors"


def _arguments(frame: FrameType) -> Iterator[object]:
    """What a function that is not adsum's was called with, as far as it still has it."""
    # Python keeps a copy of the names of a frame whose `f_locals` was read. In one of adsum's that copy would keep the
    # error, which keeps the frame, and so what the interrupted call had open.
    if str(frame.f_globals.get("__name__")).partition(".")[0] == _OURS:
        return
    code, values = frame.f_code, frame.f_locals
    # The last two are those of *arguments and **named, or local names where the function has none.
    for name in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount + 2]:
        value = values.get(name)
        if isinstance(value, tuple):
            yield from value
        else:
            yield value
