"""Tethers: processes whose end ends the program of `adsum run`, besides the end of `adsum run` itself.

A tether is a pidfd (pidfd_open(2)). PR_SET_PDEATHSIG would not do for the process that started `adsum run`: the kernel
sends that signal when the *thread* ends that forked, and the parent may be a program with many threads; and the owning
member is no parent. A pidfd becomes readable when all of the process has ended, and cannot mean another one.

`adsum run` waits for signals, all of which it has blocked. A signalfd(2) shows in the same poll(2) that one is pending;
it is still taken by sigwaitinfo(2).
"""

from __future__ import annotations

import ctypes
import math
import os
import select
import signal
import sys
import time
from collections.abc import Callable

from ... import admin
from ...errors import AdsumError
from ...model import Owner
from ..options import UsageError

# How long the program has to end after SIGTERM, before SIGKILL.
END_SECONDS = 5.0
# linux/include/uapi/linux/signalfd.h
_SFD_CLOEXEC = os.O_CLOEXEC
_SIGSET_BYTES = 128


class Tethers:
    """The tethers of one program."""

    def __init__(self) -> None:
        # The function gives the process that takes the place of one that has ended, if any does.
        self._pidfds: dict[int, Callable[[], Owner | None]] = {}
        self._signals: int | None = None
        # When the program is killed that was asked to end; None while it need not end.
        self._killed_at: float | None = None

    def add_parent(self) -> None:
        """Tether the program to the process that started this one. Errors: `UsageError` where that is in another PID
        namespace, and `AdsumError` where it has ended."""
        parent = os.getppid()
        if not parent:
            raise UsageError(
                "--die-with-parent: the process that started adsum is in another PID namespace, where its end cannot "
                "be seen; leave the option out"
            )
        try:
            pidfd = os.pidfd_open(parent)
        except ProcessLookupError as error:
            raise _parent_has_ended() from error
        self._pidfds[pidfd] = lambda: None
        if os.getppid() != parent:
            # The number may be another process's by now.
            raise _parent_has_ended()

    def add(self, owner: Owner, successor: Callable[[], Owner | None]) -> bool:
        """Tether the program to another process, and then to its `successor`. False where it has ended."""
        pidfd = admin.open_pidfd(owner)
        if pidfd is None:
            return False
        self._pidfds[pidfd] = successor
        return True

    def close(self) -> None:
        """Close all descriptors."""
        for descriptor in (*self._pidfds, *([] if self._signals is None else [self._signals])):
            os.close(descriptor)
        self._pidfds, self._signals = {}, None

    def require_all(self) -> None:
        """Errors: `AdsumError` where one has ended. For the moment before the program starts."""
        waiting = select.poll()
        for pidfd in self._pidfds:
            waiting.register(pidfd, select.POLLIN)
        if waiting.poll(0):
            raise AdsumError("the process with which the program was to end has ended; the program was not started")

    def wait(self, child: int) -> None:
        """Wait until a signal is pending. Meanwhile, end the program when a tether has ended."""
        if not self._pidfds and self._killed_at is None:
            # The wait for a signal is all that there is.
            return
        while True:
            waiting = select.poll()
            waiting.register(signals := self._signal_descriptor(), select.POLLIN)
            for pidfd in self._pidfds:
                waiting.register(pidfd, select.POLLIN)
            ready = {descriptor for descriptor, _ in waiting.poll(self._patience())}
            for pidfd in ready.intersection(self._pidfds):
                self._end(pidfd, child)
            if self._killed_at is not None and time.monotonic() >= self._killed_at:
                self._killed_at = math.inf
                _send(child, signal.SIGKILL)
            if signals in ready:
                return

    def _patience(self) -> float | None:
        """Milliseconds until the program is killed; None where it need not be."""
        if self._killed_at is None or math.isinf(self._killed_at):
            return None
        return max(0.0, self._killed_at - time.monotonic()) * 1000 + 1

    def _end(self, pidfd: int, child: int) -> None:
        """A tether has ended: so does the program, unless a successor takes its place."""
        successor = self._pidfds.pop(pidfd)
        os.close(pidfd)
        owner = successor()
        if (owner is not None and self.add(owner, successor)) or self._killed_at is not None:
            return
        self._killed_at = time.monotonic() + END_SECONDS
        _send(child, signal.SIGTERM)
        # A stopped program could not end.
        _send(child, signal.SIGCONT)

    def _signal_descriptor(self) -> int:
        """A descriptor that is readable while a signal is pending."""
        if self._signals is None:
            libc = ctypes.CDLL(None, use_errno=True)
            every = ctypes.create_string_buffer(_SIGSET_BYTES)
            libc.sigfillset(every)
            self._signals = libc.signalfd(-1, every, _SFD_CLOEXEC)
            if self._signals < 0:
                raise OSError(ctypes.get_errno(), "no descriptor for signals")
        return self._signals


def _parent_has_ended() -> AdsumError:
    return AdsumError("the process that started adsum has ended; the program was not started")


def _send(child: int, number: signal.Signals) -> None:
    try:
        # The child is not reaped, so its pid cannot have been reused.
        os.kill(child, number)
    except PermissionError:
        # The command runs as another user, as sudo(8) does.
        print(f"adsum: the program runs as another user, so adsum cannot end it: {number.name}", file=sys.stderr)
