"""Survivors: the members of a registry whose folder is gone, and the list of them that the next registrar gets.

A folder can go while its members live. Each of them registers itself anew, which takes a moment. No other process may
get the id of one before that one is back. So the registrar of the folder answers the next one: it listens at an address
that does not go with the folder, an abstract Unix socket (unix(7)), whose name both derive from the user and the path.

Keepers notice the end of a registrar, not the loss of a folder. So a registrar whose folder is gone ends at once, and a
fork of it, which has nothing but the socket and the list, answers for `WINDOW_SECONDS`.

Any process can bind such a name, and connect to it. So each side asks the kernel for the user at the other one
(SO_PEERCRED). A name that is taken is no obstacle: there are several, and the next registrar asks at all of them.
"""

import _socket
import contextlib
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from zlib import crc32

import msgspec

from .._engine.reservations import Reservation
from .._os import folder as folders
from .._os import identity
from .._os.log import Log
from .._store.layout import key_of
from ..model import Owner, ProcessId
from .connection import accept

# How long the members of a lost folder may take to return: keepers look twice a second while no registrar serves.
WINDOW_SECONDS = 2.0
# So many members are listed at most.
MOST_MEMBERS = 65536
_MOST_BYTES = 64 * 1024 * 1024
# So many registrars of one path can listen: the ones of folders that went one after the other, and of other mount
# namespaces.
_NAMES = 4
_BACKLOG = 16
# A registrar that is stopped, or hangs, delays the start of the next one by no more than this.
_ANSWER_SECONDS = 0.05
# One that has work to do, or waits for a processor, by no more than this.
_BUSY_SECONDS = 0.5
_BUSY_STATES = (b"R", b"D")
# How long a fork waits for one reader of the list.
_SEND_SECONDS = 0.5


class Survivor(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An id, and the process that holds it."""

    process_id: ProcessId
    owner: Owner


class SurvivorList(msgspec.Struct, frozen=True):
    """The members of the registry that was at `folder`. A pid means a process only together with its namespace."""

    folder: str
    pid_namespace: int
    # In nanoseconds of the monotonic clock.
    lost_at: int
    members: Sequence[Survivor]


class SurvivorSocket:
    """Where a registrar listens for the next one of its folder. `descriptor` is -1 where no name could be bound: then
    the next one gets no list."""

    def __init__(self, folder: Path, log: Log) -> None:
        self._folder = folders.real_path(folder)
        self._log = log
        self._socket = _new_socket()

    def listen(self) -> None:
        """Begin to listen: not before this registrar has asked, because it would ask itself."""
        try:
            _bind(self._socket, self._folder)
            self._socket.listen(_BACKLOG)
        except OSError as error:
            self._log.info("no address for the next registrar: %s", error)
            self.close()

    @property
    def descriptor(self) -> int:
        return self._socket.fileno()

    def turn_away(self) -> bool:
        """Close the connections that have come, because the folder is in its place: none is for this registrar. Whether
        one came from another user, who may send any number of them."""
        came_from_another = False
        for _ in range(_BACKLOG):
            try:
                connection = accept(self._socket, 0)
            except BlockingIOError:
                break
            came_from_another = came_from_another or connection.peer_uid != os.geteuid()
            connection.close()
        return came_from_another

    def close(self) -> None:
        self._socket.close()

    def answer_in_fork(self, members: Sequence[Survivor]) -> None:
        """Fork a process that answers for `WINDOW_SECONDS`, and ends. Where there is no process to be had, there is no
        answer."""
        if self.descriptor < 0 or not members:
            return
        survivors = SurvivorList(self._folder, identity.pid_namespace(), time.monotonic_ns(), members)
        reply = msgspec.msgpack.encode(survivors)
        try:
            if os.fork():
                return
        except OSError as error:
            self._log.warning("the next registrar gets no list of the members: %s", error)
            return
        try:
            self._answer(reply)
        finally:
            # The Python state is the registrar's.
            os._exit(0)

    def _answer(self, reply: bytes) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        # Not the log of a folder that was renamed, nor anything else of a registrar that is to have ended.
        for descriptor in map(int, os.listdir("/proc/self/fd")):
            if descriptor != self.descriptor:
                with contextlib.suppress(OSError):
                    # The one that listed them is closed already.
                    os.close(descriptor)
        # The credentials that a client sees are those of the process that called listen last.
        self._socket.listen(_BACKLOG)
        until = time.monotonic() + WINDOW_SECONDS
        while (left := until - time.monotonic()) > 0:
            self._socket.settimeout(left)
            try:
                connection = accept(self._socket, 0)
            except TimeoutError:
                return
            try:
                if connection.peer_uid == os.geteuid():
                    connection.sock.settimeout(_SEND_SECONDS)
                    connection.sock.sendall(reply, _socket.MSG_NOSIGNAL)
            except OSError:
                # It did not wait for the answer, or is stopped.
                pass
            finally:
                connection.close()


def ask(folder: Path, log: Log) -> dict[bytes, Reservation]:
    """The members of the registry that was at `folder` until a moment ago, as reservations by the keys of their ids;
    none where no registrar answers. Without one this takes microseconds."""
    path, began = folders.real_path(folder), time.monotonic()
    lists: list[SurvivorList] = []
    sock = _new_socket()
    for name in _names(path):
        try:
            sock.connect(name)
        except OSError:
            # ECONNREFUSED: no process has the name. EAGAIN: its backlog is full.
            continue
        pid, uid, _ = identity.peer(sock)
        reply = _received(sock, pid, began) if uid == os.geteuid() else b""
        sock.close()
        sock = _new_socket()
        if reply:
            lists += _decoded(reply, path, log)
    sock.close()
    # Where folders went one after the other, the last holder counts.
    lists.sort(key=lambda one: one.lost_at)
    members = [member for one in lists for member in one.members]
    return {key_of(one.process_id): Reservation(one.process_id, one.owner) for one in members}


def _decoded(reply: bytes, path: str, log: Log) -> list[SurvivorList]:
    """The list in an answer; none where it is of another path, two of which can have one name."""
    try:
        survivors = msgspec.msgpack.decode(reply, type=SurvivorList)
    except msgspec.MsgspecError as error:
        log.warning("the last registrar's list of members cannot be read: %s", error)
        return []
    is_ours = survivors.folder == path and survivors.pid_namespace == identity.pid_namespace()
    return [survivors] if is_ours else []


def _received(sock: _socket.socket, pid: int, began: float) -> bytes:
    """All that the registrar `pid` sends; empty where it does not answer in time."""
    received = bytearray()
    patience = began + _ANSWER_SECONDS - time.monotonic()
    while time.monotonic() - began < _BUSY_SECONDS and len(received) <= _MOST_BYTES:
        # It may have answered, although the time was used up by another one.
        sock.settimeout(max(0.001, patience))
        try:
            part = sock.recv(1 << 20)
        except TimeoutError:
            if _state(pid) not in _BUSY_STATES:
                break
            part = b""
        except OSError:
            break
        else:
            if not part:
                return bytes(received)
        received += part
        patience = _ANSWER_SECONDS
    return b""


def _bind(sock: _socket.socket, path: str) -> None:
    """Bind the first name that is free. Errors: the kernel's `OSError` where there is none."""
    *others, last = _names(path)
    for name in others:
        try:
            sock.bind(name)
        except OSError:
            continue
        return
    sock.bind(last)


def _names(path: str) -> list[bytes]:
    """The names in the abstract namespace: they begin with NUL, and belong to a network namespace (unix(7))."""
    return [b"\0adsum-%d-%08x-%d" % (os.geteuid(), crc32(os.fsencode(path)), number) for number in range(_NAMES)]


def _new_socket() -> _socket.socket:
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    sock.setblocking(False)
    return sock


def _state(pid: int) -> bytes:
    """The state of a process, one letter (proc(5)); empty where it is gone."""
    try:
        return identity.stat_fields(pid)[0]
    except (OSError, IndexError):
        return b""
