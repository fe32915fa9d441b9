"""The bell: how a process is woken after a change.

The registrar has one eventfd, which it writes after it has committed a change and hands to whoever says `Listen`.
Each watch looks at it through an epoll of its own, edge-triggered, so nobody ever has to read it: one system call of
the registrar's wakes everybody, it keeps nothing about who they are, and a watch that is slow or stopped costs nobody
anything. What has changed is in the tables; the bell only says that it is worth looking.

The connection on which it came stands for the registrar: when that dies, the connection ends, every watch is woken by
it, and one of them dials the next registrar.
"""

from __future__ import annotations

import array
import contextlib
import os
import random
import select
import socket
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec

from .. import _wire as wire
from .._os.forking import add_fork_aware
from .._os.liveness import descriptors_needed
from ..errors import CorruptRegistry, RegistrarUnavailable, RegistryClosed, Timeout
from ..model import Limits
from .connection import LONG_SECONDS, Connection
from .dial import START_SECONDS, dial

# When a registrar dies all who listen dial the next; they need not do so in the same instant.
SPREAD_SECONDS = 0.02


class BellHandle(NamedTuple):
    """What there is to listen to: the bell's descriptor and that of the connection, which ends with the registrar.
    `number` tells one connection from the next."""

    number: int
    bell: int
    connection: int


class Bell:
    """A process's hold on the bell of one registry. Safe for threads."""

    def __init__(self, folder: Path, limits: Limits, dialled: Callable[[], None]) -> None:
        self._folder = folder
        self._limits = limits
        self._dialled = dialled
        self._closed = False
        self.number = 0
        self._reset()
        add_fork_aware(self)

    def _reset(self) -> None:
        self._lock = threading.RLock()
        self._connection: Connection | None = None
        self._bell = -1
        self._waiters: weakref.WeakSet[Waiter] = weakref.WeakSet()

    def listen(self, waiter: Waiter, lost: int, until: float) -> BellHandle:
        """The handle for `waiter`, after the connection with the number `lost`. Starts a registrar if none serves.

        Errors: as `dial`; `Timeout` at `until`.
        """
        try:
            # In here, for what a signal handler raises may come in the moment in which the lock is taken.
            if not self._lock.acquire(timeout=max(0.0, until - time.monotonic())):
                raise Timeout(f"the registrar of {self._folder} is being dialled and does not answer yet; try again")
            if self._closed:
                raise RegistryClosed("this registry was closed; open another")
            self._waiters.add(waiter)
            if self._connection is None:
                # Not in the same instant as all others whose registrar died.
                time.sleep(random.uniform(0, SPREAD_SECONDS) if lost else 0)
                self._connect(until)
            connection = self._connection
            if connection is None:
                raise RegistrarUnavailable(f"the connection to the registrar of {self._folder} was lost; try again")
            return BellHandle(self.number, self._bell, connection.sock.fileno())
        finally:
            # It is not this thread's if the time was up.
            with contextlib.suppress(RuntimeError):
                self._lock.release()

    def is_over(self, number: int) -> None:
        """The connection with this number has ended, and its registrar with it."""
        with self._lock:
            if number == self.number:
                self._hang_up()

    def _connect(self, until: float) -> None:
        while self._bell < 0:
            connection = dial(self._folder, self._limits, os.urandom(16), until)
            try:
                self._bell = _ask_for_it(connection, until)
                self._connection = connection
            except ConnectionError:
                # It died in between: the next one is as good.
                connection.close()
            except TimeoutError as error:
                connection.close()
                raise Timeout(f"the registrar of {self._folder} did not answer in time; try again") from error
            except BaseException:
                connection.close()
                raise
        self._dialled()

    def _hang_up(self) -> None:
        self.number += 1
        # Closing takes the descriptors out of their epolls, and with them what would have woken them.
        for waiter in list(self._waiters):
            waiter.wake()
        bell, connection, self._bell, self._connection = self._bell, self._connection, -1, None
        if connection is not None:
            connection.close()
        if bell >= 0:
            os.close(bell)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._hang_up()

    def quiesce(self) -> None:
        """Nothing to wait for: dialling can take seconds, and a child begins anew in any case."""

    def at_exit(self) -> None:
        # Whoever still waits is woken, and waits for this lock from then on.
        self._lock.acquire()
        self._hang_up()

    def after_fork(self, *, child: bool) -> None:
        if child:
            # Copies of the parent's; whoever listens here must do so anew.
            self._hang_up()
            self._reset()


class Waiter:
    """What one watch waits with: an epoll that is readable when it should look."""

    def __init__(self, bell: Bell) -> None:
        self._bell = bell
        self._open()

    def _open(self) -> None:
        self._lock = threading.RLock()
        self._handle: BellHandle | None = None
        with descriptors_needed():
            self._epoll = select.epoll()
            self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._let_go = weakref.finalize(self, os.close, self._wake)
        self._let_go.atexit = False
        self._epoll.register(self._wake, select.EPOLLIN)

    def fileno(self) -> int:
        return self._epoll.fileno()

    @property
    def is_open(self) -> bool:
        return self._let_go.alive

    @property
    def hears(self) -> bool:
        """Whether the bell of a living registrar would be heard, as far as is known."""
        return self._handle is not None and self._handle.number == self._bell.number

    def listen(self, timeout: float | None = None) -> None:
        """Hear the bell, of the next registrar if this one is gone. May start one, and so take a while; afterwards
        it is worth looking, for what happened before was not heard. Errors: as `Bell.listen`."""
        patience = START_SECONDS if timeout is None else min(timeout, START_SECONDS)
        lost = self._handle.number if self._handle is not None else 0
        handle = self._bell.listen(self, lost, time.monotonic() + patience)
        with self._lock:
            if self._let_go.alive:
                self._hear(handle.bell, select.EPOLLIN | select.EPOLLET)
                self._hear(handle.connection, select.EPOLLIN | select.EPOLLRDHUP)
                self._handle = handle

    def _hear(self, descriptor: int, events: int) -> None:
        try:
            self._epoll.register(descriptor, events)
        except FileExistsError:
            # Somebody whose waiting was given up has come so far.
            self._epoll.modify(descriptor, events)

    def wait(self, timeout: float | None) -> None:
        """Until it is worth looking or listening anew, or at most `timeout` seconds."""
        for descriptor, _ in self._epoll.poll(LONG_SECONDS if timeout is None else min(timeout, LONG_SECONDS)):
            if descriptor == self._wake:
                os.eventfd_read(self._wake)
            elif self._handle is not None and descriptor == self._handle.connection:
                self._bell.is_over(self._handle.number)

    def wake(self) -> None:
        """End a wait, from any thread."""
        with self._lock:
            if self._let_go.alive:
                os.eventfd_write(self._wake, 1)

    def close(self) -> None:
        """Give the descriptors back. Nobody may be waiting."""
        with self._lock:
            self._epoll.close()
            self._let_go()

    def reset(self) -> None:
        """In a child: the epoll is the parent's, and the lock may be held by a thread that is not here."""
        self._lock = threading.RLock()
        self.close()
        self._open()


def _ask_for_it(connection: Connection, until: float) -> int:
    deadline = int(until * 1e9)
    connection.send(wire.frame(wire.Envelope(1, deadline, wire.Listen())), until)
    descriptors = array.array("i")
    frames = wire.FrameBuffer()
    while True:
        with descriptors_needed():
            connection.sock.settimeout(max(0.001, until - time.monotonic()))
            data, ancillary, *_ = connection.sock.recvmsg(
                4096, socket.CMSG_SPACE(descriptors.itemsize), socket.MSG_CMSG_CLOEXEC
            )
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                descriptors.frombytes(content[: len(content) - len(content) % descriptors.itemsize])
        if not data:
            raise ConnectionResetError("the registrar closed the connection")
        frames.feed(data)
        for frame in frames:
            return _bell_in(frame, descriptors)


def _bell_in(frame: bytes, descriptors: array.array[int]) -> int:
    try:
        reply = wire.decode_reply(frame)
    except msgspec.MsgspecError as error:
        raise CorruptRegistry(f"what answers at the registrar's socket is no registrar: {error}") from error
    if isinstance(reply, wire.Failed):
        raise wire.error_from(reply)
    if not descriptors:
        raise RegistrarUnavailable(
            "the registrar did not hand over its bell: is there a descriptor left? See ulimit -n"
        )
    return descriptors[0]
