"""When the server ends: at a signal, or with the process that started it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from .clients import Parent

_END_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def ended_by_signals(end: asyncio.Event) -> Iterator[None]:
    """Set the event at Ctrl-C, SIGTERM and SIGHUP inside the block. A signal that was ignored from the start, such as
    SIGHUP under nohup(1), stays ignored."""
    loop = asyncio.get_running_loop()
    numbers = [number for number in _END_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    for number in numbers:
        loop.add_signal_handler(number, end.set)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


@contextmanager
def ended_with(parent: Parent, end: asyncio.Event) -> Iterator[None]:
    """Set the event when the process that started this one has ended.

    The end of standard input says it, too, but only when no other process has the pipe open: a child that the client
    left behind may have.
    """
    pidfd = -1
    if parent.is_running():
        try:
            pidfd = os.pidfd_open(parent.pid)
        except OSError:
            # It has ended just now, or no descriptor is left. The end of standard input remains.
            pidfd = -1
    if pidfd < 0:
        yield
        return
    loop = asyncio.get_running_loop()
    try:
        if not parent.is_running():
            end.set()
        loop.add_reader(pidfd, end.set)
        yield
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)
