"""The client's side of the bell: how a process learns that there is a change to read.

The technique is a broadcast doorbell. The registrar has one eventfd(2) and writes it after each commit; a client that
sends `Listen` gets a copy of the descriptor over its socket (SCM_RIGHTS, unix(7)). Each watch adds it, edge-triggered
(EPOLLET, epoll(7)), to an epoll of its own. Every write is a new edge in every one of these epolls, also where no
process reads the eventfd. So one system call wakes all watches, the registrar keeps no state about them, and a watch
that is slow or stopped costs only itself. The bell carries no data: the change is in the tables.

The connection that brought the bell ends when its registrar ends, and is in the same epolls. That wakes every watch of
the process, and one of them connects to the next registrar for all.
"""

from __future__ import annotations

import _socket
import array
import errno
import os
import random
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec

from .. import _wire as wire
from .._foreign import reraise_foreign
from .._os import polling
from .._os.descriptors import Wakeup, close_epoll
from .._os.forking import add_fork_aware, notice_fork, own
from .._os.liveness import descriptors_needed
from .._os.locks import locked
from ..errors import CorruptRegistry, RegistrarUnavailable, RegistryClosed, SystemBusy, Timeout
from .connection import LONG_SECONDS, Connection
from .dial import START_SECONDS, dial
from .drops import Drops
from .launch import Launch

# When a registrar dies, every listening process connects to the next one. Each waits a random time up to this first, so
# that they do not all connect at the same instant.
SPREAD_SECONDS = 0.02
# How often a watch looks whether the registry was made that it waits for.
ABSENT_SECONDS = 0.05


class BellHandle(NamedTuple):
    """The descriptors that a waiter listens to: the bell, and the connection that brought it and that ends with the
    registrar. `number` identifies the connection in this process."""

    number: int
    bell: int
    connection: int


class BellConnection:
    """This process's connection to the registrar of one folder for the sake of its bell. Safe for threads.

    `number` is that of the present connection, or of the next one while there is none.
    """

    def __init__(self, folder: Path, launch: Launch, dialled: Callable[[], object]) -> None:
        self._folder = folder
        self._launch = launch
        self._dialled = dialled
        self._closed = False
        # From 1 on: a waiter that had no connection yet has lost none.
        self.number = 1
        self._reset()
        add_fork_aware(self)

    def _reset(self) -> None:
        self._lock = threading.RLock()
        self._connection: Connection | None = None
        self._bell = -1
        self._waiters: weakref.WeakSet[Waiter] = weakref.WeakSet()

    def listen(self, waiter: Waiter, lost: int, until: float) -> BellHandle:
        """The handle for `waiter`; `lost` is the number of the connection that it had before, 0 for none. Connects if
        there is no connection, and starts a registrar if none serves.

        Errors: as `dial`; `Timeout` at `until`; `RegistryClosed`.
        """
        if not own[0]:
            notice_fork()
        try:
            # Inside the `try`, because a signal handler may raise just after the lock is acquired.
            if not self._lock.acquire(timeout=max(0.0, until - time.monotonic())):
                raise Timeout(f"the registrar of {self._folder} is being dialled and does not answer yet; try again")
            if self._closed:
                raise RegistryClosed("this registry was closed; open another")
            self._waiters.add(waiter)
            if self._connection is not None and not self._connection.is_ours():
                self._disconnect()
            if self._connection is None:
                time.sleep(random.uniform(0, SPREAD_SECONDS) if lost else 0)
                self._connect(until)
            connection = self._connection
            if connection is None:
                raise RegistrarUnavailable(f"the connection to the registrar of {self._folder} was lost; try again")
            return BellHandle(self.number, self._bell, connection.sock.fileno())
        finally:
            # This thread does not hold the lock if the time was up.
            try:
                self._lock.release()
            except RuntimeError as error:
                reraise_foreign(error)

    @locked
    def lost(self, number: int) -> None:
        """The connection with this number has ended, and so has its registrar."""
        # Another waiter may have reported it first.
        if number == self.number:
            self._disconnect()

    def _connect(self, until: float) -> None:
        drops = Drops()
        while self._bell < 0:
            connection = dial(self._folder, self._launch, os.urandom(16), until)
            try:
                drops.connected(connection, until)
                self._bell = _request_bell(connection, until)
                self._connection = connection
            except TimeoutError as error:
                connection.close()
                reraise_foreign(error)
                raise Timeout(f"the registrar of {self._folder} did not answer in time; try again") from error
            except OSError as error:
                is_lost = isinstance(error, ConnectionError) or not connection.is_ours()
                try:
                    reraise_foreign(error)
                    if not is_lost:
                        raise
                    drops.note(self._folder, connection, error)
                finally:
                    connection.close()
                # The registrar died in between, or the program closed the descriptor. Dial the next one.
            except BaseException:
                connection.close()
                raise
        self._dialled()

    def _disconnect(self) -> None:
        self.number += 1
        # Before the descriptors are closed: closing removes them from the epolls, and then they wake no waiter.
        for waiter in list(self._waiters):
            waiter.wake()
        bell, connection, self._bell, self._connection = self._bell, self._connection, -1, None
        # The bell has no inode of its own; the program has closed both, or none.
        if bell >= 0 and (connection is None or connection.is_ours()):
            os.close(bell)
        if connection is not None:
            connection.close()

    @locked
    def close(self) -> None:
        """Disconnect for good, and wake every waiter."""
        self._closed = True
        self._disconnect()

    def quiesce(self) -> None:
        """Hold nothing: a thread that dials may have the lock for seconds, and a child makes a new one."""

    def after_fork(self, *, child: bool) -> None:
        if child:
            # The descriptors are copies of the parent's. A waiter of the child listens again.
            self._disconnect()
            self._reset()


class Waiter:
    """What one watch waits with: an epoll that becomes readable when there may be a change to read.

    The order that misses no change: `listen`, then read the tables, then `wait`. A commit after the read rings.
    """

    def __init__(self, bell: BellConnection, registry_exists: Callable[[], bool]) -> None:
        self._bell = bell
        self._registry_exists = registry_exists
        self._open()

    def _open(self) -> None:
        self._lock = threading.RLock()
        self._handle: BellHandle | None = None
        self.is_open = True
        with descriptors_needed():
            self._epoll = polling.epoll()
            self._wake = Wakeup()
        self._add(self._wake.fileno(), polling.EPOLLIN)

    def fileno(self) -> int:
        """The epoll, for an event loop."""
        self.verify()
        return self._epoll.fileno()

    @property
    def is_connected(self) -> bool:
        """Whether the bell reaches this waiter, as far as this process knows; if not, `listen`."""
        return self._handle is not None and self._handle.number == self._bell.number

    @locked
    def verify(self) -> None:
        """Open others where the program closed the descriptors."""
        if self.is_open and not self._wake.wakes(self._epoll):
            self._renew()

    def _renew(self) -> None:
        close_epoll(self._epoll, self._wake)
        self._open()

    def listen(self, timeout: float | None = None) -> None:
        """Connect to the bell, that of the next registrar if this one has ended. May start one, which takes a moment.

        Read the tables after this and before `wait`: the bell did not ring here for changes before. Where there is no
        registry, this waits a moment for one instead: to watch makes none. Errors: as `BellConnection.listen`.
        """
        self.verify()
        seconds = START_SECONDS if timeout is None else min(timeout, START_SECONDS)
        if not self._registry_exists():
            self._wait_for_registry(min(seconds, ABSENT_SECONDS))
            return
        lost = self._handle.number if self._handle is not None else 0
        handle = self._bell.listen(self, lost, time.monotonic() + seconds)
        self._use(handle)

    @locked
    def _use(self, handle: BellHandle) -> None:
        if self.is_open:
            self._add(handle.bell, polling.EPOLLIN | polling.EPOLLET)
            self._add(handle.connection, polling.EPOLLIN | polling.EPOLLRDHUP)
            self._handle = handle

    def _wait_for_registry(self, seconds: float) -> None:
        """Wait so long, or until `wake`."""
        if polling.wait_in(self._epoll, seconds):
            self._wake.clear()

    def _add(self, descriptor: int, events: int) -> None:
        try:
            self._epoll.register(descriptor, events)
        except FileExistsError as error:
            reraise_foreign(error)
            # An earlier `listen` was interrupted between the two.
            self._epoll.modify(descriptor, events)
        except OSError as error:
            reraise_foreign(error)
            raise SystemBusy(
                f"the kernel watches no further descriptor for this process ({error}); see fs.epoll.max_user_watches"
            ) from error

    def wait(self, timeout: float | None) -> None:
        """Wait until there may be a change to read, or `listen` is due; at most `timeout` seconds."""
        self.verify()
        if not self.is_connected and timeout is None:
            # `verify` began anew, so a bell may have been missed.
            return
        seconds = LONG_SECONDS if timeout is None else min(timeout, LONG_SECONDS)
        for descriptor, _ in polling.wait_in(self._epoll, seconds):
            if descriptor == self._wake.fileno():
                self._wake.clear()
            elif self._handle is not None and descriptor == self._handle.connection:
                self._bell.lost(self._handle.number)

    @locked
    def wake(self) -> None:
        """End a `wait`, from any thread."""
        if self.is_open:
            self._wake.ring()

    @locked
    def close(self) -> None:
        """Close the descriptors. No thread may be in `wait`."""
        if self.is_open:
            self.is_open = False
            close_epoll(self._epoll, self._wake)

    def reset(self) -> None:
        """In a child of `fork`: replace the epoll, which the parent uses too, and the lock, which a thread of the
        parent may hold."""
        self._lock = threading.RLock()
        self._renew()


def _request_bell(connection: Connection, until: float) -> int:
    """Send `Listen`, and receive the bell's descriptor with the reply."""
    deadline = int(until * 1e9)
    connection.send(wire.frame(wire.Envelope(1, deadline, wire.Listen())), until)
    descriptors = array.array("i")
    frames = wire.FrameBuffer()
    while True:
        connection.wait_to_receive(until)
        with descriptors_needed():
            data, ancillary, *_ = connection.sock.recvmsg(
                4096, _socket.CMSG_SPACE(descriptors.itemsize), _socket.MSG_CMSG_CLOEXEC
            )
        for level, kind, content in ancillary:
            if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
                descriptors.frombytes(content[: len(content) - len(content) % descriptors.itemsize])
        if not data:
            raise ConnectionResetError(errno.ECONNRESET, "the registrar closed the connection")
        frames.feed(data)
        for frame in frames:
            return _bell_of(frame, descriptors)


def _bell_of(frame: bytes, descriptors: array.array[int]) -> int:
    try:
        reply = wire.decode_reply(frame)
    except msgspec.MsgspecError as error:
        reraise_foreign(error)
        raise CorruptRegistry(f"the process at the registrar's socket is not a registrar: {error}") from error
    if isinstance(reply, wire.Failed):
        raise wire.error_from(reply)
    if not descriptors:
        raise RegistrarUnavailable(
            "the registrar's bell did not arrive; this process or the registrar has no descriptor left: see ulimit -n"
        )
    return descriptors[0]
